"""What a study found, in words and numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.results import statistics
from transfer_keras.results.comparison import (
    BASE,
    Comparison,
    Role,
    Run,
    Runs,
    compare,
    units,
    unpaired,
)
from transfer_keras.results.figures.styles import STYLES

_RANGES = ((1, 7), (3, 7), (5, 7))  # Of n, in the paper's table 1.
_UNDECIDED = -0.10  # An interval that reaches below this decides nothing.


class Finding(NamedTuple):
    """One comparison in words: what, at which n, and what came out."""

    what: str
    n: str
    comparison: Comparison

    @property
    def p_value(self) -> str:
        return f"{self.comparison.p_value:.3f}" if self.comparison.p_value >= 0.001 else "< 0.001"

    @property
    def to_decide(self) -> float | None:
        """How many targets would show a difference of this size, if it is real; infinity: more
        than 10,000; None: not known."""
        deviation = self.comparison.deviation
        if deviation is None or self.comparison.over != "splits":
            return None
        found = statistics.replicates_to_decide(self.comparison.interval.estimate, deviation)
        return found or float("inf")

    @property
    def points(self) -> str:
        low, high = (100 * bound for bound in self.comparison.interval[1:])
        return f"{100 * self.comparison.interval.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


_GAPS = (
    ("co-adaptation (BnB - base)", "BnB", "base"),
    ("specificity (AnB - BnB)", "AnB", "BnB"),
    ("transfer, frozen (AnB - base)", "AnB", "base"),
    ("selffer, fine-tuned (BnB+ - base)", "BnB+", "base"),
    ("transfer, fine-tuned (AnB+ - base)", "AnB+", "base"),
    ("transfer against selffer, fine-tuned (AnB+ - BnB+)", "AnB+", "BnB+"),
    ("random (RnB - base)", "RnB", "base"),
)


def findings(runs: Runs) -> list[Finding]:
    """Every gap at every n for which there are pairs."""
    found = []
    for what, one, other in _GAPS:
        for n in units(runs, one):
            against = BASE if other == "base" else Role(other, n)
            if comparison := compare(runs, [Role(one, n)], [against]):
                found.append(Finding(what, str(n), comparison))
    return found


class Level(NamedTuple):
    """Mean top-1 of networks, and the mean of each one's ten best tests; None: not known."""

    top1: float
    best: float | None
    networks: int


def levels(runs: Runs) -> dict[str, dict[int, Level]]:
    """Family -> n -> the mean over all networks that trained, whatever their target."""
    found: dict[str, dict[int, list[Run]]] = {family: {} for family in ("base", *STYLES)}
    for run in (run for seeds in runs.values() for run in seeds.values()):
        for role, one in run.items():
            found[role.family].setdefault(role.n, []).append(one)
    return {
        family: {n: _level(networks) for n, networks in sorted(by_n.items())}
        for family, by_n in found.items()
        if by_n
    }


def _level(networks: Sequence[Run]) -> Level:
    bests = [run.best for run in networks]
    best = None if None in bests else float(np.mean(bests))
    return Level(float(np.mean([run.top1 for run in networks])), best, len(networks))


def table_1(runs: Runs) -> list[list[str]]:
    """Mean gains of transfer with fine-tuning over ranges of n: which n, the gain over the base,
    the same unpaired, over the fine-tuned selffer, unpaired; empty where none was tried."""
    if not units(runs, "AnB+"):
        return []
    return [_gains(runs, first, last) for first, last in _RANGES]


def _gains(runs: Runs, first: int, last: int) -> list[str]:
    tried = [n for n in units(runs, "AnB+") if first <= n <= last]
    cells = [", ".join(map(str, tried))]
    for other in ("base", "BnB+"):
        common = [n for n in tried if other == "base" or n in units(runs, other)]
        transferred = [Role("AnB+", n) for n in common]
        against = [BASE if other == "base" else Role(other, n) for n in common]
        comparison = compare(runs, transferred, against) if common else None
        simple = unpaired(runs, transferred, list(dict.fromkeys(against))) if common else None
        cells.append(Finding("", "", comparison).points if comparison else "")
        cells.append(f"{100 * simple:+.1f}" if simple is not None else "")
    return cells


def recommend(runs: Runs, failed: Sequence[Role] = ()) -> str:
    """How many units to freeze, in words.

    Freezing is advised up to the last n below which no loss from the base is detectable: at each
    n that was tried up to it, the 95 % interval of AnB - base reaches 0 or above, and not below
    `_UNDECIDED`; and no AnB failed to train.

    Args:
        runs: of one kind of split.
        failed: roles of which a network did not train.
    """
    found = {n: compare(runs, [Role("AnB", n)], [BASE]) for n in units(runs, "AnB")}
    found = {n: comparison for n, comparison in found.items() if comparison}
    tried = sorted({*found, *(role.n for role in failed if role.family == "AnB")})
    if not found:
        return "No advice yet: frozen transfer (AnB) and its base are needed."
    fine, words = 0, []
    for n in tried:
        if Role("AnB", n) in failed:
            reason = f"freezing n = {n} does not always train"
        elif found[n].interval.high < 0:
            reason = f"freezing n = {n} loses {_bounds(found[n], -1)}"
        elif found[n].interval.low < _UNDECIDED:
            reason = f"what freezing n = {n} costs is not decided, {_bounds(found[n])}"
        else:
            fine = n
            continue
        tuned = compare(runs, [Role("AnB+", n)], [BASE])
        gain = compare(runs, [Role("AnB+", n)], [Role("AnB", n)])
        if tuned and tuned.interval.high < 0:
            words.append(f"{reason}; fine-tuned, {_change(tuned)}: train from scratch instead.")
        elif tuned and (n not in found or (gain and gain.interval.low > 0)):
            words.append(f"From unit {n} on, fine-tune: {reason}; fine-tuned, {_change(tuned)}.")
        else:
            words.append(f"{reason}.")
        break
    if fine:
        words.insert(0, f"Freeze up to unit {fine}: {_change(found[fine])}.")
    words.append(f"Tried: n = {', '.join(map(str, tried))}.")
    return " ".join(word[0].upper() + word[1:] for word in words)


def _change(comparison: Comparison) -> str:
    _, low, high = comparison.interval
    what = "it gains" if low > 0 else "it loses" if high < 0 else "no loss is detectable"
    return f"{what} ({_bounds(comparison)})"


def _bounds(comparison: Comparison, sign: int = 1) -> str:
    """In points; with sign -1 of a loss."""
    estimate, *bounds = (sign * 100 * value for value in comparison.interval)
    values = [estimate, *sorted(bounds)]
    shown = [f"{value:+.1f}" if sign > 0 else f"{value:.1f}" for value in values]
    return f"{shown[0]} points, 95 % {shown[1]} to {shown[2]}, over {comparison.over}"
