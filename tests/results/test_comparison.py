"""Comparisons over a study, on the paper's logged runs and on simulated studies."""

import numpy as np
import pytest
from scipy import stats

from transfer_keras.results import statistics
from transfer_keras.results.comparison import BASE, NetworkResult, Role, Runs, TargetTask, compare

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
    rng = np.random.default_rng(0)
    pairs = rng.normal(0.6, 0.02, (6, 2))
    runs = {
        TargetTask(str(i // 2), "AB"[i % 2]): {0: {ONE: NetworkResult(a), BASE: NetworkResult(b)}}
        for i, (a, b) in enumerate(pairs)
    }
    comparison = compare(Runs(runs), [ONE], [BASE])
    expected = stats.ttest_rel(*pairs.T)
    interval = expected.confidence_interval()
    assert comparison.p_value == pytest.approx(expected.pvalue)
    assert comparison.interval == pytest.approx(
        (np.mean(pairs @ [1, -1]), interval.low, interval.high)
    )
    assert comparison.deviation == pytest.approx(np.std(pairs @ [1, -1], ddof=1))


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


def test_runs_to_decide_against_simulation():
    rng = np.random.default_rng(0)
    for effect, deviation in ((0.5, 0.4), (0.2, 0.35), (-0.3, 0.3)):
        count = statistics.replicates_to_decide(effect, deviation)
        for tried, enough in ((count, True), (count - 1, False)):
            p = stats.ttest_1samp(rng.normal(effect, deviation, (20_000, tried)), 0, axis=1).pvalue
            assert (np.mean(p < 0.05) > 0.8 - 0.01) if enough else (np.mean(p < 0.05) < 0.8 + 0.01)
    assert statistics.replicates_to_decide(0.0, 1.0) is None
    assert statistics.replicates_to_decide(1e-6, 1.0) is None
    assert statistics.replicates_to_decide(1.0, 0.0) == 2
