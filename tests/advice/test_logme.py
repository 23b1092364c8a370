"""Against the definition: the density of the labels under an explicit Gaussian, maximised."""

import numpy as np
import pytest
from scipy import optimize
from support.logme_oracle import oracle

from transfer_keras.advice.logme import centred, logme


def labelled(seed, examples, features, classes=3, *, signal=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(examples) % classes)
    x = rng.normal(size=(examples, features)) + rng.normal(size=features)
    return x + signal * rng.normal(size=(classes, features))[labels], labels


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("signal", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(40, 5), (25, 25), (12, 60), (30, 1), (30, 29)])
def test_against_the_definition(seed, signal, shape):
    features, labels = labelled(seed, *shape, signal=signal)
    assert logme(features, labels) == pytest.approx(oracle(features, labels), abs=1e-6)


def test_the_greater_of_two_maxima():
    """Which the iteration of the paper misses from alpha = beta = 1 by 0.15 and more."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        features, labels = labelled(seed, 30, 8, 2, signal=0)
        features *= 10 ** rng.uniform(-2, 2, 8)
        features[:, 0] += 2 * np.abs(features[:, 0]).mean() * labels
        assert logme(features, labels) == pytest.approx(oracle(features, labels), abs=1e-6)


def test_the_intercept_is_one_of_flat_prior():
    """With a variance that is great, the density of the labels themselves, features as they are."""
    features, labels = labelled(0, 30, 4, 2)
    great = 1e5

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(30) / beta + features @ features.T / alpha + great
        square = labels @ np.linalg.solve(covariance, labels)
        return (square + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2

    best = -optimize.minimize(negative, (3, 2), method="Nelder-Mead", tol=1e-10).fun
    best += np.log(2 * np.pi * great * 30) / 2
    assert logme(features, labels) == pytest.approx(best / 30, abs=1e-5)


def test_informative_features_score_higher():
    scores = [
        np.mean([logme(*labelled(s, 100, 20, signal=v)) for s in range(3)]) for v in (0, 0.3, 1, 3)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.3


@pytest.mark.parametrize("examples", [20, 60])
def test_what_does_not_matter(examples):
    features, labels = labelled(1, examples, 30)
    expected = logme(features, labels)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 30)))[0]
    order = np.random.default_rng(2).permutation(examples)
    constant = np.full((examples, 2), [0.1, 1e3])
    same = {
        "rotated": (features @ rotation, labels),
        "moved": (features + 100, labels),
        "reordered": (features[order], labels[order]),
        "renamed": (features, 10 - 3 * labels),
        "large": (features * 1e200, labels),
        "small": (features * 1e-200, labels),
        "with constants": (np.hstack([features, constant]), labels),
        "all twice": (np.hstack([features, features]), labels),
    }
    for what, given in same.items():
        assert logme(*given) == pytest.approx(expected, abs=1e-9), what
    assert logme(features, labels[order]) < expected - 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, 1e300])
def test_constant_features_score_lowest(value):
    labels = np.arange(50) % 3 > 1
    least = -(1 + np.log(2 * np.pi * labels.var(ddof=1))) / 2 * 49 / 50
    assert logme(np.full((50, 7), value), labels) == pytest.approx(least, abs=1e-12)
    assert logme(np.zeros((50, 0)), labels) == pytest.approx(least, abs=1e-12)
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=(50, 7))
        assert logme(noise, labels) >= least - 1e-12


def test_without_bound():
    features, labels = labelled(0, 30, 4)
    exact = np.hstack([features, np.eye(3)[labels]])
    assert logme(exact, labels) == np.inf
    assert logme(exact @ np.random.default_rng(1).normal(size=(7, 50)), labels) == np.inf
    assert np.isfinite(logme(np.random.default_rng(0).normal(size=(30, 100)), labels))
    features[3, 2] = np.nan
    assert np.isnan(logme(features, labels))


def test_columns_of_float32_that_nearly_repeat():
    features, labels = labelled(0, 80, 10)
    once = features.astype(np.float32)
    near = np.hstack([once, np.nextafter(once, np.float32(9))])
    assert logme(near, labels) == pytest.approx(logme(once, labels), abs=1e-4)


def test_centred():
    features = np.random.default_rng(0).normal(5, 3, (20, 4)).astype(np.float32)
    features[:, 1] = 0.1
    shifted = centred(features)
    assert shifted.dtype == np.float64
    assert not shifted[:, 1].any()
    assert np.abs(shifted).max() == 1
    assert shifted.mean(axis=0) == pytest.approx(0, abs=1e-15)
    assert np.corrcoef(shifted[:, 0], features[:, 0])[0, 1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((4, 2), [0, 1, 0], r"\(4, 2\) and \(3,\)"),
        ((4, 2, 2), [0, 1, 0, 1], r"\(4, 2, 2\)"),
        ((4, 2), [1, 1, 1, 1], r"two classes or more\. Received: \[1\]"),
    ],
)
def test_what_cannot_be_scored(shape, labels, message):
    with pytest.raises(ValueError, match=message):
        logme(np.ones(shape), labels)
