"""Networks for images of another number of channels: what is promised of their outputs holds."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, perturb

from transfer_keras import surgery


def pictures(channels, side=12):
    return np.random.default_rng(0).normal(size=(3, side, side, channels)).astype(np.float32)


def network(*before, channels=3, first=None):
    """A network with layers before its first convolution, which pads with zeros."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 12, channels), name="pixels")
    x = inputs
    for layer in before:
        x = layer(x)
    x = (first or LAYERS.Conv2D(4, 3, padding="same", name="one"))(x)
    x = LAYERS.Conv2D(3, 3, activation="relu", name="two")(x)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, LAYERS.Dense(2, name="head")(x), name="net")
    perturb(model)
    for layer in before:
        if isinstance(layer, LAYERS.Normalization):
            # It computes what it subtracts from its weights.
            layer.finalize_state()
    return model


def harmless():
    """Makes layers that do the same to each channel."""
    return (
        LAYERS.Rescaling(0.5, 0.1, name="scaled"),
        LAYERS.Normalization(mean=0.2, variance=4.0, axis=None, name="normal"),
        LAYERS.ZeroPadding2D(1, name="padded"),
        LAYERS.MaxPooling2D(2, name="pooled"),
        LAYERS.RandomFlip(seed=1, name="flipped"),
        LAYERS.Dropout(0.5, name="dropped"),
    )


@pytest.mark.parametrize("before", [(), harmless()], ids=["bare", "preprocessed"])
def test_grey_pictures_give_what_repeated_ones_gave(before):
    model = network(*before)
    new = surgery.with_channels(model, 1)
    grey = pictures(1)
    assert new.input.shape == (None, 12, 12, 1)
    expected = as_numpy(model(np.repeat(grey, 3, axis=-1)))
    np.testing.assert_allclose(as_numpy(new(grey)), expected, atol=1e-5)
    old_kernel, new_kernel = (as_numpy(m.get_layer("one").kernel) for m in (model, new))
    np.testing.assert_allclose(new_kernel[:, :, 0], old_kernel.sum(2), atol=1e-6)
    for name in ("two", "head"):
        for a, b in zip(model.get_layer(name).weights, new.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(as_numpy(a), as_numpy(b))
    assert model.get_layer("one").kernel.shape == (3, 3, 3, 4)


@pytest.mark.parametrize("before", [(), harmless()], ids=["bare", "preprocessed"])
def test_channels_that_are_repeated_as_often_give_the_same(before):
    model, x = network(*before), pictures(3)
    new = surgery.with_channels(model, 6)
    np.testing.assert_allclose(as_numpy(new(np.tile(x, 2))), as_numpy(model(x)), atol=1e-5)


def test_one_channel_becomes_three():
    model, x = network(channels=1), pictures(1)
    new = surgery.with_channels(model, 3)
    expected = as_numpy(model(x))
    np.testing.assert_allclose(as_numpy(new(np.repeat(x, 3, -1))), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_repeat_in_turn_and_keep_the_size_of_the_sums(channels):
    model = network()
    new = surgery.with_channels(model, channels)
    old_kernel, new_kernel = (as_numpy(m.get_layer("one").kernel) for m in (model, new))
    for channel in range(channels):
        expected = old_kernel[:, :, channel % 3] * 3 / channels
        np.testing.assert_allclose(new_kernel[:, :, channel], expected, atol=1e-6)


def test_zero_ignores_the_further_channels():
    means = {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 5.0, 6.0]}
    model = network(LAYERS.Normalization(**means, name="pixels_normal"))
    new = surgery.with_channels(model, 5, extra="zero")
    x = pictures(3)
    both = np.concatenate([x, 9 * pictures(2)], axis=-1)
    np.testing.assert_allclose(as_numpy(new(both)), as_numpy(model(x)), atol=1e-5)
    # They can be learned.
    new.compile(keras.optimizers.SGD(1.0), "mse")
    new.fit(both, np.ones((3, 2)), verbose=0)
    assert np.abs(as_numpy(new.get_layer("one").kernel)[:, :, 3:]).max() > 0


def adapted():
    layer = LAYERS.Normalization(name="normal")
    layer.adapt(np.random.default_rng(0).normal([1, 2, 3], [1, 2, 3], (9, 4, 4, 3)))
    return layer


def batch_norm():
    layer = LAYERS.BatchNormalization(name="normal")
    layer.build((None, None, None, 3))
    for weight in layer.weights:
        weight.assign([1.0, 2.0, 3.0])
    return layer


OWN_FOR_EACH = {
    "normalization": lambda: LAYERS.Normalization(
        mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0], name="normal"
    ),
    "adapted": adapted,
    "rescaling": lambda: LAYERS.Rescaling([1.0, 2.0, 3.0], [0.5, 0.25, 0.125], name="normal"),
    "batch_norm": batch_norm,
}


@pytest.mark.parametrize("make", OWN_FOR_EACH.values(), ids=OWN_FOR_EACH)
def test_numbers_for_each_channel(make):
    model, x = network(make()), pictures(3)
    new = surgery.with_channels(model, 6)
    np.testing.assert_allclose(as_numpy(new(np.tile(x, 2))), as_numpy(model(x)), atol=1e-5)
    with pytest.raises(surgery.ShapeMismatch, match=r"'normal' \(.*has other numbers for each"):
        surgery.with_channels(model, 1)


@pytest.mark.parametrize(
    "layer",
    [
        LAYERS.Normalization(mean=[2.0, 2.0, 2.0], variance=[4.0, 4.0, 4.0]),
        LAYERS.Rescaling([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]),
    ],
    ids=["normalization", "rescaling"],
)
def test_equal_numbers_for_each_channel_are_right_for_grey(layer):
    model, grey = network(layer), pictures(1)
    expected = as_numpy(model(np.repeat(grey, 3, axis=-1)))
    out = as_numpy(surgery.with_channels(model, 1)(grey))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_several_first_convolutions():
    inputs = keras.Input((8, 8, 3))
    x = keras.ops.subtract(keras.ops.multiply(inputs, 2.0), 0.5)
    left = LAYERS.Conv2D(4, 3, padding="same", name="left")(x)
    right = LAYERS.Dense(4, name="right")(x)
    x = LAYERS.GlobalMaxPooling2D()(LAYERS.Add()([left, right]))
    model = keras.Model(inputs, x)
    perturb(model)
    grey = pictures(1, 8)
    expected = as_numpy(model(np.repeat(grey, 3, axis=-1)))
    out = as_numpy(surgery.with_channels(model, 1)(grey))
    np.testing.assert_allclose(out, expected, atol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class Stem(LAYERS.Layer):
    """A layer that holds the first convolution."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = LAYERS.Conv2D(4, 4, strides=4, name="conv")

    def build(self, shape):
        self.conv.build(shape)

    def call(self, x):
        return self.conv(x)


def test_a_convolution_inside_a_layer():
    model, grey = network(first=Stem(name="stem")), pictures(1)
    expected = as_numpy(model(np.repeat(grey, 3, axis=-1)))
    out = as_numpy(surgery.with_channels(model, 1)(grey))
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 3), (5, 6, 7, 3)])
def test_series_and_volumes(shape):
    kind = {2: LAYERS.Conv1D, 4: LAYERS.Conv3D}[len(shape)]
    model = keras.Sequential([keras.Input(shape), kind(4, 3, name="one"), LAYERS.Flatten()])
    perturb(model)
    grey = np.random.default_rng(0).normal(size=(2, *shape[:-1], 1)).astype(np.float32)
    expected = as_numpy(model(np.repeat(grey, 3, axis=-1)))
    out = as_numpy(surgery.with_channels(model, 1)(grey))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_an_architecture_of_keras():
    model = keras.applications.MobileNetV3Small(
        (32, 32, 3), weights=None, classes=4, dropout_rate=0
    )
    grey = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    expected = as_numpy(model(np.repeat(grey, 3, axis=-1)))
    out = as_numpy(surgery.with_channels(model, 1)(grey))
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="no such convolution on TensorFlow's CPU"
)
def test_on_channels_first():
    model = keras.Sequential([
        keras.Input((3, 8, 8)),
        LAYERS.Conv2D(4, 3, data_format="channels_first", name="one"),
        LAYERS.GlobalAveragePooling2D(data_format="channels_first"),
    ])  # fmt: skip
    new = surgery.with_channels(model, 1)
    assert new.input.shape == (None, 1, 8, 8)
    grey = np.moveaxis(pictures(1, 8), -1, 1)
    expected = as_numpy(model(np.repeat(grey, 3, axis=1)))
    np.testing.assert_allclose(as_numpy(new(grey)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: network(LAYERS.LayerNormalization(name="mixing")), r"'mixing' \(LayerNorm.*first"),
        (lambda: network(first=LAYERS.DepthwiseConv2D(3, name="deep")), r"'deep' \(Depthwise"),
        (
            lambda: network(channels=4, first=LAYERS.Conv2D(4, 3, groups=2, name="grouped")),
            r"'grouped' \(Conv2D\).*without groups",
        ),
        (
            lambda: network(keras.Sequential([LAYERS.RandomFlip()], name="augmented")),
            r"'augmented' \(Sequential\).*Open it with `flatten`",
        ),
        (
            lambda: network(
                LAYERS.Lambda(lambda x: x[..., ::-1], output_shape=(12, 12, 3), name="bgr")
            ),
            r"'bgr' \(Lambda\)",
        ),
    ],
)
def test_what_is_refused(model, message):
    with pytest.raises(surgery.ShapeMismatch, match=message):
        surgery.with_channels(model(), 6)


def test_operations_that_are_refused():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, LAYERS.Conv2D(4, 3)(inputs[..., ::-1]))
    with pytest.raises(surgery.ShapeMismatch, match=r"\(GetItem\).*is not known"):
        surgery.with_channels(model, 4)
    model = keras.Model(inputs, LAYERS.Conv2D(4, 3)(inputs - np.array([1.0, 2.0, 3.0], "float32")))
    with pytest.raises(surgery.ShapeMismatch, match=r"\(Subtract\).*is not known"):
        surgery.with_channels(model, 1)


def test_arguments():
    for channels in (0, 1.5, True, "3"):
        with pytest.raises(ValueError, match="channels: expected a whole number"):
            surgery.with_channels(network(), channels)
    with pytest.raises(ValueError, match="extra must be 'repeat' or 'zero'"):
        surgery.with_channels(network(), 4, extra="mean")
    model = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3)])
    with pytest.raises(surgery.ShapeMismatch, match=r"rank 3 to 5.*takes \(None, 4\)"):
        surgery.with_channels(model, 4)
    same = surgery.with_channels(network(), 3)
    np.testing.assert_array_equal(as_numpy(same(pictures(3))), as_numpy(network()(pictures(3))))
