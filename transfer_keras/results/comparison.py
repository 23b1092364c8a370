"""What a study says: treatments compared over targets, splits and seeds, always paired."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.results import statistics


class Role(NamedTuple):
    """What a network is to its target: see `Treatment.role`; n is 0 for a base."""

    family: str
    n: int = 0


BASE = Role("base")


class Run(NamedTuple):
    """How one network did.

    Attributes:
        top1: on the test images of its target, after the last step.
        right: bool (test images,), where it was right; None: not known.
        best: the mean of its best tests, which is optimistic; None: not known.
    """

    top1: float
    right: np.ndarray | None = None
    best: float | None = None


class Half(NamedTuple):
    """One task of one split; networks of one half are tested on the same images."""

    split: str
    target: str


Runs = Mapping[Half, Mapping[int, Mapping[Role, Run]]]  # By half, seed and role.


class Comparison(NamedTuple):
    """The mean difference of two roles, in fractions of the test images.

    Attributes:
        interval: with its bounds, of 95 % where nothing else was asked for.
        p_value: of no difference, two-sided.
        over: "splits": halves are the sample, each the mean of its seeds; "seeds and images" or
            "images": of these halves alone.
        halves, pairs: how many targets, and how many pairs of networks.
        deviation: standard deviation between halves; None of fewer than two.
    """

    interval: statistics.Interval
    p_value: float
    over: str
    halves: int
    pairs: int
    deviation: float | None


def compare(
    runs: Runs, one: Sequence[Role], other: Sequence[Role], *, confidence: float = 0.95
) -> Comparison | None:
    """The mean difference of roles, pair by pair, over halves and seeds that have all of them.

    With two splits or more, halves are the sample, since what a half's classes do is shared by all
    its seeds and images: Student's t over the halves' means. The two halves of a split are taken
    as independent, as they are in the paper's runs. Else what is known is of this split alone, and
    seeds and images are the sample.

    Args:
        runs: of one kind of split.
        one, other: as many roles each; the mean over the pairs is taken.
        confidence: level of the interval.

    Returns:
        None where nothing can be said: no half has them, or there is one and its images are not
        known.
    """
    found: dict[Half, list] = {}
    for half, seeds in runs.items():
        pairs = [
            [(roles[a], roles[b]) for a, b in zip(one, other, strict=True)]
            for roles in seeds.values()
            if roles.keys() >= {*one, *other}
        ]
        if pairs:
            found[half] = pairs
    if not found:
        return None
    means = [
        np.mean([a.top1 - b.top1 for pairs in seeds for a, b in pairs]) for seeds in found.values()
    ]
    splits = {half.split for half in found}
    everything = [
        run for seeds in found.values() for pairs in seeds for pair in pairs for run in pair
    ]
    known = all(run.right is not None for run in everything)
    if len(splits) > 1:
        estimate, over = statistics.over_replicates(means), "splits"
        if not estimate.variance and known:  # All alike: no certainty, but coarse images.
            estimate = statistics.average(map(_of_half, found.values()))
    elif known:
        estimate = statistics.average(map(_of_half, found.values()))
        several = min(map(len, found.values())) > 1
        over = "seeds and images" if several else "images"
    else:
        return None
    interval = estimate.interval(confidence=confidence)
    if known and len(everything) == 2:  # As in the table of the experiment.
        answers = (run.right for run in everything)
        interval = statistics.paired_difference(*answers, confidence=confidence)
    return Comparison(
        interval._replace(low=max(interval.low, -1.0), high=min(interval.high, 1.0)),
        estimate.p_value,
        over,
        len(found),
        sum(map(len, found.values())),
        float(np.std(means, ddof=1)) if len(means) > 1 else None,
    )


def _of_half(seeds: Sequence[Sequence[tuple[Run, Run]]]) -> statistics.Estimate:
    differences = [
        np.mean([a.right.astype(float) - b.right for a, b in pairs], axis=0) for pairs in seeds
    ]
    return statistics.over_seeds_and_images(differences)


def unpaired(runs: Runs, one: Sequence[Role], other: Sequence[Role]) -> float | None:
    """Difference of two means, each over all networks of its roles, whatever their target: so the
    paper's table 1 was made.

    Returns:
        None where one of the two has no network.
    """
    means = []
    for roles in (one, other):
        found = [
            run[role].top1
            for seeds in runs.values()
            for run in seeds.values()
            for role in roles
            if role in run
        ]
        if not found:
            return None
        means.append(float(np.mean(found)))
    return means[0] - means[1]


def units(runs: Runs, family: str) -> list[int]:
    """Every n at which a network of the family trained, ascending."""
    roles = {role for seeds in runs.values() for run in seeds.values() for role in run}
    return sorted(role.n for role in roles if role.family == family)
