"""The heads of `keras.applications`."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, perturb, same

from transfer_keras import surgery

SLOW = pytest.mark.slow
# Side of the images that a network takes.
SIDES = {"MobileNet": 32, "MobileNetV2": 32, "VGG16": 32, "ResNet50": 32}
NAMES = ["MobileNet", *(pytest.param(name, marks=SLOW) for name in ("MobileNetV2", "VGG16"))]
NAMES.append(pytest.param("ResNet50", marks=SLOW))


def build(name, **options):
    shape = (SIDES[name], SIDES[name], 3)
    return getattr(keras.applications, name)(weights=None, input_shape=shape, **options)


@pytest.mark.parametrize("name", NAMES)
def test_with_the_top(name):
    """The new network equals Keras's own for three classes, given the same weights."""
    donor = build(name, classes=10)
    perturb(donor)
    model = surgery.swap_head(donor, 3, seed=0)
    assert model.output.shape == (None, 3)
    by_hand = build(name, classes=3)
    by_hand.set_weights(model.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (2, SIDES[name], SIDES[name], 3))
    x = x.astype(np.float32)
    np.testing.assert_allclose(as_numpy(model(x)), as_numpy(by_hand(x)), rtol=0, atol=1e-6)
    # All weights are the donor's, but the last kernel and its bias.
    equal = [same(a, b) for a, b in zip(donor.weights, model.weights, strict=True)]
    assert equal == [True] * (len(equal) - 2) + [False] * 2
    binary, _ = surgery.transplant(donor, -1, head=1, activation="sigmoid", seed=0)
    assert binary.output.shape == (None, 1)
    logit, _ = surgery.transplant(donor, -1, head=1, activation="linear", seed=0)
    expected = 1 / (1 + np.exp(-as_numpy(logit(x)).astype(np.float64)))
    np.testing.assert_allclose(as_numpy(binary(x)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", [None, "avg", "max"])
@pytest.mark.parametrize("name", NAMES)
def test_without_the_top(name, pooling):
    trunk = build(name, include_top=False, pooling=pooling)
    for refused in (
        lambda: surgery.swap_head(trunk, 5, seed=0),
        lambda: surgery.transplant(trunk, 2, head=5, seed=0),
    ):
        with pytest.raises(surgery.NotRebuildable, match=r"has no head.*`keras\.layers\.Dense"):
            refused()
    x = trunk.output if pooling else LAYERS.GlobalAveragePooling2D()(trunk.output)
    model = keras.Model(trunk.input, LAYERS.Dense(5)(x))
    assert surgery.swap_head(model, 2, seed=0).output.shape == (None, 2)
