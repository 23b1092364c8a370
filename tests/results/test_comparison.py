"""Comparisons over a study, on the paper's logged runs and on simulated studies."""

import numpy as np
import pytest
from scipy import stats

from transfer_keras.results import statistics
from transfer_keras.results.comparison import (
    Contrast,
    NetworkResult,
    Runs,
    TargetTask,
    compare,
    estimate_level,
)
from transfer_keras.results.roles import BASE, Role

ONE = Role("AnB", 3)
STUDIES = 1000


def right(rng, level, images, difficulty, seeds, spread):
    """Draws bool (seeds, images) from a probit model, with a quality of each network and images
    that are as difficult for all networks."""
    quality = rng.normal(0, spread, (seeds, 1))
    return level + quality - difficulty + rng.normal(0, 0.5, (seeds, images)) > 0


def top1(level, *deviations):
    """Gives the true accuracy at a level, over all that varies."""
    return stats.norm.cdf(level / np.sqrt(1 + 0.25 + np.sum(np.square(deviations))))


def study(rng, *, splits, seeds, images, effect, seed_spread, split_spread):
    """Simulates two roles; the effect differs from split to split and from target to target."""
    runs = {}
    for split in range(splits):
        shift = rng.normal(0, split_spread)
        for target in "AB":
            target_shift = shift + rng.normal(0, split_spread)
            difficulty = rng.normal(size=images)
            answers = {
                role: right(rng, level, images, difficulty, seeds, seed_spread)
                for role, level in ((ONE, 0.5 + effect + target_shift), (BASE, 0.5))
            }
            runs[TargetTask(str(split), target)] = {
                seed: {
                    role: NetworkResult(float(r[seed].mean()), r[seed])
                    for role, r in answers.items()
                }
                for seed in range(seeds)
            }
    return Runs(runs)


@pytest.mark.parametrize(
    ("splits", "seeds", "over"), [(1, 1, "images"), (1, 3, "seeds and images"), (4, 2, "splits")]
)
@pytest.mark.parametrize("effect", [0.0, -0.25])
def test_intervals_hold_the_known_effect(splits, seeds, over, effect):
    """95 of 100 times; where only images are a sample, networks are what they are."""
    rng = np.random.default_rng([splits, seeds, effect < 0])
    seed_spread = 0.05 if seeds > 1 else 0.0
    split_spread = 0.03 if splits > 1 else 0.0
    truth = top1(0.5 + effect, seed_spread, split_spread, split_spread) - top1(0.5, seed_spread)
    held = 0
    for _ in range(STUDIES):
        runs = study(
            rng, splits=splits, seeds=seeds, images=400, effect=effect,
            seed_spread=seed_spread, split_spread=split_spread,
        )  # fmt: skip
        comparison = compare(runs, [ONE], [BASE])
        assert (comparison.over, comparison.targets, comparison.pairs) == (
            over,
            2 * splits,
            2 * splits * seeds,
        )
        held += comparison.interval.low <= truth <= comparison.interval.high
    assert 0.93 <= held / STUDIES <= 0.97


def test_naive_intervals_would_not():
    """Intervals that take seeds as if they were splits hold the effect too rarely."""
    rng = np.random.default_rng(0)
    held = 0
    truth = top1(0.5, 0.1, 0.1) - top1(0.5)
    for _ in range(300):
        runs = study(rng, splits=3, seeds=4, images=300, effect=0, seed_spread=0, split_spread=0.1)
        differences = [
            one.top1 - base.top1
            for seeds in runs.pairs([ONE], [BASE]).values()
            for pairs in seeds
            for one, base in pairs
        ]
        interval = statistics.over_replicates(differences).interval()
        held += interval.low <= truth <= interval.high
    assert held / 300 < 0.85


def test_against_scipys_paired_t_test():
    """Over splits, each the mean of its two targets."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(0.6, 0.02, (6, 2))
    runs = {
        TargetTask(str(i // 2), "AB"[i % 2]): {0: {ONE: NetworkResult(a), BASE: NetworkResult(b)}}
        for i, (a, b) in enumerate(pairs)
    }
    comparison = compare(Runs(runs), [ONE], [BASE])
    expected = stats.ttest_rel(*pairs.reshape(3, 2, 2).mean(axis=1).T)
    interval = expected.confidence_interval()
    assert comparison.p_value == pytest.approx(expected.pvalue)
    assert comparison.interval == pytest.approx(
        (np.mean(pairs @ [1, -1]), interval.low, interval.high)
    )
    assert comparison.at(0.9).high - comparison.mean == pytest.approx(
        stats.t.ppf(0.95, 2) * (interval.high - comparison.mean) / stats.t.ppf(0.975, 2)
    )


def test_one_seed_on_images_is_the_paired_t_test_almost():
    rng = np.random.default_rng(0)
    one, base = rng.random((2, 500)) < [[0.7], [0.6]]
    runs = {
        TargetTask("0", "B"): {
            0: {ONE: NetworkResult(one.mean(), one), BASE: NetworkResult(base.mean(), base)}
        }
    }
    comparison = compare(Runs(runs), [ONE], [BASE])
    exact = statistics.paired_difference(one, base)  # Bonett and Price.
    assert comparison.interval == pytest.approx(exact, abs=3e-3)


def test_only_pairs_count():
    """A seed or target that has only one of the two says nothing of their difference."""
    by_target = {
        TargetTask("0", "A"): {
            0: {ONE: NetworkResult(0.5), BASE: NetworkResult(0.4)},
            1: {ONE: NetworkResult(0.9)},
        },
        TargetTask("1", "A"): {0: {ONE: NetworkResult(0.7), BASE: NetworkResult(0.5)}},
        TargetTask("2", "B"): {0: {BASE: NetworkResult(0.1)}},
    }
    runs = Runs(by_target)
    comparison = compare(runs, [ONE], [BASE])
    assert comparison.interval.estimate == pytest.approx(0.15)
    assert (comparison.targets, comparison.pairs) == (2, 2)
    assert compare(runs, [Role("BnB", 3)], [BASE]) is None
    alone = {TargetTask("0", "A"): by_target[TargetTask("0", "A")]}
    assert compare(Runs(alone), [ONE], [BASE]) is None, "one target, its images unknown"


def test_means_over_a_range():
    roles = [Role("AnB+", n) for n in (3, 4)]
    runs = {
        TargetTask(str(s), "B"): {
            0: {
                roles[0]: NetworkResult(0.5 + s / 10),
                roles[1]: NetworkResult(0.7),
                BASE: NetworkResult(0.4),
            }
        }
        for s in range(2)
    }
    comparison = compare(Runs(runs), roles, [BASE, BASE])
    assert comparison.interval.estimate == pytest.approx(np.mean([0.2, 0.25]))


def test_splits_that_agree_but_for_rounding_do_not_vary():
    """Their interval is over images, and says so."""
    right = np.arange(200) < 140
    runs = {}
    for split, top1 in enumerate((0.1 + 0.2, 0.3)):  # Which differ by 5e-17.
        by_role = {
            ONE: NetworkResult(0.4 + top1, right),
            BASE: NetworkResult(0.4, np.roll(right, 60)),
        }
        runs[TargetTask(str(split), "B")] = {0: by_role}
    comparison = compare(Runs(runs), [ONE], [BASE])
    assert comparison.over == "images"
    assert comparison.interval.high - comparison.interval.low > 0.05
    assert comparison.p_value > 1e-6


def test_several_n_know_more_of_the_variance_than_one():
    """Limma's moderated variance, in another form: the posterior mean under its own prior."""
    rng = np.random.default_rng(0)
    table = rng.normal(0, 0.01, (3, 7)) * np.linspace(0.5, 2, 7)
    estimates = statistics.over_splits(table)
    variances = table.var(axis=0, ddof=1)
    shrunk = np.array([e.variance * 3 for e in estimates])
    # Each lies between its own variance and one that all have in common.
    weights = np.polyfit(variances, shrunk, 1)
    assert 0 <= weights[0] < 1
    np.testing.assert_allclose(np.polyval(weights, variances), shrunk, rtol=1e-8)
    assert all(2 <= estimate.freedom <= 2 * 7 / (1 + 6 * 0.25) for estimate in estimates)
    assert [e.mean for e in estimates] == pytest.approx(table.mean(axis=0))
    (alone,) = statistics.over_splits(table[:, :1])
    assert alone == statistics.over_replicates(table[:, 0])


def test_a_split_that_lacks_an_n():
    table = np.array([[0.01, 0.02], [0.03, np.nan], [0.02, 0.05]])
    first, second = statistics.over_splits(table)
    assert first.mean == pytest.approx(0.02)
    assert second.mean == pytest.approx(0.035)
    assert second.freedom < first.freedom
    # A split that has nothing but a column that does not vary tells no correlation.
    table = np.array([[0.01, 0.02, np.nan], [0.03, 0.05, 0.04], [np.nan, np.nan, 0.04]])
    assert all(np.isfinite(estimate.freedom) for estimate in statistics.over_splits(table))


@pytest.mark.parametrize("freedom", [1, 3])
@pytest.mark.parametrize("prior", [4.0, 40.0])
def test_the_common_variance_against_the_density(freedom, prior):
    """The scale and the degrees of freedom with which many variances were drawn."""
    rng = np.random.default_rng(0)
    true = 2.5 * prior / rng.chisquare(prior, 200_000)
    drawn = true * rng.chisquare(freedom, 200_000) / freedom
    scale, degrees = statistics._common_variance(drawn, np.full(200_000, freedom))
    assert scale == pytest.approx(2.5, rel=0.03)
    assert degrees == pytest.approx(prior, rel=0.25)


def test_seeds_pooled_by_hand():
    """The variance over seeds beyond that of images, against one that is known."""
    rng = np.random.default_rng(0)
    pools = []
    for _ in range(300):
        answers = [rng.random((3, 400)) < 0.7 + rng.normal(0, 0.03, (3, 1)) for _ in range(6)]
        pools.append(statistics.pool_seed_variance([*answers, answers[0][:1]]))
    assert np.mean([pool.between - pool.within for pool in pools]) == pytest.approx(9e-4, rel=0.05)
    assert {(pool.freedom, pool.within_freedom) for pool in pools} == {(12, 12 * 399)}
    assert statistics.pool_seed_variance([answers[0][:1]]) is None


def test_networks_of_a_contrast():
    """The squared weights of a mean over n that share a base."""
    roles = tuple(Role("AnB", n) for n in (1, 2, 3, 4))
    assert Contrast(roles, (BASE,) * 4).networks == pytest.approx(4 / 16 + 1)
    assert Contrast(roles[:1], (BASE,)).networks == 2


def test_the_level_of_a_role():
    """A mean top-1 over splits against SciPy, and over images against the normal interval."""
    tops = [[0.5, 0.6], [0.7, 0.5], [0.4, 0.45]]
    runs = {
        TargetTask(str(split), target): {0: {BASE: NetworkResult(top1)}}
        for split, of_split in enumerate(tops)
        for target, top1 in zip("AB", of_split, strict=True)
    }
    level = estimate_level(Runs(runs), BASE)
    expected = stats.ttest_1samp(np.mean(tops, axis=1), 0).confidence_interval()
    assert level.interval[1:] == pytest.approx(tuple(expected))
    right = np.arange(1000) < 700
    one = Runs({TargetTask("0", "B"): {0: {BASE: NetworkResult(0.7, right)}}})
    level = estimate_level(one, BASE)
    assert level.over == "images"
    assert level.interval.high - 0.7 == pytest.approx(1.96 * np.sqrt(0.21 / 1000), rel=0.02)
    assert estimate_level(one, ONE) is None


def test_holm_against_the_definition():
    """A hypothesis is rejected if all with smaller p are, and its own is small enough."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.random(rng.integers(1, 8)) ** 3
        adjusted = statistics.adjust_holm(p)
        for level in (0.01, 0.05, 0.3):
            rejected = set()
            for rank, place in enumerate(np.argsort(p)):
                if p[place] > level / (len(p) - rank):
                    break
                rejected.add(place)
            assert {i for i, value in enumerate(adjusted) if value <= level} == rejected
    assert statistics.adjust_holm([]) == []
