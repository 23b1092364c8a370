"""Temperatures and calibration errors, against plain loops."""

import numpy as np
import pytest
from scipy import special

from transfer_keras.deployment import calibrate
from transfer_keras.deployment.calibration import calibration_error


def draw(count, sharpness, seed=0, classes=4):
    """Draws logits, and labels by them; gives logits that are so many times too large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    labels = [rng.choice(classes, p=special.softmax(one)) for one in logits]
    return sharpness * logits, np.array(labels)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_it_finds_how_much_too_large_logits_are(sharpness):
    logits, labels = draw(4000, sharpness)
    found = calibrate(logits, labels)
    assert found.temperature == pytest.approx(sharpness, rel=0.08)
    assert found.error_after < 0.03
    if sharpness == 3.0:
        assert found.error_before > 0.1


@pytest.mark.parametrize("count", [6, 40])
def test_it_has_the_highest_posterior_of_a_grid(count):
    logits, labels = draw(count, 2.0, seed=count)
    grid = np.linspace(np.log(0.05), np.log(20), 4001)

    def posterior(log_temperature):
        total = -((log_temperature / 0.5) ** 2) / 2
        for row, label in zip(logits / np.exp(log_temperature), labels, strict=True):
            total += row[label] - np.log(np.exp(row).sum())
        return total

    best = np.exp(max(grid, key=posterior))
    assert calibrate(logits, labels).temperature == pytest.approx(best, rel=3e-3)


def test_few_pictures_that_are_all_right_do_not_make_it_certain():
    logits = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 2.0
    assert 0.4 < calibrate(logits, np.array([0, 1, 2, 0, 1, 2])).temperature < 1


def test_the_error_is_that_of_a_loop_over_bins():
    rng = np.random.default_rng(1)
    probabilities = special.softmax(rng.normal(0, 2, (300, 5)), axis=-1)
    labels = rng.integers(0, 5, 300)
    expected = 0
    for low in np.arange(15) / 15:
        inside = [(low < p.max() <= low + 1 / 15) for p in probabilities]
        if any(inside):
            top = probabilities[inside].max(axis=-1)
            right = probabilities[inside].argmax(axis=-1) == labels[inside]
            expected += sum(inside) / 300 * abs(right.mean() - top.mean())
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_one_picture_is_enough():
    assert calibrate(np.array([[1.0, 0.0]]), np.array([0])).pictures == 1
