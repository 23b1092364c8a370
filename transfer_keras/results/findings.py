"""The differences that a study found, in numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.results import statistics
from transfer_keras.results.comparison import (
    BASE,
    FROZEN_SELFFER,
    FROZEN_TRANSFER,
    OVER_SPLITS,
    RANDOM_UNITS,
    TUNED_SELFFER,
    TUNED_TRANSFER,
    Comparison,
    NetworkResult,
    Role,
    Runs,
    compare,
    unpaired_difference,
)

# Ranges of n in the paper's table 1.
_RANGES = ((1, 7), (3, 7), (5, 7))
# Families in the order of a table's columns.
_FAMILIES = (
    BASE.family,
    FROZEN_SELFFER,
    TUNED_SELFFER,
    FROZEN_TRANSFER,
    TUNED_TRANSFER,
    RANDOM_UNITS,
)
# Name of each gap, and the families whose difference it is.
_GAPS = (
    ("co-adaptation (BnB - base)", FROZEN_SELFFER, BASE.family),
    ("specificity (AnB - BnB)", FROZEN_TRANSFER, FROZEN_SELFFER),
    ("transfer, frozen (AnB - base)", FROZEN_TRANSFER, BASE.family),
    ("selffer, fine-tuned (BnB+ - base)", TUNED_SELFFER, BASE.family),
    ("transfer, fine-tuned (AnB+ - base)", TUNED_TRANSFER, BASE.family),
    ("transfer against selffer, fine-tuned (AnB+ - BnB+)", TUNED_TRANSFER, TUNED_SELFFER),
    ("random (RnB - base)", RANDOM_UNITS, BASE.family),
)


class Finding(NamedTuple):
    """One gap at one n.

    Attributes:
        gap: its name.
        n: number of units transferred.
        comparison: the difference of the two families.
    """

    gap: str
    n: int
    comparison: Comparison

    @property
    def p_value(self) -> str:
        """Writes the p-value with three digits."""
        return f"{self.comparison.p_value:.3f}" if self.comparison.p_value >= 0.001 else "< 0.001"

    @property
    def to_decide(self) -> float | None:
        """Estimates how many targets would show a difference of this size, if it is real.

        Returns:
            Infinity for more than 10,000; None where the variance between splits is not known.
        """
        deviation = self.comparison.deviation
        if deviation is None or self.comparison.over != OVER_SPLITS:
            return None
        targets = statistics.replicates_to_decide(self.comparison.interval.estimate, deviation)
        return targets or float("inf")

    @property
    def points(self) -> str:
        """Writes the difference and its interval in points."""
        return _points(self.comparison)


def _points(comparison: Comparison) -> str:
    low, high = (100 * bound for bound in comparison.interval[1:])
    return f"{100 * comparison.interval.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


def find_gaps(runs: Runs) -> list[Finding]:
    """Compares the families of every gap at every n for which there are pairs."""
    return [
        Finding(gap, n, comparison)
        for gap, family, other in _GAPS
        for n in runs.trained_n(family)
        if (comparison := compare(runs, [Role(family, n)], [_role(other, n)]))
    ]


def _role(family: str, n: int) -> Role:
    return BASE if family == BASE.family else Role(family, n)


class Level(NamedTuple):
    """Mean top-1 of networks, and the mean over each one's best tests; None: not known."""

    top1: float
    best: float | None
    networks: int


def levels(runs: Runs) -> dict[str, dict[int, Level]]:
    """Gives family -> n -> the mean over all networks that trained, whatever their target."""
    by_family: dict[str, dict[int, list[NetworkResult]]] = {family: {} for family in _FAMILIES}
    for _, _, role, result in runs.networks():
        by_family[role.family].setdefault(role.n, []).append(result)
    return {
        family: {n: _level(results) for n, results in sorted(by_n.items())}
        for family, by_n in by_family.items()
        if by_n
    }


def _level(results: Sequence[NetworkResult]) -> Level:
    bests = [result.best for result in results]
    best = None if None in bests else float(np.mean(bests))
    return Level(float(np.mean([result.top1 for result in results])), best, len(results))


def table_1(runs: Runs) -> list[list[str]]:
    """Makes the paper's table 1: mean gains of transfer with fine-tuning over ranges of n.

    Returns:
        For each range: the n that were tried, the gain over the base, the same unpaired, the gain
        over the fine-tuned selffer, the same unpaired; empty where no such transfer was tried.
    """
    if not runs.trained_n(TUNED_TRANSFER):
        return []
    return [_gains(runs, first, last) for first, last in _RANGES]


def _gains(runs: Runs, first: int, last: int) -> list[str]:
    tried = [n for n in runs.trained_n(TUNED_TRANSFER) if first <= n <= last]
    cells = [", ".join(map(str, tried))]
    for family in (BASE.family, TUNED_SELFFER):
        comparable = runs.trained_n(family)
        common = [n for n in tried if family == BASE.family or n in comparable]
        transferred = [Role(TUNED_TRANSFER, n) for n in common]
        against = [_role(family, n) for n in common]
        comparison = compare(runs, transferred, against) if common else None
        unpaired = unpaired_difference(runs, transferred, against) if common else None
        cells.append(_points(comparison) if comparison else "")
        cells.append(f"{100 * unpaired:+.1f}" if unpaired is not None else "")
    return cells
