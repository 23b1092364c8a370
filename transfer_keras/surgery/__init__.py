"""Surgery on Keras models: find the units, transplant the lower n, fuse, freeze, prove.

Needs Keras only, on any backend; knows nothing of the rest of this project.
"""

from transfer_keras.surgery.errors import (
    FrozenWeightChanged,
    NotACutPoint,
    NotFresh,
    NotRebuildable,
    ShapeMismatch,
    SharedAcrossCut,
    SurgeryError,
)
from transfer_keras.surgery.freezing import assert_unchanged, set_trainable, snapshot
from transfer_keras.surgery.fuse import extract, fuse
from transfer_keras.surgery.transplant import Report, Transplanted, transplant
from transfer_keras.surgery.units import Unit, Units, units

__all__ = [
    "FrozenWeightChanged",
    "NotACutPoint",
    "NotFresh",
    "NotRebuildable",
    "Report",
    "ShapeMismatch",
    "SharedAcrossCut",
    "SurgeryError",
    "Transplanted",
    "Unit",
    "Units",
    "assert_unchanged",
    "extract",
    "fuse",
    "set_trainable",
    "snapshot",
    "transplant",
    "units",
]
