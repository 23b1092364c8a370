"""Owns what is asked: experiments, treatments, their plan, flags, and what can be wrong with them.

All of it is checked before TensorFlow is imported, which takes seconds. Programs also import the
modules `flags`, `flag_types`, `from_flags`, `launch`, `margin_flag` and `run_flags`; `flags` and
`margin_flag` define flags.
"""

from transfer_keras.config import (
    choices,
    dataset_names,
    defaults,
    image_folders,
    memory,
    paths,
    tasks,
    tf_config,
    unit_kinds,
)
from transfer_keras.config.architectures import (
    ARCHITECTURES,
    Architecture,
    NamedUnit,
    PretrainedArchitecture,
)
from transfer_keras.config.dataset_names import FORMULA_DEFAULT, parse_amounts
from transfer_keras.config.donor_settings import DonorSettings, NetworkSettings
from transfer_keras.config.environment import check_keras_file, set_environment
from transfer_keras.config.errors import Interrupted, StoppedAtOnce, UserError, WorkerLost
from transfer_keras.config.escaping import cell, markdown, visible
from transfer_keras.config.experiment import (
    SEEDS_KEY,
    Experiment,
    Request,
    default_setting,
    make_experiment,
)
from transfer_keras.config.image_folders import (
    DECODED,
    FOLDER,
    file_suffix,
    is_picture,
    printable,
)
from transfer_keras.config.list_files import read_lines
from transfer_keras.config.paths import is_url
from transfer_keras.config.plan import Group, plan_groups
from transfer_keras.config.sections import (
    MOST_SEEDS,
    DataSettings,
    ExecutionSettings,
    TrainingSettings,
)
from transfer_keras.config.tasks import DONOR_SPLIT, NATURAL_SPLIT, WHOLE_SPLIT, Task
from transfer_keras.config.text import (
    align_columns,
    command,
    duration,
    first_few,
    one_line,
    render_template,
)
from transfer_keras.config.treatments import (
    LINEAR,
    MODES,
    RANDOM,
    SOURCES,
    STATISTICS,
    TARGETS,
    Treatment,
    combine_treatments,
    is_treatment_name,
    parse_treatment,
    suits_split,
)
from transfer_keras.config.unit_kinds import Conv, Dense, UnitSize

__all__ = [
    "ARCHITECTURES",
    "DECODED",
    "DONOR_SPLIT",
    "FOLDER",
    "FORMULA_DEFAULT",
    "LINEAR",
    "MODES",
    "MOST_SEEDS",
    "NATURAL_SPLIT",
    "RANDOM",
    "SEEDS_KEY",
    "SOURCES",
    "STATISTICS",
    "TARGETS",
    "WHOLE_SPLIT",
    "Architecture",
    "Conv",
    "DataSettings",
    "Dense",
    "DonorSettings",
    "ExecutionSettings",
    "Experiment",
    "Group",
    "Interrupted",
    "NamedUnit",
    "NetworkSettings",
    "PretrainedArchitecture",
    "Request",
    "StoppedAtOnce",
    "Task",
    "TrainingSettings",
    "Treatment",
    "UnitSize",
    "UserError",
    "WorkerLost",
    "align_columns",
    "cell",
    "check_keras_file",
    "choices",
    "combine_treatments",
    "command",
    "dataset_names",
    "default_setting",
    "defaults",
    "duration",
    "file_suffix",
    "first_few",
    "image_folders",
    "is_picture",
    "is_treatment_name",
    "is_url",
    "make_experiment",
    "markdown",
    "memory",
    "one_line",
    "parse_amounts",
    "parse_treatment",
    "paths",
    "plan_groups",
    "printable",
    "read_lines",
    "render_template",
    "set_environment",
    "suits_split",
    "tasks",
    "tf_config",
    "unit_kinds",
    "visible",
]
