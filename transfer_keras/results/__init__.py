"""Owns what experiments leave on disk, and its evaluation: rows, statistics, figures, page.

`page`, `charts`, `summary` and `figures` load Matplotlib, so they are imported where they are used.
"""

from transfer_keras.results import analyses, convergence, statistics
from transfer_keras.results.commands import read_flags
from transfer_keras.results.comparison import NetworkResult, Runs, TargetTask, compare
from transfer_keras.results.donor_recommendation import (
    Price,
    best_role,
    contenders,
    mean_top1,
    recommend_for_donor,
    roles_to_choose,
    table_for_donor,
)
from transfer_keras.results.hierarchy import infer_levels
from transfer_keras.results.lock import hold_lock
from transfer_keras.results.margin import MARGIN
from transfer_keras.results.measure import BALANCED, TOP1, measure_accuracy
from transfer_keras.results.recommendation import recommend
from transfer_keras.results.roles import (
    BASE,
    BASE_TRAINED_ON,
    FROZEN_TRANSFER,
    LINEAR_TRANSFER,
    TUNED_TRANSFER,
    Role,
)
from transfer_keras.results.rows import Row
from transfer_keras.results.selection import accuracy_of_choice
from transfer_keras.results.statistics import Interval
from transfer_keras.results.study import as_begun, check_study, read_study
from transfer_keras.results.workdir import EXPERIMENT_FILE, Workdir

__all__ = [
    "BALANCED",
    "BASE",
    "BASE_TRAINED_ON",
    "EXPERIMENT_FILE",
    "FROZEN_TRANSFER",
    "LINEAR_TRANSFER",
    "MARGIN",
    "TOP1",
    "TUNED_TRANSFER",
    "Interval",
    "NetworkResult",
    "Price",
    "Role",
    "Row",
    "Runs",
    "TargetTask",
    "Workdir",
    "accuracy_of_choice",
    "analyses",
    "as_begun",
    "best_role",
    "check_study",
    "compare",
    "contenders",
    "convergence",
    "hold_lock",
    "infer_levels",
    "mean_top1",
    "measure_accuracy",
    "read_flags",
    "read_study",
    "recommend",
    "recommend_for_donor",
    "roles_to_choose",
    "statistics",
    "table_for_donor",
]
