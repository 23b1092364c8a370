"""The accuracy of a network that was chosen by the pictures it is tested on."""

import numpy as np
import pytest

from transfer_keras.results import Interval, accuracy_of_choice, measure_accuracy

ANY = Interval(0.7, 0.6, 0.8)


def reached(right):
    """What one network reached, with its interval."""
    return measure_accuracy(np.ones(len(right), int), np.asarray(right).astype(int))


def simulate(rng, levels, *, images, seeds=1):
    """Networks of known accuracy that agree on the easy pictures."""
    ease = rng.random(images)
    return [
        np.array([0.5 * ease + 0.5 * rng.random(images) < level for _ in range(seeds)])
        for level in levels
    ]


def true_accuracy(level):
    """That of `simulate`'s networks, on all pictures that there could be."""
    rng = np.random.default_rng(0)
    return float((0.5 * rng.random(10**6) + 0.5 * rng.random(10**6) < level).mean())


def test_one_network_that_could_not_be_chosen_has_its_own_accuracy():
    right = np.arange(200) < 150
    found = accuracy_of_choice([right[None]], reached(right))
    assert found == pytest.approx(reached(right), abs=0.005)
    assert accuracy_of_choice([right[None]], reached(right)) == found


def test_the_interval_moves_with_the_estimate_and_stays_within_0_and_1():
    images = np.arange(200)
    answers = [np.array([images < 150])]
    found = accuracy_of_choice(answers, Interval(0.9, 0.85, 0.95))
    assert found == pytest.approx((0.75, 0.70, 0.80), abs=0.005)
    found = accuracy_of_choice(answers, Interval(0.5, 0.1, 0.9))
    assert found == pytest.approx((0.75, 0.35, 1.0), abs=0.005)


def test_it_repeats_the_choice_of_the_role_and_then_of_its_seed():
    """The role with the better mean is taken though the other has the better seed."""
    images = np.arange(1000)
    steady, lucky = np.array([images < 800] * 2), np.array([images < 900, images < 500])
    found = accuracy_of_choice([steady, lucky], ANY)
    assert found.estimate == pytest.approx(0.8, abs=0.01)


def test_of_equals_the_first_is_taken():
    images = np.arange(1000)
    one, other = images < 700, images >= 300
    assert accuracy_of_choice([one[None]] * 3, ANY).estimate == pytest.approx(
        accuracy_of_choice([one[None]], ANY).estimate
    )
    assert accuracy_of_choice([one[None], other[None]], ANY).estimate != pytest.approx(
        accuracy_of_choice([one[None]], ANY).estimate, abs=1e-6
    )


@pytest.mark.parametrize("answers", [[], [np.ones((1, 1), bool)]])
def test_too_little_to_choose_by_is_an_error(answers):
    with pytest.raises(ValueError, match="Expected the answers of one network or more"):
        accuracy_of_choice(answers, ANY)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "seeds"), [(60, 1), (150, 1), (150, 3)])
def test_the_best_of_twelve_is_not_flattered(images, seeds):
    """Of 300 studies of twelve equal networks: the mean is that on other pictures, where that of
    the choice itself is points above; and the interval holds it."""
    truth = true_accuracy(0.6)
    plain, corrected, held = [], [], []
    for number in range(300):
        rng = np.random.default_rng(number)
        answers = simulate(rng, [0.6] * 12, images=images, seeds=seeds)
        best = max(answers, key=lambda right: right.mean())
        plain.append(best.mean(axis=1).max() - truth)
        right = max(best, key=lambda right: right.mean())
        found = accuracy_of_choice(answers, reached(right), samples=400)
        corrected.append(found.estimate - truth)
        held.append(found.low <= truth <= found.high)
    assert np.mean(plain) > 0.02
    assert abs(np.mean(corrected)) < 0.012
    assert 0.9 <= np.mean(held) <= 0.99
