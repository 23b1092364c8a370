"""Networks compared over splits, targets and seeds, always in pairs.

A pair is two networks of one target task and one seed; both were tested on the same images.
"""

import collections
import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.results import statistics
from transfer_keras.results.measure import TOP1
from transfer_keras.results.roles import Role, role_at

# The samples that an interval can be taken over; see `Comparison.over`.
OVER_SPLITS = "splits"
OVER_SEEDS_AND_IMAGES = "seeds and images"
OVER_IMAGES = "images"


class NetworkResult(NamedTuple):
    """The test result of one network.

    Attributes:
        top1: fraction of its target's test images that it got right, after the last step; or
            balanced accuracy, see `Runs.measure`.
        right: bool or float (test images,), what each adds, whose mean is top1; see
            `measure.image_scores`; None: not known.
        best: mean top-1 of its best tests, which is optimistic; None: not known.
        fitted: whether its head was fitted, so that it is the same with any seed.
    """

    top1: float
    right: np.ndarray | None = None
    best: float | None = None
    fitted: bool = False


class TargetTask(NamedTuple):
    """One task of one split; all networks of a target task are tested on the same images."""

    split: str
    target: str


ResultsBySeed = Mapping[int, Mapping[Role, NetworkResult]]
# For each seed of one target, the pairs of results of the roles that are compared.
PairsBySeed = Sequence[Sequence[tuple[NetworkResult, NetworkResult]]]


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The results of all networks that trained, of experiments that may be compared.

    Attributes:
        by_target: target task -> seed -> role -> result. It is copied.
        measure: by which networks are compared, `measure.TOP1` or `measure.BALANCED`.
    """

    by_target: Mapping[TargetTask, ResultsBySeed] = dataclasses.field(default_factory=dict)
    measure: str = TOP1

    def __post_init__(self):
        copied = {
            target: {seed: dict(by_role) for seed, by_role in by_seed.items()}
            for target, by_seed in self.by_target.items()
        }
        object.__setattr__(self, "by_target", copied)

    def __bool__(self):
        return bool(self.by_target)

    def targets(self) -> list[TargetTask]:
        """Lists the target tasks that have results."""
        return list(self.by_target)

    def by_seed(self, target: TargetTask) -> ResultsBySeed:
        """Gives seed -> role -> result of one target task; empty where it has no results."""
        return self.by_target.get(target, {})

    def networks(self) -> list[tuple[TargetTask, int, Role, NetworkResult]]:
        """Lists (target task, seed, role, result) of every network."""
        return [
            (target, seed, role, result)
            for target, by_seed in self.by_target.items()
            for seed, by_role in by_seed.items()
            for role, result in by_role.items()
        ]

    def of(self, role: Role) -> list[NetworkResult]:
        """Lists all results of one role, over all targets and seeds."""
        return [result for _, _, its_role, result in self.networks() if its_role == role]

    @functools.cached_property
    def seed_variance(self) -> statistics.SeedVariance | None:
        """Pools the variance over seeds over all networks; None where none has two seeds."""
        answers = []
        for by_seed in self.by_target.values():
            by_role: dict[Role, list[np.ndarray]] = {}
            for results in by_seed.values():
                for role, result in results.items():
                    if result.right is not None:
                        by_role.setdefault(role, []).append(result.right)
            answers += by_role.values()
        return statistics.pool_seed_variance(filter(statistics.differ_by_seed, answers))

    def pairs(self, one: Sequence[Role], other: Sequence[Role]) -> dict[TargetTask, PairsBySeed]:
        """Gives the pairs of results of roles; the two of a pair share target and seed.

        Args:
            one: roles; (one[i], other[i]) make a pair.
            other: as many roles.

        Returns:
            Target task -> the pairs of each seed that has all the roles, in the order of the roles.
            Targets without such a seed are left out.
        """
        pairs_by_target = {}
        for target, by_seed in self.by_target.items():
            seeds = [
                [(by_role[a], by_role[b]) for a, b in zip(one, other, strict=True)]
                for by_role in by_seed.values()
                if by_role.keys() >= {*one, *other}
            ]
            if seeds:
                pairs_by_target[target] = seeds
        return pairs_by_target

    def trained_n(self, family: str) -> list[int]:
        """Lists every n at which a network of the family trained, ascending."""
        return sorted({role.n for _, _, role, _ in self.networks() if role.family == family})

    def towards(self, names: Collection[str]) -> "Runs":
        """Gives the results of those target tasks whose name, "A" or "B", is among `names`."""
        return Runs(
            {task: by_seed for task, by_seed in self.by_target.items() if task.target in names}
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """The mean difference of two roles, in fractions of the test images.

    Attributes:
        estimate: the mean, its variance and degrees of freedom.
        over: what its intervals are taken over. "splits": splits are the sample, each the mean of
            its targets and seeds. "seeds and images" or "images": they hold for these targets
            alone.
        targets: number of target tasks.
        pairs: number of pairs of networks.
        answers: of the two networks, whether each was right on the test images, where they are
            all there is and only images are a sample.
    """

    estimate: statistics.Estimate
    over: str
    targets: int
    pairs: int
    answers: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def mean(self) -> float:
        """Gives the mean difference."""
        return self.estimate.mean

    @property
    def interval(self) -> statistics.Interval:
        """Gives the mean and its 95 % interval."""
        return self.at(0.95)

    def at(self, confidence: float) -> statistics.Interval:
        """Gives the mean and its interval of another level, 0..1."""
        # Two networks alone get the interval that the experiment's own table shows, so that report
        # and table agree. No difference of two fractions exceeds 1; Student's t with few degrees of
        # freedom does not know that.
        interval = self.estimate.interval(confidence=confidence)
        if self.answers:
            interval = statistics.paired_difference(*self.answers, confidence=confidence)
        return interval._replace(low=max(interval.low, -1.0), high=min(interval.high, 1.0))

    @property
    def p_value(self) -> float:
        """Gives the two-sided p-value of the hypothesis that there is no difference."""
        return self.estimate.p_value


class Contrast(NamedTuple):
    """What is compared: the mean over the pairs (one[i], other[i]) of roles."""

    one: tuple[Role, ...]
    other: tuple[Role, ...]

    @property
    def networks(self) -> float:
        """Gives the sum of the squared weights of the networks of one seed."""
        weights: dict[Role, float] = collections.defaultdict(float)
        for sign, roles in ((1, self.one), (-1, self.other)):
            for role in roles:
                weights[role] += sign / len(roles)
        return sum(weight**2 for weight in weights.values())


def compare(runs: Runs, one: Sequence[Role], other: Sequence[Role]) -> Comparison | None:
    """Estimates the mean difference of roles, pair by pair, over targets and seeds.

    With two splits or more, splits are the sample, since all targets, seeds and images of a split
    share the effect of its classes: Student's t over the splits' means. With one split, nothing is
    known of other splits, and seeds and images are the sample; the variance over seeds is that of
    all networks of the study, pooled. Where no network has two seeds, only images are a sample.

    Args:
        runs: of one kind of split.
        one: roles; the mean over the pairs (one[i], other[i]) is taken.
        other: as many roles.

    Returns:
        The comparison; None where no target has all the roles, or one split alone has them and
        its answers to the images are not known.

    Example:
        >>> import numpy as np
        >>> from transfer_keras.results import (
        ...     BASE, FROZEN_TRANSFER, Role, NetworkResult, Runs, TargetTask, compare
        ... )
        >>> target = TargetTask(split="0", target="B")
        >>> by_role = {
        ...     BASE: NetworkResult(0.50, np.arange(100) < 50),
        ...     Role(FROZEN_TRANSFER, 3): NetworkResult(0.60, np.arange(100) < 60),
        ... }
        >>> comparison = compare(Runs({target: {0: by_role}}), [Role(FROZEN_TRANSFER, 3)], [BASE])
        >>> [f"{value:+.3f}" for value in comparison.interval]
        ['+0.100', '+0.034', '+0.162']
        >>> comparison.over, comparison.targets, comparison.pairs
        ('images', 1, 1)
    """
    (comparison,) = compare_together(runs, [Contrast(tuple(one), tuple(other))])
    return comparison


def compare_families(runs: Runs, family: str, other: str) -> dict[int, Comparison]:
    """Compares two families at every n where both trained, or one with the base.

    The variances over splits are moderated over n; see `statistics.over_splits`.

    Args:
        runs: of one kind of split.
        family, other: names of families; `other` may be that of the bases, trained on or not.

    Returns:
        n -> the comparison, as `compare` makes it.
    """
    contrasts = family_contrasts(runs, family, other)
    comparisons = compare_together(runs, list(contrasts.values()))
    return {n: each for n, each in zip(contrasts, comparisons, strict=True) if each}


def family_contrasts(runs: Runs, family: str, other: str) -> dict[int, Contrast]:
    """Gives n -> the contrast of two families, at every n where the first trained."""
    return {n: Contrast((Role(family, n),), (role_at(other, n),)) for n in runs.trained_n(family)}


def compare_together(runs: Runs, contrasts: Sequence[Contrast]) -> list[Comparison | None]:
    """Makes the comparison of each contrast; see `compare` and `compare_families`."""
    # The pairs. The two of a pair share target and seed, and so their test images and the
    # difficulty of their classes. A seed counts only where it has all the roles asked for, so that
    # no difference comes from what one side lacks.
    pairs = [runs.pairs(contrast.one, contrast.other) for contrast in contrasts]
    by_split = [means_by_split(each) for each in pairs]

    # The sample. Two splits or more show what another split of these classes would give; the two
    # targets of one are one value, because they share the effect of how the classes were divided.
    over_splits = [place for place, means in enumerate(by_split) if len(means) > 1]
    estimates: dict[int, statistics.Estimate] = {}
    if over_splits:
        splits = sorted({split for place in over_splits for split in by_split[place]})
        table = [[by_split[place].get(split, np.nan) for place in over_splits] for split in splits]
        found = statistics.over_splits(table)
        estimates = dict(zip(over_splits, found, strict=True))

    # Within one split, the interval holds for other seeds and other images only. Splits that agree
    # exactly have no variance of their own; then the images of each give it.
    comparisons: list[Comparison | None] = []
    for place, (contrast, pairs_by_target) in enumerate(zip(contrasts, pairs, strict=True)):
        estimate, over, answers = estimates.get(place), OVER_SPLITS, None
        is_known = bool(pairs_by_target) and images_known(pairs_by_target)
        if is_known and (estimate is None or not estimate.varies):
            seeds = runs.seed_variance
            tables = map(differences, pairs_by_target.values())
            estimate = statistics.over_seeds_and_images(tables, seeds, networks=contrast.networks)
            over = OVER_SEEDS_AND_IMAGES if seeds else OVER_IMAGES
            alone = not seeds and runs.measure == TOP1
            answers = _only_pair(pairs_by_target) if alone else None
        comparison = None
        if estimate is not None:
            count = sum(map(len, pairs_by_target.values()))
            comparison = Comparison(estimate, over, len(pairs_by_target), count, answers)
        comparisons.append(comparison)
    return comparisons


def estimate_level(runs: Runs, role: Role) -> Comparison | None:
    """Estimates the mean top-1 of a role over the same samples as `compare` does a difference.

    Returns:
        As of a comparison with nothing; None where no network has the role, or one split alone has
        it and its answers to the images are not known.
    """
    by_target = {
        target: results
        for target in runs.targets()
        if (results := [r[role] for r in runs.by_seed(target).values() if role in r])
    }
    by_split: dict[str, list[float]] = {}
    for target, results in by_target.items():
        by_split.setdefault(target.split, []).append(float(np.mean([r.top1 for r in results])))
    count = sum(map(len, by_target.values()))
    if len(by_split) > 1:
        estimate = statistics.over_replicates([np.mean(means) for means in by_split.values()])
        return Comparison(estimate, OVER_SPLITS, len(by_target), count)
    if not by_target or any(r.right is None for each in by_target.values() for r in each):
        return None
    tables = [[r.right for r in results] for results in by_target.values()]
    seeds = runs.seed_variance
    estimate = statistics.over_seeds_and_images(tables, seeds, networks=1.0, added=(1.0, 0.0))
    over = OVER_SEEDS_AND_IMAGES if seeds else OVER_IMAGES
    return Comparison(estimate, over, len(by_target), count)


def means_by_split(pairs_by_target: Mapping[TargetTask, PairsBySeed]) -> dict[str, float]:
    """Averages the differences of each target, and then those of the targets of each split."""
    by_split: dict[str, list[float]] = {}
    for target, seeds in pairs_by_target.items():
        mean = float(np.mean([a.top1 - b.top1 for pairs in seeds for a, b in pairs]))
        by_split.setdefault(target.split, []).append(mean)
    return {split: float(np.mean(means)) for split, means in by_split.items()}


def images_known(pairs_by_target: Mapping[TargetTask, PairsBySeed]) -> bool:
    """Tells whether the answers of all networks to the test images are known."""
    return all(
        result.right is not None
        for seeds in pairs_by_target.values()
        for pairs in seeds
        for pair in pairs
        for result in pair
    )


def differences(seeds: PairsBySeed) -> np.ndarray:
    """Gives float (seeds, images), the mean difference of the pairs of each seed."""
    return np.array(
        [np.mean([a.right.astype(float) - b.right for a, b in pairs], axis=0) for pairs in seeds]
    )


def _only_pair(
    pairs_by_target: Mapping[TargetTask, PairsBySeed],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Gives the answers of two networks, where there are no more."""
    pairs = [pair for seeds in pairs_by_target.values() for of_seed in seeds for pair in of_seed]
    return (pairs[0][0].right, pairs[0][1].right) if len(pairs) == 1 else None


def unpaired_difference(runs: Runs, one: Sequence[Role], other: Sequence[Role]) -> float | None:
    """Subtracts two means, each over all networks of its roles, whatever their target.

    The paper's table 1 was made so.

    Returns:
        The difference of top-1; None where one of the two has no network.
    """
    means = []
    for roles in (one, other):
        top1 = [result.top1 for _, _, role, result in runs.networks() if role in roles]
        if not top1:
            return None
        means.append(float(np.mean(top1)))
    return means[0] - means[1]
