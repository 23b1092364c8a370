"""Intervals and recommendations of simulated studies whose truth is known."""

import re

import numpy as np
import pytest
from scipy import stats

from transfer_keras.results.comparison import (
    NetworkResult,
    Runs,
    TargetTask,
    compare,
    compare_families,
)
from transfer_keras.results.recommendation import recommend
from transfer_keras.results.roles import BASE, FROZEN_TRANSFER, Role

pytestmark = pytest.mark.slow

STUDIES = 1000
CHANCE = 0.1
UNITS = range(1, 8)
ROLES = [Role(FROZEN_TRANSFER, n) for n in UNITS]


def is_held(held):
    """Tells whether the part of 1000 studies, whose intervals hold the truth, is 95 %."""
    return 0.93 <= np.mean(held) <= 0.97


def over_several_splits(rng, splits, *, targets, splits_sd=0.01, base_sd=0.01, between_units=0.0):
    """Simulates the top-1 of bases and transfers that lose nothing.

    Args:
        splits: how many there are, of two targets each.
        targets: correlation of the two targets of a split.
        splits_sd: of a transfer, from target to target.
        base_sd: of a base, which all transfers of its target are compared with.
        between_units: correlation of transfers of one target.
    """
    of_targets = np.linalg.cholesky([[1, targets], [targets, 1]])
    of_units = np.linalg.cholesky((1 - between_units) * np.eye(len(ROLES)) + between_units)
    runs = {}
    for split in range(splits):
        effects = splits_sd * of_targets @ rng.normal(size=(2, len(ROLES))) @ of_units.T
        bases = base_sd * of_targets @ rng.normal(size=2)
        for target, of_target, base in zip("AB", effects, bases, strict=True):
            by_role = {BASE: NetworkResult(0.5 + base)}
            by_role |= {
                role: NetworkResult(0.5 + effect)
                for role, effect in zip(ROLES, of_target, strict=True)
            }
            runs[TargetTask(str(split), target)] = {0: by_role}
    return Runs(runs)


@pytest.mark.parametrize("targets", [-0.3, 0.0, 0.5, 0.8])
@pytest.mark.parametrize("splits", [2, 3, 4])
def test_two_targets_of_a_split_that_are_alike(splits, targets):
    """And that a base makes all n of one target alike."""
    rng = np.random.default_rng([splits, round(10 * (targets + 1))])
    held, halves = [], []
    for _ in range(STUDIES):
        runs = over_several_splits(rng, splits, targets=targets)
        intervals = [c.interval for c in compare_families(runs, FROZEN_TRANSFER, "base").values()]
        held.append(np.mean([i.low <= 0 <= i.high for i in intervals]))
        halves.append(np.mean([i.high - i.low for i in intervals]) / 2)
    assert is_held(held), np.mean(held)
    # A plain interval of Student's t over two splits is more than twice as long.
    sd = 0.01 * np.sqrt(2 * (1 + targets) / 2)
    plain = stats.t.ppf(0.975, splits - 1) * sd / np.sqrt(splits)
    assert np.median(halves) < {2: 0.5, 3: 0.85, 4: 0.95}[splits] * plain


def test_splits_that_differ_by_three_points():
    rng = np.random.default_rng(3)
    held = []
    for _ in range(STUDIES):
        runs = over_several_splits(
            rng, 3, targets=0.5, splits_sd=0.03, base_sd=0.005, between_units=0.5
        )
        comparisons = compare_families(runs, FROZEN_TRANSFER, "base").values()
        held.append(np.mean([c.interval.low <= 0 <= c.interval.high for c in comparisons]))
    assert is_held(held), np.mean(held)


def one_split(rng, *, seeds, images, seed_sd, level=0.7, fails=0.0):
    """Simulates answers of a base and seven transfers that are as good.

    Args:
        seeds: of each network.
        images: of the one target.
        seed_sd: of a network's true top-1, from seed to seed.
        level: the mean of that.
        fails: so large a part of the transfers, the worst, end at chance; bases never do.

    Returns:
        The results of the networks that trained, and of all.
    """
    difficulty = rng.normal(size=images)
    least = stats.norm.ppf(fails) if fails else -np.inf
    trained, everything = {}, {}
    for seed in range(seeds):
        for role in (BASE, *ROLES):
            quality = rng.normal()
            learns = role == BASE or quality > least
            top1 = level + seed_sd * quality if learns else CHANCE
            # Images are as difficult for all networks, and each answer has luck of its own.
            threshold = stats.norm.ppf(top1) * np.sqrt(2)
            right = difficulty + rng.normal(size=images) < threshold
            result = NetworkResult(float(right.mean()), right)
            everything.setdefault(seed, {})[role] = result
            if learns:
                trained.setdefault(seed, {})[role] = result
    target = TargetTask("0", "B")
    return Runs({target: trained}), Runs({target: everything})


@pytest.mark.parametrize("seed_sd", [0.02, 0.03])
def test_two_seeds_of_a_thousand_pictures(seed_sd):
    rng = np.random.default_rng(round(1000 * seed_sd))
    held, halves = [], []
    for _ in range(STUDIES):
        runs, _ = one_split(rng, seeds=2, images=1000, seed_sd=seed_sd)
        comparison = compare(runs, [ROLES[0]], [BASE])
        assert comparison.over == "seeds and images"
        held.append(comparison.interval.low <= 0 <= comparison.interval.high)
        halves.append((comparison.interval.high - comparison.interval.low) / 2)
    assert is_held(held), np.mean(held)
    # The variance of two seeds alone gives some that are ten times as long as others.
    shortest, longest = np.quantile(halves, [0.1, 0.9])
    assert longest < 2.5 * shortest


def test_where_the_worst_transfers_do_not_train():
    """The interval of those that trained holds their mean; the worst case is that of all."""
    rng = np.random.default_rng(0)
    sd, fails, level = 0.02, 0.1, 0.7
    # Of a normal distribution without its lowest tenth, and with that at chance.
    of_trained = sd * stats.norm.pdf(stats.norm.ppf(fails)) / (1 - fails)
    of_all = (1 - fails) * (level + of_trained) + fails * CHANCE - level
    held, worst = [], []
    for _ in range(STUDIES):
        trained, everything = one_split(
            rng, seeds=4, images=500, seed_sd=sd, level=level, fails=fails
        )
        if comparison := compare(trained, [ROLES[0]], [BASE]):
            held.append(comparison.interval.low <= of_trained <= comparison.interval.high)
        interval = compare(everything, [ROLES[0]], [BASE]).interval
        worst.append(interval.low <= of_all <= interval.high)
    assert len(held) > 0.9 * STUDIES
    assert is_held(held), np.mean(held)
    assert is_held(worst), np.mean(worst)


LOSSES = (0.0, 0.0, 0.005, 0.015, 0.03, 0.06, 0.12)  # Of freezing 1 to 7 units.


def deepest_frozen(rng, *, splits, sd):
    """Simulates a study of known losses, and gives what `recommend` freezes."""
    runs = {}
    for split in range(splits):
        for target in "AB":
            base = rng.normal(0, sd / np.sqrt(2))
            tops = rng.normal(0, sd / np.sqrt(2), len(ROLES)) - LOSSES
            by_role = {BASE: NetworkResult(0.5 + base)}
            by_role |= {
                role: NetworkResult(0.5 + top1) for role, top1 in zip(ROLES, tops, strict=True)
            }
            runs[TargetTask(str(split), target)] = {0: by_role}
    found = re.match(r"Freeze up to unit (\d)", recommend(Runs(runs)))
    return int(found[1]) if found else 0


@pytest.mark.parametrize("splits", [2, 4, 8])
def test_noise_does_not_freeze_deeper(splits):
    """In at most 5 of 100 studies more than the margin of 2 points is lost, however much the
    halves of the classes differ, and the more they do, the less is frozen."""
    depths_by_sd = []
    for sd in (0.003, 0.01, 0.02, 0.04):  # Of the difference in one half.
        rng = np.random.default_rng([splits, round(1000 * sd)])
        depths = [deepest_frozen(rng, splits=splits, sd=sd) for _ in range(STUDIES // 2)]
        wrong = np.mean([depth > 0 and LOSSES[depth - 1] > 0.02 for depth in depths])
        print(f"{splits} splits, SD {100 * sd:g}: wrong {wrong:.3f}, depth {np.mean(depths):.2f}")
        assert wrong <= 0.05
        depths_by_sd.append(np.mean(depths))
    assert depths_by_sd == sorted(depths_by_sd, reverse=True)
    assert depths_by_sd[0] > 3
