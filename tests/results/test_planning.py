"""How many splits and seeds a question needs, against simulation."""

import numpy as np
import pytest
from scipy import stats

from transfer_keras.results import planning
from transfer_keras.results.comparison import Contrast, NetworkResult, Runs, TargetTask
from transfer_keras.results.roles import BASE, Role

ONE = Role("AnB", 3)


@pytest.mark.parametrize(("deviation", "splits"), [(0.35, 6), (0.5, 11), (1.0, 36)])
def test_splits_for_a_margin_of_half_a_point(deviation, splits):
    """Against the formula of two one-sided tests, and a simulation of them."""
    normal = stats.norm.ppf
    approximate = (normal(0.95) + normal(0.9)) ** 2 * (deviation / 0.5) ** 2 + 2
    assert planning.splits_needed(0.5, deviation) == splits == round(approximate)
    rng = np.random.default_rng(0)
    for count, enough in ((splits, True), (splits - 1, False)):
        drawn = rng.normal(0, deviation, (40_000, count))
        half = stats.t.ppf(0.95, count - 1) * drawn.std(axis=1, ddof=1) / count**0.5
        decided = np.mean(np.abs(drawn.mean(axis=1)) + half < 0.5)
        assert planning.power(0.5, deviation, count) == pytest.approx(decided, abs=0.01)
        assert (decided > 0.79) if enough else (decided < 0.81)
    assert planning.splits_needed(1e-6, 1.0) is None
    assert planning.splits_needed(0.5, 0.0) == 2


def study(rng, *, splits, seeds, images=400, split_sd=0.02, seed_sd=0.02):
    """Simulates two roles that are as good, on targets of their own."""
    runs = {}
    for split in range(splits):
        for target in "AB":
            shift, by_seed = rng.normal(0, split_sd), {}
            for seed in range(seeds):
                by_seed[seed] = {}
                for role, level in ((ONE, 0.6 + shift), (BASE, 0.6)):
                    right = rng.random(images) < level + rng.normal(0, seed_sd)
                    by_seed[seed][role] = NetworkResult(float(right.mean()), right)
            runs[TargetTask(str(split), target)] = by_seed
    return Runs(runs)


@pytest.mark.parametrize("split_sd", [0.0, 0.05])
def test_the_parts_of_the_variance(split_sd):
    rng = np.random.default_rng(0)
    spreads = [
        planning.measure_spread(
            study(rng, splits=4, seeds=3, split_sd=split_sd), [Contrast((ONE,), (BASE,))]
        )
        for _ in range(300)
    ]
    assert np.mean([s.seeds for s in spreads]) == pytest.approx(4e-4, rel=0.1)
    # All answers are drawn anew with each seed: no image is harder than others.
    assert np.mean([s.answers for s in spreads]) == pytest.approx(2 * 0.24, rel=0.03)
    assert np.mean([s.images for s in spreads]) < 0.03
    assert {(s.test_images, s.targets) for s in spreads} == {(400, 2)}
    assert {(s.splits_there, s.seeds_there) for s in spreads} == {(4, 3)}
    # The means of a split, of two targets and three seeds, vary by so much in all.
    within = (2 * 4e-4 / 3 + 2 * 0.24 / 400 / 3) / 2
    assert np.mean([s.within(3) for s in spreads]) == pytest.approx(within, rel=0.1)
    if split_sd:
        assert np.mean([s.splits for s in spreads]) == pytest.approx(split_sd**2 / 2, rel=0.2)
    whole = np.mean([s.deviation(3) ** 2 for s in spreads])
    assert whole == pytest.approx(split_sd**2 / 2 + within, rel=0.25 if split_sd else 0.6)


def test_more_seeds_need_fewer_splits():
    spread = planning.Spread(1e-4, 9e-4, 0.3, 0.0, test_images=5000, targets=2)
    needed = [planning.splits_needed(0.02, spread.deviation(seeds)) for seeds in (1, 2, 4)]
    assert needed == sorted(needed, reverse=True)
    assert len(set(needed)) == 3
    text = planning.what_decides(spread, 0.02)
    assert text.startswith("with no difference, so many splits in all, of so many seeds")
    assert f"{needed[1]} of 2" in text


def test_within_one_split_by_seeds_or_never():
    spread = planning.Spread(None, 4e-4, 0.1, 0.1, test_images=2000, targets=1)
    count = planning.seeds_needed(0.03, spread)
    normal = stats.norm.ppf
    for seeds, enough in ((count, True), (count - 1, False)):
        error = np.sqrt(spread.within(seeds))
        assert ((normal(0.95) + normal(0.9)) * error <= 0.03) == enough
    assert f"with no difference, {count} seeds in all" in planning.what_decides(spread, 0.03)
    there = planning.Spread(None, 4e-4, 0.1, 0.1, 2000, 1, seeds_there=count)
    assert "that there are would mostly have decided it" in planning.what_decides(there, 0.03)
    assert planning.seeds_needed(0.005, spread) is None
    text = planning.what_decides(spread, 0.005)
    assert "no number of seeds would" in text
    pictures = int(text.rpartition("than ")[2].partition(" ")[0].replace(",", ""))
    assert (
        planning.seeds_needed(0.005, planning.Spread(None, 0.0, 0.1, 0.1, pictures - 1, 1)) is None
    )
    assert planning.seeds_needed(0.005, planning.Spread(None, 0.0, 0.1, 0.1, pictures + 2, 1))
    one_seed = planning.Spread(None, None, 0.1, 0.1, 2000, 1)
    assert "a second seed" in planning.what_decides(one_seed, 0.03)


def test_as_many_splits_as_there_are():
    """Where no difference would have been shown, there may be one: no number is promised."""
    spread = planning.Spread(1e-6, 0.0, 0.0, 0.0, 400, 2, splits_there=8, seeds_there=2)
    text = planning.what_decides(spread, 0.02)
    assert text == "with no difference, the splits that there are would mostly have decided it"


def test_a_plan_of_a_study():
    runs = study(np.random.default_rng(0), splits=3, seeds=3, seed_sd=0.05)
    plan = planning.plan_gap(runs, "AnB", "base", 0.005)
    assert plan.states == {3: "open"}
    assert plan.open == [3]
    assert planning.plan_gap(runs, "AnB", "base", 0.5).states == {3: "within the margin"}
    table = planning.plan_table({"transfer": plan}, 0.005)
    assert "n = 3" in table
    assert "0.5 points" in table
    curves = planning.power_curves(plan.spread, 0.005)
    assert list(curves) == ["1 seed each", "2 seeds each", "4 seeds each"]
    for power in curves.values():
        assert np.all(np.diff(list(power.values())) > -0.01)
