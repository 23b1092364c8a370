"""What networks truly reach, inferred from studies whose truth is known."""

import itertools

import numpy as np
import pytest
from scipy import stats
from support.donor_studies import DONOR, levels_at, make_runs

from transfer_keras.results import hierarchy
from transfer_keras.results.comparison import NetworkResult, Runs
from transfer_keras.results.roles import BASE, Role
from transfer_keras.results.statistics import pool_seed_variance


def simulate(rng, levels, *, seeds=1, images=200, seed_sd=0.017, shared=1.0):
    """Draws the answers of networks whose true top-1 is known.

    Pictures are of different ease, so networks agree on them; a seed moves a network's level.

    Args:
        levels: role -> the top-1 on all pictures that there could be.
        seeds: of each.
        images: pictures of the study.
        seed_sd: of a network's top-1.
        shared: standard deviation of the pictures' ease, where a network's own part has 1.
    """
    ease = rng.normal(0, shared, images)
    by_seed = {}
    for seed in range(seeds):
        by_role = {}
        for role, level in levels.items():
            reached = np.clip(level + rng.normal(0, seed_sd), 0.005, 0.995)
            threshold = stats.norm.ppf(reached) * np.hypot(shared, 1)
            right = ease + rng.normal(0, 1, images) < threshold
            by_role[role] = NetworkResult(float(right.mean()), right)
        by_seed[seed] = by_role
    return Runs({DONOR: by_seed})


def random_levels(rng, *, own=0.0, depths=(3, 6, 9, 12, 15, 18)):
    """Draws smooth curves of frozen and fine-tuned transfer, and a part of each n alone."""
    n = np.array(depths) / max(depths)
    end, bend, gain = rng.uniform(-0.12, 0.04), rng.uniform(1, 4), rng.uniform(-0.04, 0.04)
    levels = {BASE: 0.6 + rng.normal(0, 0.05)}
    for depth, x in zip(depths, n, strict=True):
        levels[Role("AnB", depth)] = 0.85 + end * x**bend + own * rng.normal()
        levels[Role("AnB+", depth)] = 0.85 + gain * x + own * rng.normal()
    return levels


def test_the_draws_are_those_of_the_model():
    """Their means and deviations equal an integral over the grid, each point by itself."""
    rng = np.random.default_rng(0)
    runs = simulate(rng, random_levels(rng, own=0.02, depths=(2, 5, 9)), seeds=2, images=120)
    posterior = hierarchy.infer_levels(runs, draws=200_000)
    answers = {
        role: np.array([runs.by_target[DONOR][seed][role].right for seed in (0, 1)], float)
        for role in posterior.roles
    }
    measured = np.array([answers[role].mean() for role in posterior.roles])
    table = np.array([answers[role].mean(axis=0) for role in posterior.roles])
    pooled = pool_seed_variance(answers.values())
    count = table.shape[1]
    images = np.array([[np.cov(a, b, ddof=0)[0, 1] for b in table] for a in table]) / (count + 2)
    images += np.eye(len(table)) / (count + 2) ** 2
    weights, centres, squares = [], [], []
    grid = (hierarchy._CURVE, hierarchy._LENGTH, hierarchy._OWN, hierarchy._SEED)
    for curve, length, own, seed in itertools.product(*grid):
        prior = np.zeros((len(table), len(table)))
        for i, a in enumerate(posterior.roles):
            for j, b in enumerate(posterior.roles):
                prior[i, j] = 0.3**2 + (a.family == b.family) * 0.1**2 + (i == j) * own**2
                if a.family == b.family != "base":
                    apart = (a.n - b.n) / 9 / length
                    prior[i, j] += curve**2 * np.exp(-(apart**2) / 2)
        noise = images + np.eye(len(table)) * seed**2 / 2
        fit = stats.multivariate_normal(np.full(len(table), measured.mean()), prior + noise)
        of_seeds = stats.gamma(
            pooled.freedom / 2, scale=2 * (seed**2 + pooled.within) / pooled.freedom
        )
        of_seed = stats.norm(np.log(0.017), 0.6)
        weights.append(
            0.5 * np.log(own)
            + fit.logpdf(measured)
            + of_seeds.logpdf(pooled.between)
            + of_seed.logpdf(np.log(seed))
        )
        gain = prior @ np.linalg.inv(prior + noise)
        centres.append(measured.mean() + gain @ (measured - measured.mean()))
        squares.append(np.diag(prior - gain @ prior) + centres[-1] ** 2)
    weights = np.exp(np.array(weights) - max(weights))
    weights /= weights.sum()
    mean = weights @ np.array(centres)
    deviation = np.sqrt(weights @ np.array(squares) - mean**2)
    np.testing.assert_allclose(posterior.draws.mean(axis=0), mean, atol=3e-4)
    np.testing.assert_allclose(posterior.draws.std(axis=0), deviation, rtol=0.02)
    seeds = np.array([seed for *_, seed in itertools.product(*grid)])
    assert posterior.seed_variance == pytest.approx(weights @ seeds**2)


def test_what_it_says_of_two_roles_is_counted_in_the_draws():
    draws = np.array([[0.7, 0.8, 0.6], [0.7, 0.6, 0.6], [0.7, 0.75, 0.9], [0.7, 0.7, 0.6]])
    one, two, three = Role("AnB", 1), Role("AnB", 2), Role("AnB", 3)
    nothing = np.zeros((3, 3))
    posterior = hierarchy.Posterior((one, two, three), nothing[0], nothing, draws, 0.0)
    assert posterior.regret(one) == pytest.approx((0.1 + 0 + 0.2 + 0) / 4)
    assert posterior.risk(one, two, 0.02) == 2 / 4
    assert posterior.risk(two, one, 0.02) == 1 / 4
    assert posterior.risk(one, one, 0.0) == 0
    estimate, low, high = posterior.difference(two, one, confidence=1.0)
    assert (estimate, low, high) == pytest.approx((0.0125, -0.1, 0.1))


def test_what_is_expected_is_the_mean_of_the_draws():
    runs = simulate(np.random.default_rng(0), levels_at([3, 6, 9, 12]), seeds=2)
    posterior = hierarchy.infer_levels(runs, draws=20_000)
    expected = posterior.expect(posterior.means)
    spread = posterior.draws.std(axis=0) / np.sqrt(len(posterior.draws))
    assert np.all(np.abs(posterior.draws.mean(axis=0) - expected) < 4 * spread + 1e-3)
    assert np.ptp(expected) < np.ptp(posterior.means), "drawn towards each other"
    moved = posterior.expect(posterior.means + 0.01)
    np.testing.assert_allclose(moved, expected + 0.01)


def test_it_is_the_same_each_time_and_knows_far_apart_from_near():
    runs = make_runs(levels_at([3, 6, 12]), seeds=2, noise=0.01)
    first, again = (hierarchy.infer_levels(runs) for _ in range(2))
    np.testing.assert_array_equal(first.draws, again.draws)
    assert first.roles[0] == BASE
    best, far = Role("AnB+", 6), Role("AnB", 12)
    assert first.risk(far, best, 0.02) > 0.99
    assert first.risk(best, far, 0.02) < 0.01
    assert first.regret(far) > 0.2
    assert first.regret(best) < 0.02


def test_networks_that_never_disagree_are_not_taken_for_certain():
    right = np.arange(20) < 20
    by_role = {Role("AnB", n): NetworkResult(1.0, right) for n in (1, 2)}
    posterior = hierarchy.infer_levels(Runs({DONOR: {0: by_role}}))
    low, high = posterior.difference(*posterior.roles)[1:]
    assert high - low > 0.02


def test_seeds_that_differ_widen_what_is_said():
    rng = np.random.default_rng(1)
    levels = {Role("AnB", n): 0.8 for n in range(1, 9)}
    still, moving = (
        hierarchy.infer_levels(simulate(rng, levels, seeds=3, images=2000, seed_sd=sd))
        for sd in (0.002, 0.05)
    )
    assert still.seed_variance < 0.01**2 < 0.03**2 < moving.seed_variance


def test_without_answers_or_networks_nothing_is_inferred():
    assert hierarchy.infer_levels(Runs()) is None
    assert hierarchy.infer_levels(Runs({DONOR: {0: {BASE: NetworkResult(0.5)}}})) is None


# Where each n is off its curve by two points at random, up to a quarter of the offers is wrong: too
# few networks show how rough the curves are.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "in_interval", "offers"), [(0.0, 0.9, 0.95), (0.01, 0.88, 0.88), (0.02, 0.85, 0.7)]
)
@pytest.mark.parametrize(("seeds", "images"), [(1, 150), (2, 150), (1, 600)])
def test_intervals_and_offers_hold(own, in_interval, offers, seeds, images):
    """Of 300 studies: a difference lies in its 90 % interval, and what is said to lose no more than
    two points with a probability of 90 % does."""
    held, offered = [], []
    for number in range(300):
        rng = np.random.default_rng(number)
        levels = random_levels(rng, own=own)
        runs = simulate(rng, levels, seeds=seeds, images=images)
        posterior = hierarchy.infer_levels(runs)
        means = {role: np.mean([r.top1 for r in runs.of(role)]) for role in levels}
        taken = max(means, key=means.get)
        for role in levels:
            if role != taken:
                low, high = posterior.difference(role, taken)[1:]
                held.append(low <= levels[role] - levels[taken] <= high)
                if posterior.risk(role, taken, 0.02) <= 0.1:
                    offered.append(levels[taken] - levels[role] <= 0.02)
    assert np.mean(held) >= in_interval
    assert len(offered) > 30
    assert np.mean(offered) >= offers


def test_what_no_seed_changes_says_nothing_of_seeds():
    """A head that is fitted is the same with each seed; others are not."""
    rng = np.random.default_rng(8)
    levels = {Role("AnB", n): 0.8 for n in (2, 4, 6)}
    runs = simulate(rng, levels, seeds=4, seed_sd=0.04)
    fitted = rng.random(200) < 0.8
    same = {
        seed: by_role | {Role("AnB", 8): NetworkResult(float(fitted.mean()), fitted)}
        for seed, by_role in runs.by_target[DONOR].items()
    }
    alone = hierarchy.infer_levels(runs).seed_variance
    together = hierarchy.infer_levels(Runs({DONOR: same})).seed_variance
    assert together == pytest.approx(alone, rel=0.15)
