"""What the tests of heads and of logits share: networks with an end, and softmax in NumPy."""

import keras
import numpy as np

from support.small_network import LAYERS, images, perturb, same, values

X = images(3, 8)


def softmax(x, axis=-1):
    x = np.asarray(x, np.float64)
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def data(*shape):
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def network(end, first=None):
    """Makes a network of images (8, 8, 3): a convolution "below", then what `end` makes of it."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = (first or LAYERS.Conv2D(4, 3, activation="relu", name="below"))(inputs)
    donor = keras.Model(inputs, end(x), name="donor")
    perturb(donor)
    return donor


def check_rest(donor, model, heads):
    """Checks that all weights but the heads' are copied, and that those of the heads are not."""
    old, new = values(donor), values(model)
    assert old.keys() == new.keys()
    for name in old:
        if name.split("/")[0] not in heads:
            assert same(old[name], new[name]), name
        elif name.endswith("kernel"):
            assert not same(old[name], new[name]), name
