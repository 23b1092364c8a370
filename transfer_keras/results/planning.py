"""How many splits and seeds would decide what a study leaves open, by a margin.

The number of splits is that at which `margin.state` finds a difference of 0 within the margin in 80
of 100 studies, by Student's t of one n alone; moderated variances need fewer. The difference that
the study has estimated is not taken for the truth.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy

from transfer_keras.config import align_columns
from transfer_keras.results.comparison import (
    Contrast,
    Runs,
    compare_families,
    differences,
    family_contrasts,
    images_known,
    means_by_split,
)
from transfer_keras.results.margin import BEYOND, EQUIVALENCE, OPEN, WITHIN, points, state

POWER = 0.80
_MOST = 10_000
_SEEDS = (1, 2, 4)
_SPLITS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)
_QUANTILES = 400  # At which the power is averaged over the variance that a study will find.


@dataclasses.dataclass(frozen=True)
class Spread:
    """What the mean difference of a split varies by, in squared fractions of the test images.

    Attributes:
        splits: between splits, beyond what seeds and images make; None: there is one split.
        seeds: of one network from seed to seed; None: there is one seed, whose part is in `splits`.
        images: of the difference at one test image, the same with every seed.
        answers: of the difference at one test image, from seed to seed.
        test_images: number of test images of a target.
        targets: number of targets of a split.
        splits_there, seeds_there: of the study.
    """

    splits: float | None
    seeds: float | None
    images: float
    answers: float
    test_images: float
    targets: float
    splits_there: int = 1
    seeds_there: int = 1

    def deviation(self, seeds: int) -> float:
        """Gives the standard deviation of a split's mean difference with so many seeds."""
        return math.sqrt((self.splits or 0.0) + self.within(seeds))

    def within(self, seeds: float) -> float:
        """Gives the variance of a split's mean difference over seeds and images."""
        images = (self.images + self.answers / seeds) / self.test_images
        return (2 * (self.seeds or 0.0) / seeds + images) / self.targets


def measure_spread(runs: Runs, contrasts: Sequence[Contrast]) -> Spread | None:
    """Estimates what the differences of a gap vary by, the same at each n.

    Args:
        runs: of one kind of split.
        contrasts: those of the gap, of two roles each.

    Returns:
        The spread; None where there are no pairs, or their answers to the images are not known.
    """
    totals, seeds, images, answers, test_images, targets = [], [], [], [], [], []
    splits = set()
    for contrast in contrasts:
        pairs_by_target = runs.pairs(contrast.one, contrast.other)
        if not images_known(pairs_by_target):
            return None
        means = means_by_split(pairs_by_target)
        splits |= means.keys()
        for of_seeds in pairs_by_target.values():
            table = differences(of_seeds)
            count, pictures = table.shape
            once = table.var(axis=1).mean()
            # The mean over seeds varies by the first part and a seed's share of the second.
            of_seed = (once - table.mean(axis=0).var()) * count / (count - 1) if count > 1 else 0.0
            seeds.append(count)
            answers.append(of_seed)
            images.append(max(0.0, once - of_seed))
            test_images.append(pictures)
        if means:
            targets.append(len(pairs_by_target) / len(means))
        if len(means) > 1:
            totals.append(np.var(list(means.values()), ddof=1))
    if not seeds:
        return None
    pooled = runs.seed_variance
    spread = Spread(
        splits=None,
        seeds=max(0.0, pooled.between - pooled.within) if pooled else None,
        images=float(np.mean(images)),
        answers=float(np.mean(answers)),
        test_images=float(np.mean(test_images)),
        targets=float(np.mean(targets)),
        splits_there=len(splits),
        seeds_there=min(seeds),
    )
    if not totals:
        return spread
    beyond = float(np.mean(totals)) - spread.within(float(np.mean(seeds)))
    return dataclasses.replace(spread, splits=max(0.0, beyond))


@functools.cache
def power(margin: float, deviation: float, splits: int) -> float:
    """Computes the probability that a difference of 0 is found to lie within the margin.

    Args:
        margin: in the unit of the deviation.
        deviation: standard deviation of a split's mean difference.
        splits: number of splits, two or more.
    """
    if not deviation:
        return 1.0
    freedom, root = splits - 1, math.sqrt(splits)
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    found = np.sqrt(scipy.stats.chi2.ppf(places, freedom) / freedom)  # In deviations.
    room = margin * root / deviation - scipy.stats.t.ppf((1 + EQUIVALENCE) / 2, freedom) * found
    return float(np.mean(np.where(room > 0, 2 * scipy.stats.norm.cdf(room) - 1, 0.0)))


def splits_needed(margin: float, deviation: float) -> int | None:
    """Finds the number of splits at which `power` reaches 80 %; None: more than 10,000."""
    low, high = 2, _MOST
    if power(margin, deviation, high) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if power(margin, deviation, middle) >= POWER else (middle + 1, high)
        )
    return low


def seeds_needed(margin: float, spread: Spread) -> int | None:
    """Finds the number of seeds that decides a difference within one split; None: none does.

    More seeds do not narrow what the number of test images leaves open.
    """
    room = _variance_allowed(margin) * spread.targets - spread.images / spread.test_images
    if room <= 0 or spread.seeds is None:
        return None
    return max(1, math.ceil((2 * spread.seeds + spread.answers / spread.test_images) / room))


class GapPlan(NamedTuple):
    """What a gap needs.

    Attributes:
        states: n -> one of `WITHIN`, `BEYOND` and `OPEN`.
        spread: what its differences vary by; None: not known.
    """

    states: Mapping[int, str]
    spread: Spread | None

    @property
    def open(self) -> list[int]:
        """Lists the n of which the study decides nothing."""
        return [n for n, state in self.states.items() if state == OPEN]


def plan_gap(runs: Runs, family: str, other: str, margin: float) -> GapPlan:
    """Finds what a study has decided of a gap, and what the rest depends on.

    Args:
        runs: of one kind of split.
        family, other: the families whose difference it is; see `comparison.compare_families`.
        margin: in fractions of the test images.
    """
    found = compare_families(runs, family, other)
    contrasts = family_contrasts(runs, family, other)
    return GapPlan(
        {n: state(comparison, margin) for n, comparison in found.items()},
        measure_spread(runs, [contrasts[n] for n in found]),
    )


def what_decides(spread: Spread | None, margin: float) -> str:
    """Writes what would decide a gap that is open, if there were no difference.

    Args:
        spread: what its differences vary by.
        margin: in fractions of the test images.
    """
    if spread is None:
        return "the answers to the test images are not known, so it is not known what would"
    if spread.splits is not None:
        return _by_splits(spread, margin)
    if spread.seeds is None:
        return "a second seed, or a second split, would show what decides it"
    if count := seeds_needed(margin, spread):
        if count <= spread.seeds_there:
            return "with no difference, the seeds that there are would mostly have decided it"
        return f"with no difference, {count} seeds in all would decide it for these classes"
    pictures = math.ceil(spread.images / (spread.targets * _variance_allowed(margin)))
    return f"no number of seeds would: that takes more than {pictures:,} test pictures"


def _variance_allowed(margin: float) -> float:
    normal = scipy.stats.norm.ppf
    return (margin / (normal((1 + EQUIVALENCE) / 2) + normal((1 + POWER) / 2))) ** 2


def _by_splits(spread: Spread, margin: float) -> str:
    counts = {
        seeds: splits_needed(margin, spread.deviation(seeds)) for seeds in planned_seeds(spread)
    }
    enough = splits_needed(margin, spread.deviation(spread.seeds_there))
    if enough and enough <= spread.splits_there:
        return "with no difference, the splits that there are would mostly have decided it"
    words = {s: f"{count:,}" if count else f"more than {_MOST:,}" for s, count in counts.items()}
    if len(words) == 1:
        (count,) = words.values()
        return f"with no difference, {count} splits in all would decide it"
    each = ", ".join(f"{count} of {seeds}" for seeds, count in words.items())
    return f"with no difference, so many splits in all, of so many seeds, would decide it: {each}"


def planned_seeds(spread: Spread) -> tuple[int, ...]:
    """Gives the numbers of seeds of a split that are planned for, as far as seeds are known."""
    return _SEEDS if spread.seeds is not None else (1,)


def power_curves(spread: Spread, margin: float) -> dict[str, dict[int, float]]:
    """Computes the power at many numbers of splits.

    Args:
        spread: of a gap, of several splits.
        margin: in fractions of the test images.

    Returns:
        Label of a number of seeds -> number of splits -> power.
    """
    curves = {}
    for seeds in planned_seeds(spread):
        label = f"{seeds} seed{'s' * (seeds > 1)} each"
        deviation = spread.deviation(seeds)
        curves[label] = {count: power(margin, deviation, count) for count in _SPLITS}
    return curves


def plan_table(plans: Mapping[str, GapPlan], margin: float) -> str:
    """Draws a table of what is decided of each gap, and what would decide the rest."""
    lines = [("gap", WITHIN, BEYOND, OPEN, "to decide what is open")]
    for gap, plan in plans.items():
        by_state = [
            ", ".join(str(n) for n, found in plan.states.items() if found == wanted)
            for wanted in (WITHIN, BEYOND, OPEN)
        ]
        needed = what_decides(plan.spread, margin) if plan.open else ""
        lines.append((gap, *(f"n = {ns}" if ns else "" for ns in by_state), needed))
    return (
        f"{align_columns(lines)}\nDecided: the {100 * EQUIVALENCE:.0f} % interval lies within "
        f"plus and minus {points(margin)}, or wholly beyond. To decide: with a probability of "
        f"{100 * POWER:.0f} %, if there is no difference."
    )
