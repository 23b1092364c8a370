"""The measure by which networks are compared, against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from transfer_keras.results import BALANCED, TOP1, measure_accuracy
from transfer_keras.results.measure import image_scores


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat([0, 1, 3], [80, 12, 30]))  # None of class 2.
    return label, np.where(rng.random(122) < 0.7, label, rng.choice([0, 1, 3], 122))


@pytest.mark.parametrize(
    ("measure", "oracle"), [(TOP1, accuracy_score), (BALANCED, balanced_accuracy_score)]
)
def test_against_scikit_learn(answers, measure, oracle):
    value, low, high = measure_accuracy(*answers, measure)
    assert value == pytest.approx(oracle(*answers))
    assert image_scores(*answers, measure).mean() == pytest.approx(oracle(*answers))
    assert low < value < high
    assert accuracy_score(*answers) != pytest.approx(balanced_accuracy_score(*answers), abs=0.01)


def test_top1_has_the_interval_of_wilson(answers):
    label, predicted = answers
    right, count = (label == predicted).sum(), len(label)
    expected = stats.binomtest(int(right), count).proportion_ci(method="wilson")
    assert measure_accuracy(*answers)[1:] == pytest.approx((expected.low, expected.high))


def test_the_interval_of_balanced_accuracy_holds():
    """Over 2000 draws of uneven classes, each with an accuracy of its own."""
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1, 2], [60, 20, 12])
    truth = np.array([0.95, 0.8, 0.6])
    held = []
    for _ in range(2000):
        predicted = np.where(rng.random(len(label)) < truth[label], label, 3)
        _, low, high = measure_accuracy(label, predicted, BALANCED)
        held.append(low <= truth.mean() <= high)
    assert 0.935 <= np.mean(held) <= 0.98


def test_what_is_always_right_is_not_certain():
    label = np.repeat([0, 1], [30, 5])
    value, low, high = measure_accuracy(label, label, BALANCED)
    assert value == 1
    assert 0.7 < low < 0.95
    assert high == 1
