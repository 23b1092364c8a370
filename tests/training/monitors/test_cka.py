"""Against plain NumPy, written from the papers."""

import numpy as np
import pytest
import tensorflow as tf
from support.cka_oracle import oracle

from transfer_keras.training.monitors.cka import centred_gram, linear_cka


def measured(x, y, batch):
    def layer(z):
        batches = [z[start : start + batch] for start in range(0, len(z), batch)]
        return [centred_gram(tf.constant(images)).numpy() for images in batches]

    return linear_cka(layer(x), layer(y))


def features(images, seed=0):
    """Makes the features of two layers that have something in common."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(images, 10))
    x = common @ rng.normal(size=(10, 4 * 4 * 3)) + 0.5 * rng.normal(size=(images, 48))
    y = common @ rng.normal(size=(10, 17)) + 0.5 * rng.normal(size=(images, 17))
    return x.reshape(images, 4, 4, 3).astype(np.float32) + 3, y.astype(np.float32)


@pytest.mark.parametrize(("images", "batch"), [(256, 128), (100, 64), (30, 30), (9, 9)])
def test_against_the_papers_formula(images, batch):
    x, y = features(images)
    expected = oracle(x, y, batch)
    assert 0.2 < expected < 0.95
    assert measured(x, y, batch) == pytest.approx(expected, abs=1e-5)
    assert measured(x, x, batch) == pytest.approx(1, abs=1e-6)


def test_scale_shift_and_rotation_do_not_matter():
    x, y = features(128)
    flat = x.reshape(128, -1)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(48, 48)))[0]
    turned = (7 * flat @ rotation + 100).astype(np.float32)
    assert measured(turned, y, 128) == pytest.approx(measured(x, y, 128), abs=1e-4)


def test_the_size_of_batches_does_not_matter_on_average():
    """The estimator is unbiased, unlike that of plain CKA."""
    pairs = [features(512, seed) for seed in range(8)]
    small, whole = ([measured(x, y, batch) for x, y in pairs] for batch in (64, 512))
    assert np.mean(small) == pytest.approx(np.mean(whole), abs=0.02)


def test_nothing_in_common_is_nought_not_less():
    rng = np.random.default_rng(0)
    pairs = [rng.normal(size=(2, 64, 500)).astype(np.float32) for _ in range(20)]
    below = [oracle(x, y, 64) < 0 for x, y in pairs]
    assert any(below)
    assert not all(below)
    for (x, y), negative in zip(pairs, below, strict=True):
        estimate = measured(x, y, 64)
        assert (estimate == 0) == negative
        assert estimate == pytest.approx(max(0, oracle(x, y, 64)), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_layer_has_no_similarity(value):
    x, y = features(64)
    assert np.isnan(measured(np.full_like(x, value), y, 64))


def test_too_few_images():
    x, y = features(3)
    assert np.isnan(measured(x, y, 3))
