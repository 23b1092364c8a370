"""Owns what explains a gap: the records of analyses of trained networks, and what they say."""

from transfer_keras.results.analyses import words
from transfer_keras.results.analyses.classes import compare_by_class, compare_classes
from transfer_keras.results.analyses.records import (
    KINDS,
    ClassComparison,
    ClassDifference,
    Interpolation,
    Probes,
    Record,
    Reinitialisation,
    Reset,
)
from transfer_keras.results.analyses.selection import (
    Pair,
    Selection,
    select_networks,
    select_workdirs,
)
from transfer_keras.results.analyses.store import Store

__all__ = [
    "KINDS",
    "ClassComparison",
    "ClassDifference",
    "Interpolation",
    "Pair",
    "Probes",
    "Record",
    "Reinitialisation",
    "Reset",
    "Selection",
    "Store",
    "compare_by_class",
    "compare_classes",
    "select_networks",
    "select_workdirs",
    "words",
]
