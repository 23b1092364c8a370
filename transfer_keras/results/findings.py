"""The differences that a study found, in numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.results import statistics
from transfer_keras.results.comparison import (
    Comparison,
    NetworkResult,
    Runs,
    compare,
    compare_families,
    unpaired_difference,
)
from transfer_keras.results.roles import (
    BASE,
    BASE_TRAINED_ON,
    FROZEN_SELFFER,
    FROZEN_STATISTICS,
    FROZEN_TRANSFER,
    LINEAR_SELFFER,
    LINEAR_TRANSFER,
    RANDOM_UNITS,
    TUNED_SELFFER,
    TUNED_STATISTICS,
    TUNED_TRANSFER,
    Role,
)

LEVEL = 0.05  # Of the p-values, after Holm's correction, of gaps that are named.
# Ranges of n in the paper's table 1.
_RANGES = ((1, 7), (3, 7), (5, 7))
# Families in the order of a table's columns.
_FAMILIES = (
    BASE.family,
    BASE_TRAINED_ON.family,
    FROZEN_SELFFER,
    TUNED_SELFFER,
    FROZEN_TRANSFER,
    TUNED_TRANSFER,
    LINEAR_SELFFER,
    LINEAR_TRANSFER,
    RANDOM_UNITS,
    FROZEN_STATISTICS,
    TUNED_STATISTICS,
)
# The gaps of what is fine-tuned from the base that was trained on for as long again.
_HELPS = "transfer helps (AnB+ - base+)"
# Name of each gap -> the families whose difference it is.
GAPS = {
    "co-adaptation (BnB - base)": (FROZEN_SELFFER, BASE.family),
    "specificity (AnB - BnB)": (FROZEN_TRANSFER, FROZEN_SELFFER),
    "transfer, frozen (AnB - base)": (FROZEN_TRANSFER, BASE.family),
    "selffer, fine-tuned (BnB+ - base)": (TUNED_SELFFER, BASE.family),
    "transfer, fine-tuned (AnB+ - base)": (TUNED_TRANSFER, BASE.family),
    "transfer against selffer, fine-tuned (AnB+ - BnB+)": (TUNED_TRANSFER, TUNED_SELFFER),
    "random (RnB - base)": (RANDOM_UNITS, BASE.family),
    "longer training (base+ - base)": (BASE_TRAINED_ON.family, BASE.family),
    _HELPS: (TUNED_TRANSFER, BASE_TRAINED_ON.family),
    "selffer beyond longer training (BnB+ - base+)": (TUNED_SELFFER, BASE_TRAINED_ON.family),
    "features against scale, frozen (AnB - SnB)": (FROZEN_TRANSFER, FROZEN_STATISTICS),
    "features against scale, fine-tuned (AnB+ - SnB+)": (TUNED_TRANSFER, TUNED_STATISTICS),
    "scale, frozen (SnB - RnB)": (FROZEN_STATISTICS, RANDOM_UNITS),
    "scale, fine-tuned (SnB+ - base)": (TUNED_STATISTICS, BASE.family),
}


class Finding(NamedTuple):
    """One gap at one n.

    Attributes:
        gap: its name.
        n: number of units transferred.
        comparison: the difference of the two families, of pairs that trained.
        p_adjusted: its p-value by Holm's method, over all n of the gap.
        tried: number of pairs, with those of which a network did not train.
        worst: the mean difference of all these, each network as it was tested; None where all
            trained.
    """

    gap: str
    n: int
    comparison: Comparison
    p_adjusted: float
    tried: int
    worst: float | None

    @property
    def p_value(self) -> str:
        """Writes the adjusted p-value with three digits."""
        return f"{self.p_adjusted:.3f}" if self.p_adjusted >= 0.001 else "< 0.001"

    @property
    def points(self) -> str:
        """Writes the difference and its interval in points."""
        return _points(self.comparison)


def _points(comparison: Comparison) -> str:
    low, high = (100 * bound for bound in comparison.interval[1:])
    return f"{100 * comparison.mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def find_gaps(runs: Runs, all_runs: Runs) -> list[Finding]:
    """Compares the families of every gap at every n for which there are pairs.

    Args:
        runs: of the networks that trained, of one kind of split.
        all_runs: with those that did not.
    """
    findings = []
    for gap, (family, other) in GAPS.items():
        comparisons = compare_families(runs, family, other)
        with_failures = compare_families(all_runs, family, other)
        adjusted = statistics.adjust_holm([c.p_value for c in comparisons.values()])
        for (n, comparison), p_adjusted in zip(comparisons.items(), adjusted, strict=True):
            tried = with_failures[n].pairs
            worst = with_failures[n].mean if tried > comparison.pairs else None
            findings.append(Finding(gap, n, comparison, p_adjusted, tried, worst))
    return findings


def describe_help(findings: Sequence[Finding]) -> str | None:
    """Says whether transfer with fine-tuning helps more than training the base on does.

    Args:
        findings: of one kind of split; see `find_gaps`.

    Returns:
        A sentence; None where no base was trained on.
    """
    helps = {f.n: f for f in findings if f.gap == _HELPS}
    if not helps:
        return None
    shown = {n: f for n, f in helps.items() if f.p_adjusted < LEVEL}
    better, worse = (
        [f"n = {n}: {f.points}" for n, f in shown.items() if sign * f.comparison.mean > 0]
        for sign in (1, -1)
    )
    against = "the base trained on for as long again (AnB+ - base+, points)"
    parts = []
    if better:
        parts.append(f"transfer with fine-tuning helps beyond {against}: {'; '.join(better)}")
    if worse:
        parts.append(f"transfer with fine-tuning loses against {against}: {'; '.join(worse)}")
    if not parts:
        all_points = "; ".join(f"n = {n}: {f.points}" for n, f in helps.items())
        parts.append(
            f"it is not shown that transfer with fine-tuning differs from {against}: {all_points}"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


class Level(NamedTuple):
    """The mean top-1 of networks.

    Attributes:
        top1: of those that trained; None: none did.
        best: mean over each one's best tests; None: not known.
        trained: how many there are.
        tried: how many there are with those that did not train.
        worst: mean top-1 of all these, each as it was tested.
    """

    top1: float | None
    best: float | None
    trained: int
    tried: int
    worst: float


def levels(runs: Runs, all_runs: Runs) -> dict[str, dict[int, Level]]:
    """Gives family -> n -> the mean over all networks, whatever their target.

    Args:
        runs: of the networks that trained, of one kind of split.
        all_runs: with those that did not.
    """
    tried = sorted({role for _, _, role, _ in all_runs.networks()})
    return {
        family: {
            role.n: _level(runs.of(role), all_runs.of(role))
            for role in tried
            if role.family == family
        }
        for family in _FAMILIES
        if any(role.family == family for role in tried)
    }


def _level(results: Sequence[NetworkResult], tried: Sequence[NetworkResult]) -> Level:
    bests = [result.best for result in results]
    return Level(
        top1=float(np.mean([result.top1 for result in results])) if results else None,
        best=None if None in bests or not bests else float(np.mean(bests)),
        trained=len(results),
        tried=len(tried),
        worst=float(np.mean([result.top1 for result in tried])),
    )


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
        against = [BASE if family == BASE.family else Role(family, n) for n in common]
        comparison = compare(runs, transferred, against) if common else None
        unpaired = unpaired_difference(runs, transferred, against) if common else None
        cells.append(_points(comparison) if comparison else "")
        cells.append(f"{100 * unpaired:+.1f}" if unpaired is not None else "")
    return cells
