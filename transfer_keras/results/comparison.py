"""Networks compared over targets, splits and seeds, always in pairs.

A pair is two networks of one target task and one seed; both were tested on the same images.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.results import statistics

# Families of networks in the paper's notation, as `config.Treatment.role` gives them. B is the
# target and A the other task, whichever they are.
FROZEN_TRANSFER = "AnB"
TUNED_TRANSFER = "AnB+"
FROZEN_SELFFER = "BnB"
TUNED_SELFFER = "BnB+"
RANDOM_UNITS = "RnB"

# The samples that an interval can be taken over; see `Comparison.over`.
OVER_SPLITS = "splits"
OVER_SEEDS_AND_IMAGES = "seeds and images"
OVER_IMAGES = "images"


class Role(NamedTuple):
    """A family of networks at one n: what a network is to its target; n is 0 for a base."""

    family: str
    n: int = 0


BASE = Role("base")


class NetworkResult(NamedTuple):
    """The test result of one network.

    Attributes:
        top1: fraction of its target's test images that it got right, after the last step.
        right: bool (test images,), whether it was right on each; None: not known.
        best: mean top-1 of its best tests, which is optimistic; None: not known.
    """

    top1: float
    right: np.ndarray | None = None
    best: float | None = None


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
    """

    by_target: Mapping[TargetTask, ResultsBySeed] = dataclasses.field(default_factory=dict)

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


class Comparison(NamedTuple):
    """The mean difference of two roles, in fractions of the test images.

    Attributes:
        interval: the mean and its bounds, of 95 % where nothing else was asked for.
        p_value: two-sided, of the hypothesis that there is no difference.
        over: what the interval is taken over. "splits": targets are the sample, each the mean of
            its seeds. "seeds and images" or "images": the interval holds for these targets alone.
        targets: number of target tasks.
        pairs: number of pairs of networks.
        deviation: standard deviation between targets; None where there are fewer than two.
    """

    interval: statistics.Interval
    p_value: float
    over: str
    targets: int
    pairs: int
    deviation: float | None


def compare(
    runs: Runs, one: Sequence[Role], other: Sequence[Role], *, confidence: float = 0.95
) -> Comparison | None:
    """Estimates the mean difference of roles, pair by pair, over targets and seeds.

    With two splits or more, target tasks are the sample, since all seeds and images of a target
    share the effect of its classes: Student's t over the targets' means. The two targets of one
    split are taken as independent, as they are in the paper's runs. With one split, nothing is
    known of other splits, and seeds and images are the sample.

    Args:
        runs: of one kind of split.
        one: roles; the mean over the pairs (one[i], other[i]) is taken.
        other: as many roles.
        confidence: level of the interval.

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
    # The pairs. The two of a pair share target and seed, and so their test images and the
    # difficulty of their classes. A seed counts only where it has all the roles asked for, so that
    # no difference comes from what one side lacks.
    pairs_by_target = runs.pairs(one, other)
    if not pairs_by_target:
        return None
    results = [
        result
        for seeds in pairs_by_target.values()
        for pairs in seeds
        for pair in pairs
        for result in pair
    ]
    images_known = all(result.right is not None for result in results)

    # The sample. Two splits or more show what another split of these classes would give. Within one
    # split, the interval holds for other seeds and other images only. Targets that agree exactly
    # have no variance of their own; then the images of each give it.
    means = [
        np.mean([a.top1 - b.top1 for pairs in seeds for a, b in pairs])
        for seeds in pairs_by_target.values()
    ]
    several_splits = len({target.split for target in pairs_by_target}) > 1
    if not several_splits and not images_known:
        return None
    estimate = statistics.over_replicates(means) if several_splits else None
    if estimate is None or (not estimate.variance and images_known):
        estimate = statistics.average(map(_over_one_target, pairs_by_target.values()))
    several_seeds = min(map(len, pairs_by_target.values())) > 1
    within = OVER_SEEDS_AND_IMAGES if several_seeds else OVER_IMAGES
    over = OVER_SPLITS if several_splits else within

    # The interval. Two networks alone get the interval that the experiment's own table shows, so
    # that report and table agree. No difference of two fractions exceeds 1; Student's t with few
    # degrees of freedom does not know that.
    interval = estimate.interval(confidence=confidence)
    if images_known and len(results) == 2:
        first, second = results
        interval = statistics.paired_difference(first.right, second.right, confidence=confidence)
    return Comparison(
        interval._replace(low=max(interval.low, -1.0), high=min(interval.high, 1.0)),
        estimate.p_value,
        over,
        len(pairs_by_target),
        sum(map(len, pairs_by_target.values())),
        float(np.std(means, ddof=1)) if len(means) > 1 else None,
    )


def _over_one_target(seeds: PairsBySeed) -> statistics.Estimate:
    differences = [
        np.mean([a.right.astype(float) - b.right for a, b in pairs], axis=0) for pairs in seeds
    ]
    return statistics.over_seeds_and_images(differences)


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
