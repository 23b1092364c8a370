"""Owns what experiments leave on disk, and what it says: rows, statistics, figures, page.

`page`, `charts`, `summary` and `figures` load Matplotlib, so they are imported where they are used.
"""

from transfer_keras.results import recommendation, statistics
from transfer_keras.results.comparison import BASE, Role, Runs, compare
from transfer_keras.results.comparison import units as trained_units
from transfer_keras.results.files import whole, write_text
from transfer_keras.results.lock import check_lock, hold_lock
from transfer_keras.results.recommendation import FROZEN, TUNED, mean_top1
from transfer_keras.results.rows import Row
from transfer_keras.results.study import check_study, read_study
from transfer_keras.results.workdir import (
    EXPERIMENT,
    begin_group,
    check_workdir,
    checkpoint_folders,
    done,
    filters_path,
    group_folder,
    groups_begun,
    is_done,
    network_path,
    pixels_path,
    read_answers,
    read_experiment,
    read_row,
    remove_finished_groups,
    remove_group,
    write_experiment,
    write_predictions,
    write_row,
    written_at,
)

__all__ = [
    "BASE",
    "EXPERIMENT",
    "FROZEN",
    "TUNED",
    "Role",
    "Row",
    "Runs",
    "begin_group",
    "check_lock",
    "check_study",
    "check_workdir",
    "checkpoint_folders",
    "compare",
    "done",
    "filters_path",
    "group_folder",
    "groups_begun",
    "hold_lock",
    "is_done",
    "mean_top1",
    "network_path",
    "pixels_path",
    "read_answers",
    "read_experiment",
    "read_row",
    "read_study",
    "recommendation",
    "remove_finished_groups",
    "remove_group",
    "statistics",
    "trained_units",
    "whole",
    "write_experiment",
    "write_predictions",
    "write_row",
    "write_text",
    "written_at",
]
