"""Recommendations, on studies whose truth is known."""

import re

import numpy as np
import pytest
from scipy import stats
from support.donor_studies import DONOR, IMAGES, levels_at, make_runs, make_runs_by_seed

from transfer_keras.results import margin, recommendation
from transfer_keras.results.comparison import (
    BASE,
    Comparison,
    NetworkResult,
    Role,
    Runs,
    compare,
)
from transfer_keras.results.statistics import Estimate


def test_of_equals_the_best_is_that_of_the_fewest_units():
    for order in ((2, 5), (5, 2)):
        runs = make_runs({BASE: 0.5} | {Role("AnB", n): 0.7 for n in order})
        assert recommendation.best_role(runs) == Role("AnB", 2)


def test_the_best_is_the_best_of_those_repeated_most_often():
    runs = make_runs(levels_at([3, 6, 9]), seeds=2)
    assert recommendation.best_role(runs) == Role("AnB+", 6)
    (by_seed,) = runs.by_target.values()
    # Lucky, once.
    by_seed[0][Role("AnB+", 12)] = NetworkResult(0.99, np.ones(IMAGES, bool))
    assert recommendation.best_role(runs) == Role("AnB+", 6)
    by_seed[1][Role("AnB+", 12)] = NetworkResult(0.99, np.ones(IMAGES, bool))
    assert recommendation.best_role(runs) == Role("AnB+", 12)


def test_one_that_was_lucky_first_gives_way_to_one_that_was_repeated_less():
    lucky, better = Role("AnB", 3), Role("AnB+", 5)
    runs = make_runs_by_seed(
        {BASE: [0.5] * 4, lucky: [0.9, 0.5, 0.5, 0.5], better: [0.89, None, 0.8, 0.8]}
    )
    assert recommendation.best_role(runs) == better


def test_selffers_and_random_units_are_not_recommended():
    runs = make_runs_by_seed({BASE: [0.5], Role("AnB", 3): [0.6], Role("BnB+", 3): [0.9]})
    runs.by_seed(DONOR)[0][Role("RnB", 2)] = NetworkResult(0.95, np.ones(IMAGES, bool))
    assert recommendation.recommend_for_donor(runs, {}, "net").startswith(
        "Take the lower 3 units of net, frozen"
    )
    assert "BnB" not in recommendation.table_for_donor(runs, {3: "c3"})


@pytest.mark.parametrize(("seeds", "noise"), [(1, 0.0), (3, 0.1)])
def test_the_best_of_many_that_are_no_better_is_seldom_called_better(seeds, noise):
    """Twelve transfers as good as training from scratch; the interval beside the best of them
    excludes nought in no more than 5 of 100 studies, which one of a single comparison does not
    hold."""
    roles = [BASE, *(Role(family, n) for family in ("AnB", "AnB+") for n in range(1, 7))]
    studies, called_better, called_by_one = 300, 0, 0
    for number in range(studies):
        rng = np.random.default_rng(number)
        ease = rng.normal(0.8, 1.2, IMAGES)
        runs = {}
        for seed in range(seeds):
            chances = {
                role: 1 / (1 + np.exp(-ease - rng.normal(0, noise) - rng.normal(0, 1, IMAGES)))
                for role in roles
            }
            right = {role: rng.random(IMAGES) < chance for role, chance in chances.items()}
            runs[seed] = {
                role: NetworkResult(float(one.mean()), one) for role, one in right.items()
            }
        runs = Runs({DONOR: runs})
        best = recommendation.best_role(runs)
        if best == BASE:
            continue
        line = recommendation.recommend_for_donor(runs, {}, "net").splitlines()[1]
        low = float(re.search(r"\(95 % ([+-][\d.]+) to", line)[1])
        called_better += low > 0
        called_by_one += compare(runs, [best], [BASE]).interval.low > 0
    assert called_better <= 0.05 * studies + 2 * (0.05 * 0.95 * studies) ** 0.5
    assert called_by_one > called_better


def test_scratch_can_be_the_best():
    runs = make_runs({**levels_at([3, 6]), BASE: 0.95}, seeds=2)
    assert recommendation.best_role(runs) == BASE
    assert recommendation.recommend_for_donor(runs, {3: "c3", 6: "c6"}, "net").startswith(
        "Train from scratch"
    )


def test_contenders_are_those_not_detectably_worse():
    levels = {BASE: 0.5, Role("AnB", 2): 0.79, Role("AnB", 9): 0.6, Role("AnB+", 2): 0.8}
    runs = make_runs(levels, noise=0.02)
    best = recommendation.best_role(runs)
    assert best == Role("AnB+", 2)
    assert recommendation.contenders(runs, best) == [Role("AnB+", 2), Role("AnB", 2)]


def test_the_cheapest_freezes_most_of_those_not_worse():
    levels = {BASE: 0.5, Role("AnB+", 9): 0.81}
    levels |= {Role("AnB", n): level for n, level in ((2, 0.8), (5, 0.802), (7, 0.795), (9, 0.6))}
    runs = make_runs(levels, noise=0.02)
    role, comparison = recommendation.cheapest_frozen(runs, recommendation.best_role(runs), 0.1)
    assert role == Role("AnB", 7)
    assert comparison.interval.low < 0 <= comparison.interval.high
    assert recommendation.cheapest_frozen(runs, recommendation.best_role(runs), 1e-3) is None
    assert recommendation.cheapest_frozen(runs, Role("AnB", 9)) is None


def test_few_pictures_do_not_make_a_cheap_one():
    """One in six right against four: not detectably worse, but nothing to advise."""
    right = np.arange(6)
    runs = {BASE: NetworkResult(3 / 6, right < 3), Role("AnB+", 3): NetworkResult(4 / 6, right < 4)}
    runs[Role("AnB", 3)] = NetworkResult(1 / 6, right < 1)
    runs = Runs({DONOR: {0: runs}})
    assert recommendation.best_role(runs) == Role("AnB+", 3)
    assert Role("AnB", 3) in recommendation.contenders(runs, Role("AnB+", 3))
    assert recommendation.cheapest_frozen(runs, Role("AnB+", 3)) is None


def test_a_small_estimate_with_a_wide_interval_is_not_offered_as_cheap():
    """A loss of 3 points on 100 images is not detectable, which does not make it small."""
    right = np.arange(100) < 80
    changed = np.isin(np.arange(100), [*range(13), *range(90, 100)])
    runs = {
        BASE: NetworkResult(0.5, np.arange(100) < 50),
        Role("AnB+", 3): NetworkResult(0.8, right),
    }
    runs[Role("AnB", 3)] = NetworkResult(0.77, right ^ changed)
    runs = Runs({DONOR: {0: runs}})
    comparison = compare(runs, [Role("AnB", 3)], [Role("AnB+", 3)])
    assert comparison.interval.estimate == pytest.approx(-0.03)
    assert comparison.interval.low < -0.10
    assert comparison.interval.high > 0
    assert margin.verdict(comparison, 0.05) == margin.UNDECIDED
    assert Role("AnB", 3) in recommendation.contenders(runs, Role("AnB+", 3))
    assert "Cheapest" not in recommendation.recommend_for_donor(runs, {}, "net")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "state"),
    [
        (-0.019, 0.0, margin.FINE, margin.WITHIN),
        (-0.019, -0.001, margin.FINE, margin.WITHIN),
        (-0.019, 0.3, margin.FINE, margin.OPEN),
        (0.021, 0.03, margin.FINE, margin.BEYOND),
        (-0.021, 0.3, margin.UNDECIDED, margin.OPEN),
        (-0.5, -0.019, margin.UNDECIDED, margin.OPEN),
        (-0.5, -0.021, margin.WORSE, margin.BEYOND),
    ],
)
def test_one_rule_decides_what_freezing_costs(low, high, verdict, state):
    """The interval of 90 % is held against two points, whatever the estimate is."""
    half = stats.t.ppf(0.95, 7)
    estimate = Estimate((low + high) / 2, ((high - low) / 2 / half) ** 2, 7)
    comparison = Comparison(estimate, "splits", 16, 16)
    assert comparison.at(0.9)[1:] == pytest.approx((low, high))
    assert margin.verdict(comparison, 0.02) == verdict
    assert margin.state(comparison, 0.02) == state
    assert margin.points(0.02) == "2 points"
    assert margin.points(0.01) == "1 point"


def test_the_table_says_of_how_many_seeds():
    runs = make_runs_by_seed({BASE: [0.5, 0.7], Role("AnB", 3): [0.6, 0.8], Role("AnB+", 3): [0.9]})
    assert re.search(r"0 .*0\.600 of 2", recommendation.table_for_donor(runs, {3: "c3"}))
    assert re.search(
        r"3 .*0\.700 of 2 .*0\.900 of 1", recommendation.table_for_donor(runs, {3: "c3"})
    )


def test_a_transfer_that_gains_little_is_not_said_to_gain():
    runs = make_runs({BASE: 0.8, Role("AnB+", 3): 0.82}, seeds=2, noise=0.05)
    line = recommendation.recommend_for_donor(runs, {}, "net").splitlines()[1]
    assert line.startswith("Against training from scratch, a gain that is not decided: +")


def test_scratch_as_the_best_is_held_against_the_best_transfer():
    runs = make_runs({**levels_at([3, 6]), BASE: 0.9}, seeds=2, noise=0.02)
    second = max(
        (role for role in recommendation.mean_top1(runs) if role != BASE),
        key=(recommendation.mean_top1(runs).get),
    )
    assert second == Role("AnB+", 6)
    line = recommendation.recommend_for_donor(runs, {6: "c6"}, "net").splitlines()[1]
    assert line.startswith("The best transfer, the lower 6 units (up to c6), fine-tuned: -")


def test_words_and_table_say_what_was_found():
    runs = make_runs(levels_at([3, 6]), seeds=3, noise=0.01)
    names = {3: "conv3", 6: "fc6"}
    lines = recommendation.recommend_for_donor(runs, names, "little").splitlines()
    assert lines[0].startswith("Take the lower 6 units of little (up to fc6), fine-tuned: top-1")
    assert "mean of 3 seeds" in lines[0]
    mean = recommendation.mean_top1(runs)
    assert f"top-1 {mean[Role('AnB+', 6)]:.3f}" in lines[0]
    gain = 100 * (mean[Role("AnB+", 6)] - mean[BASE])
    assert lines[1].startswith(f"Against training from scratch: {gain:+.1f} points (95 %")
    assert lines[2].startswith("Frozen instead, at the same n: -")
    assert any(line.startswith("It is the best of 5 on these pictures") for line in lines)
    assert lines[-2:] == ["Trained frozen: n = 3, 6.", "Trained fine-tuned: n = 3, 6."]
    table = recommendation.table_for_donor(runs, names)
    assert f"{mean[Role('AnB', 3)]:.3f}" in table
    assert table.splitlines()[2].startswith("0")


def test_without_a_base_nothing_is_said_against_it():
    levels = levels_at([3, 6])
    del levels[BASE]
    runs = make_runs(levels, seeds=2)
    assert "not trained" in recommendation.table_for_donor(runs, {3: "c3", 6: "c6"})
    text = recommendation.recommend_for_donor(runs, {6: "c6"}, "net")
    assert text.startswith("Take the lower 6 units of net (up to c6), fine-tuned")
    assert "scratch" not in text
