"""Owns what is asked: experiments, treatments, their plan, flags, and what can be wrong with them.

All of it is checked before TensorFlow is imported, which takes seconds. Programs also import the
modules `flags`, `flag_types`, `launch` and `run_flags`; importing `flags` defines them.
"""

from transfer_keras.config import (
    architectures,
    dataset_names,
    defaults,
    image_folders,
    memory,
    tasks,
)
from transfer_keras.config.architectures import (
    ARCHITECTURES,
    Conv,
    NamedUnit,
    PretrainedArchitecture,
    UnitSize,
)
from transfer_keras.config.dataset_names import FORMULA_DEFAULT, PREPROCESSING, parse_amounts
from transfer_keras.config.errors import Interrupted, StoppedAtOnce, UserError, WorkerLost
from transfer_keras.config.experiment import (
    APPLICATIONS,
    IMAGENET,
    LOGICAL_CPU,
    NO_WEIGHTS,
    PIXELS,
    TF_CONFIG,
    Experiment,
    suits_split,
)
from transfer_keras.config.image_folders import DECODED, FOLDER, few, is_picture, shown, suffix
from transfer_keras.config.plan import Group, plan_groups
from transfer_keras.config.tasks import DONOR_SPLIT, NATURAL_SPLIT, WHOLE_SPLIT, Task
from transfer_keras.config.text import align_columns, duration, first_few, one_line, render_template
from transfer_keras.config.treatments import (
    MODES,
    SOURCES,
    TARGETS,
    Treatment,
    combine_treatments,
    is_treatment_name,
    parse_treatment,
)

__all__ = [
    "APPLICATIONS",
    "ARCHITECTURES",
    "DECODED",
    "DONOR_SPLIT",
    "FOLDER",
    "FORMULA_DEFAULT",
    "IMAGENET",
    "LOGICAL_CPU",
    "MODES",
    "NATURAL_SPLIT",
    "NO_WEIGHTS",
    "PIXELS",
    "PREPROCESSING",
    "SOURCES",
    "TARGETS",
    "TF_CONFIG",
    "WHOLE_SPLIT",
    "Conv",
    "Experiment",
    "Group",
    "Interrupted",
    "NamedUnit",
    "PretrainedArchitecture",
    "StoppedAtOnce",
    "Task",
    "Treatment",
    "UnitSize",
    "UserError",
    "WorkerLost",
    "align_columns",
    "architectures",
    "combine_treatments",
    "dataset_names",
    "defaults",
    "duration",
    "few",
    "first_few",
    "image_folders",
    "is_picture",
    "is_treatment_name",
    "memory",
    "one_line",
    "parse_amounts",
    "parse_treatment",
    "plan_groups",
    "render_template",
    "shown",
    "suffix",
    "suits_split",
    "tasks",
]
