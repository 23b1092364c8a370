"""Recommendations for a donor's units, on studies whose truth is known."""

import re

import numpy as np
import pytest
from support.donor_studies import DONOR, IMAGES, levels_at, make_runs, make_runs_by_seed

from transfer_keras.results import donor_recommendation, hierarchy
from transfer_keras.results.comparison import NetworkResult, Runs
from transfer_keras.results.donor_recommendation import Price
from transfer_keras.results.roles import BASE, Role


def test_of_equals_the_best_is_that_of_the_most_units_and_frozen():
    for order in ((2, 5), (5, 2)):
        equal = {Role(family, n): 0.7 for n in order for family in ("AnB+", "AnB")}
        runs = make_runs({BASE: 0.5} | equal)
        assert donor_recommendation.best_role(runs) == Role("AnB", 5)
        runs = make_runs({BASE: 0.7} | equal)
        assert donor_recommendation.best_role(runs) == BASE


def test_of_equals_a_linear_classifier_is_first_however_their_means_are_rounded():
    """79 and 77 of 85 have the mean of 78, but for the last bit."""

    def result(right, *, fitted=False):
        return NetworkResult(right / 85, np.arange(85) < right, fitted=fitted)

    linear, tuned = Role("AnB-linear", 7), Role("AnB+", 9)
    first = {BASE: result(40), linear: result(78, fitted=True), tuned: result(79)}
    second = {BASE: result(40), tuned: result(77)}
    runs = Runs({DONOR: {0: first, 1: second}})
    means = donor_recommendation.mean_top1(runs)
    assert means[tuned] != means[linear]
    assert donor_recommendation.best_role(runs) == linear


def test_what_is_fitted_counts_as_often_as_what_is_repeated():
    fitted = NetworkResult(0.9, np.arange(IMAGES) < 0.9 * IMAGES, fitted=True)
    runs = make_runs_by_seed({BASE: [0.5] * 4, Role("AnB+", 5): [0.7] * 4})
    runs.by_seed(DONOR)[0][Role("AnB-linear", 3)] = fitted
    assert donor_recommendation.best_role(runs) == Role("AnB-linear", 3)
    runs.by_seed(DONOR)[0][Role("AnB-linear", 3)] = fitted._replace(fitted=False)
    assert donor_recommendation.best_role(runs) == Role("AnB+", 5)


def test_a_linear_classifier_is_what_does_for_less_and_no_seed_changes_it():
    answers = np.arange(IMAGES) < 0.8 * IMAGES
    results = {
        BASE: NetworkResult(0.5, np.arange(IMAGES) < 0.5 * IMAGES),
        Role("AnB-linear", 4): NetworkResult(0.8, answers, fitted=True),
        Role("AnB", 6): NetworkResult(0.8, answers),
        Role("AnB+", 6): NetworkResult(0.85, np.arange(IMAGES) < 0.85 * IMAGES),
    }
    runs = Runs({DONOR: {0: results}})
    posterior = hierarchy.infer_levels(runs)
    role, _ = donor_recommendation.cheapest(posterior, Role("AnB+", 6), 0.1)
    assert role == Role("AnB-linear", 4)
    assert donor_recommendation.cheapest(posterior, role, 0.1) is None
    text = donor_recommendation.recommend_for_donor(runs, {}, "net", margin=0.1)
    assert "For less: a linear classifier on the lower 4 units loses no more" in text


def test_the_best_is_the_best_of_those_repeated_most_often():
    runs = make_runs(levels_at([3, 6, 9]), seeds=2)
    assert donor_recommendation.best_role(runs) == Role("AnB+", 6)
    (by_seed,) = runs.by_target.values()
    # Lucky, once.
    by_seed[0][Role("AnB+", 12)] = NetworkResult(0.99, np.ones(IMAGES, bool))
    assert donor_recommendation.best_role(runs) == Role("AnB+", 6)
    by_seed[1][Role("AnB+", 12)] = NetworkResult(0.99, np.ones(IMAGES, bool))
    assert donor_recommendation.best_role(runs) == Role("AnB+", 12)


def test_what_is_taken_is_that_of_the_least_regret_and_not_a_lucky_peak():
    """One fine-tuned network is far above those beside it, by what may be chance."""

    def result(right, seed, **facts):
        answers = np.random.default_rng(seed).permutation(100) < right
        return NetworkResult(right / 100, answers, **facts)

    linear, peak = Role("AnB-linear", 1), Role("AnB+", 5)
    results = {Role("AnB+", n): result(50 + n % 2, n) for n in range(2, 8)}
    results |= {peak: result(60, 5), linear: result(59, 1, fitted=True)}
    runs = Runs({DONOR: {0: results}})
    taken, posterior = donor_recommendation.best_role(runs), hierarchy.infer_levels(runs)
    assert taken == linear
    assert posterior.regret(taken) == min(map(posterior.regret, posterior.roles))
    text = donor_recommendation.recommend_for_donor(runs, {}, "net")
    probability = int(re.search(r"better, with a probability of (\d+) %", text)[1])
    assert probability < 50
    results[peak] = result(75, 5)  # That is no chance.
    assert donor_recommendation.best_role(Runs({DONOR: {0: results}})) == peak


def test_one_that_was_lucky_first_gives_way_to_one_that_was_repeated_less():
    lucky, better = Role("AnB", 3), Role("AnB+", 5)
    runs = make_runs_by_seed(
        {BASE: [0.5] * 4, lucky: [0.9, 0.5, 0.5, 0.5], better: [0.89, None, 0.8, 0.8]}
    )
    assert donor_recommendation.best_role(runs) == better


def test_selffers_and_random_units_are_not_recommended():
    runs = make_runs_by_seed({BASE: [0.5], Role("AnB", 3): [0.6], Role("BnB+", 3): [0.9]})
    runs.by_seed(DONOR)[0][Role("RnB", 2)] = NetworkResult(0.95, np.ones(IMAGES, bool))
    assert donor_recommendation.recommend_for_donor(runs, {}, "net").startswith(
        "Take the lower 3 units of net, frozen"
    )
    assert "BnB" not in donor_recommendation.table_for_donor(runs, {3: "c3"})


def test_scratch_can_be_the_best():
    runs = make_runs({**levels_at([3, 6]), BASE: 0.95}, seeds=2)
    assert donor_recommendation.best_role(runs) == BASE
    assert donor_recommendation.recommend_for_donor(runs, {3: "c3", 6: "c6"}, "net").startswith(
        "Train from scratch"
    )


def test_contenders_are_those_that_may_well_be_better():
    levels = {BASE: 0.5, Role("AnB", 2): 0.79, Role("AnB", 9): 0.6, Role("AnB+", 2): 0.8}
    runs = make_runs(levels, noise=0.02)
    best = donor_recommendation.best_role(runs)
    assert best == Role("AnB+", 2)
    assert donor_recommendation.contenders(runs, best) == [Role("AnB+", 2), Role("AnB", 2)]


def test_the_cheapest_freezes_most_of_those_that_lose_little():
    levels = {BASE: 0.5, Role("AnB+", 9): 0.81}
    levels |= {Role("AnB", n): level for n, level in ((2, 0.8), (5, 0.802), (7, 0.795), (9, 0.6))}
    runs = make_runs(levels, noise=0.02)
    posterior, taken = hierarchy.infer_levels(runs), donor_recommendation.best_role(runs)
    role, safe = donor_recommendation.cheapest(posterior, taken, 0.1)
    assert role == Role("AnB", 7)
    assert safe == 1 - posterior.risk(role, taken, 0.1) >= 0.9
    assert posterior.risk(Role("AnB", 9), taken, 0.1) > 0.8
    role, safe = donor_recommendation.cheapest(posterior, taken, 1e-3)
    assert safe < 0.9, "none is certain; the most probable is named"
    assert donor_recommendation.cheapest(posterior, Role("AnB", 9)) is None


def test_few_pictures_do_not_make_a_cheap_one():
    """One in six right against four: it may be better, but nothing is to be promised."""
    right = np.arange(6)
    runs = {BASE: NetworkResult(3 / 6, right < 3), Role("AnB+", 3): NetworkResult(4 / 6, right < 4)}
    runs[Role("AnB", 3)] = NetworkResult(1 / 6, right < 1)
    runs = Runs({DONOR: {0: runs}})
    assert donor_recommendation.best_role(runs) == Role("AnB+", 3)
    posterior = hierarchy.infer_levels(runs)
    _, safe = donor_recommendation.cheapest(posterior, Role("AnB+", 3))
    assert safe < 0.5
    text = donor_recommendation.recommend_for_donor(runs, {}, "net")
    assert "For less: nothing is sure enough; freezing the lower 3 units loses" in text


def test_a_small_loss_that_is_uncertain_is_not_offered_as_cheap():
    """A loss of 3 points on 100 images is not detectable, which does not make it small."""
    right = np.arange(100) < 80
    changed = np.isin(np.arange(100), [*range(13), *range(90, 100)])
    runs = {
        BASE: NetworkResult(0.5, np.arange(100) < 50),
        Role("AnB+", 3): NetworkResult(0.8, right),
    }
    runs[Role("AnB", 3)] = NetworkResult(0.77, right ^ changed)
    runs = Runs({DONOR: {0: runs}})
    assert Role("AnB", 3) in donor_recommendation.contenders(runs, Role("AnB+", 3))
    assert "nothing is sure enough" in donor_recommendation.recommend_for_donor(runs, {}, "net")


def test_the_three_sentences_say_what_to_take_what_does_for_less_and_what_is_open():
    levels = {BASE: 0.5, Role("AnB", 3): 0.85, Role("AnB+", 3): 0.852, Role("AnB", 6): 0.849}
    runs = make_runs(levels, seeds=3, noise=0.005)
    names = {3: "conv3", 6: "fc6"}
    taken = donor_recommendation.best_role(runs)
    prices = {role: Price(300 - 40 * role.n, 2**30, 10 ** (7 - role.n)) for role in levels}
    text = donor_recommendation.recommend_for_donor(runs, names, "little", prices=prices)
    first, second, third = text.splitlines()[:3]
    assert first.startswith(f"Take the lower {taken.n} units of little (up to {names[taken.n]}), ")
    assert "mean of 3 seeds; the best of all that was tried may be " in first
    top1 = donor_recommendation.mean_top1(runs)[taken]
    assert f"top-1 {top1:.3f}" in first
    assert second.startswith(
        "For less: freezing the lower 6 units (up to fc6) loses no more than 2 points (probability"
    )
    assert second.endswith("and trains 10 weights instead of 10,000, in 1 min instead of 3 min.")
    assert third.startswith("Not decided: whether ")
    assert re.search(r"is better, with a probability of \d+ % \([+-]\d\.\d points, 90 % ", third)
    assert "seeds" in third


def test_what_is_decided_is_said_to_be():
    runs = make_runs(levels_at([3, 6]), seeds=3, noise=0.01)
    text = donor_recommendation.recommend_for_donor(runs, {3: "conv3", 6: "fc6"}, "little")
    lines = text.splitlines()
    assert lines[0].startswith("Take the lower 6 units of little (up to fc6), fine-tuned: top-1")
    assert lines[2].startswith("Nothing else that was tried is better with a probability of 10 %")
    assert re.match(r"Against training from scratch: \+3\d\.\d points, 95 % \+", lines[3])
    assert lines[4].startswith("Frozen instead, at the same n: -")
    assert lines[5].startswith("It is the best of 5 on these pictures")
    assert lines[-2:] == ["Trained frozen: n = 3, 6.", "Trained fine-tuned: n = 3, 6."]


def test_more_validation_pictures_are_asked_for_where_seeds_would_not_do():
    """Two networks that are right on other pictures, with many seeds that agree."""
    one, other = np.arange(IMAGES) < 320, np.arange(IMAGES) >= 81
    by_role = {
        Role("AnB", 3): NetworkResult(0.8, one),
        Role("AnB+", 3): NetworkResult(319 / IMAGES, other),
    }
    runs = Runs({DONOR: dict.fromkeys(range(8), by_role)})
    text = donor_recommendation.recommend_for_donor(runs, {}, "net")
    assert re.search(r"Not decided: .*no number of seeds would: .* test pictures", text)


def test_a_transfer_is_held_against_scratch_where_that_is_the_best():
    runs = make_runs({**levels_at([3, 6]), BASE: 0.9}, seeds=2, noise=0.02)
    text = donor_recommendation.recommend_for_donor(runs, {6: "c6"}, "net")
    assert text.startswith(
        "Train from scratch: no transfer that was tried is likely to do better: top-1"
    )
    assert "Against training from scratch" not in text


def test_without_a_base_nothing_is_said_against_it():
    levels = levels_at([3, 6])
    del levels[BASE]
    runs = make_runs(levels, seeds=2)
    assert "from scratch" not in donor_recommendation.table_for_donor(runs, {3: "c3", 6: "c6"})
    text = donor_recommendation.recommend_for_donor(runs, {6: "c6"}, "net")
    assert text.startswith("Take the lower 6 units of net (up to c6), fine-tuned")
    assert "scratch" not in text


def test_one_network_alone_is_taken_without_comparison():
    runs = make_runs({Role("AnB", 3): 0.7})
    text = donor_recommendation.recommend_for_donor(runs, {}, "net")
    assert text.splitlines() == [
        "Take the lower 3 units of net, frozen: top-1 0.700.",
        "Trained frozen: n = 3.",
    ]


def test_without_the_answers_there_is_no_advice():
    runs = Runs({DONOR: {0: {Role("AnB", 3): NetworkResult(0.7)}}})
    text = donor_recommendation.recommend_for_donor(runs, {}, "net")
    assert text == "No advice: the answers of some networks to the pictures are not known."
    assert "0.700" in donor_recommendation.table_for_donor(runs, {3: "c3"})


def test_the_table_has_a_row_for_each_that_was_tried():
    runs = make_runs_by_seed({BASE: [0.5, 0.7], Role("AnB", 3): [0.6, 0.8], Role("AnB+", 3): [0.9]})
    prices = {BASE: Price(90, 1.23 * 2**30, 1_234_567), Role("AnB", 3): Price(7, 2**29, 12)}
    table = donor_recommendation.table_for_donor(runs, {3: "c3"}, margin=0.03, prices=prices)
    heading, _, *rows = table.splitlines()
    assert heading.split("  ")[-1].strip() == "weights trained"
    assert "loses > 3 points" in heading
    assert re.match(r"0 +from scratch +0\.600 of 2 +\d+\.\d +\d+ % +2 min +1\.3 GiB", rows[0])
    assert re.match(r"3 +c3 +frozen +0\.700 of 2 .* 7 s +0\.5 GiB +12$", rows[1])
    assert re.match(r"3 +c3 +fine-tuned +0\.900 of 1 ", rows[2])
    assert len(rows) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "noise"), [(1, 0.0), (3, 0.1)])
def test_the_best_of_many_that_are_no_better_is_seldom_called_better(seeds, noise):
    """Twelve transfers as good as training from scratch; the interval of the gain of the best of
    them lies above nought in no more than 5 of 100 studies."""
    roles = [BASE, *(Role(family, n) for family in ("AnB", "AnB+") for n in range(1, 7))]
    studies, called_better = 300, 0
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
        best = donor_recommendation.best_role(runs)
        if best != BASE:
            called_better += (
                hierarchy.infer_levels(runs).difference(best, BASE, confidence=0.95).low > 0
            )
    assert called_better <= 0.05 * studies + 2 * (0.05 * 0.95 * studies) ** 0.5
