"""Networks for images of another size: right values, or an error that names the layer."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, perturb, values

from transfer_keras import surgery


def convolutional(height, width, *, named=True):
    """A network whose weights do not depend on the size of its images."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((height, width, 3), name="pixels")
    x = LAYERS.Rescaling(0.5, name="scaled")(inputs)
    x = LAYERS.Conv2D(4, 3, strides=2, padding="same", name="one")(x)
    x = LAYERS.BatchNormalization(name="one_bn")(x)
    y = LAYERS.DepthwiseConv2D(3, padding="same", name="two")(x)
    x = keras.ops.relu(LAYERS.Add(name="sum")([x, y]))
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, LAYERS.Dense(3, "softmax", name="head")(x), name="net")


def pictures(height, width, count=3):
    return np.random.default_rng(0).normal(size=(count, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "shape"), [(20, (20, 20)), ((9, 14), (9, 14)), ([12, 12], (12, 12))]
)
def test_equals_a_network_that_was_built_for_the_size(size, shape):
    model = convolutional(12, 12)
    perturb(model)
    surgery.set_trainable([model.get_layer("one_bn")], False)
    before = values(model)
    new = surgery.with_input(model, image_size=size)
    built = convolutional(*shape)
    built.set_weights(model.get_weights())
    assert new.input.shape == (None, *shape, 3)
    assert [x.name for x in new.layers] == [x.name for x in built.layers]
    np.testing.assert_array_equal(
        as_numpy(new(pictures(*shape))), as_numpy(built(pictures(*shape)))
    )
    assert [x.name for x in new.layers if not x.trainable] == ["one_bn"]
    assert not {id(w) for w in new.weights} & {id(w) for w in model.weights}
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_a_size_for_a_network_of_any_size():
    model = convolutional(None, None)
    new = surgery.with_input(model, image_size=(9, 14))
    assert new.get_layer("one").output.shape == (None, 5, 7, 4)
    np.testing.assert_allclose(as_numpy(new(pictures(9, 14))), as_numpy(model(pictures(9, 14))))


def test_resizing_at_the_start_stays():
    inputs = keras.Input((20, 20, 3))
    x = LAYERS.Resizing(8, 8, name="resized")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(2, name="head")(LAYERS.Flatten()(x)))
    new = surgery.with_input(model, image_size=(30, 15))
    assert new.get_layer("resized").output.shape == (None, 8, 8, 3)
    assert new(pictures(30, 15)).shape == (3, 2)


def test_other_inputs_stay():
    image, table = keras.Input((12, 12, 3), name="image"), keras.Input((4,), name="table")
    x = LAYERS.GlobalMaxPooling2D()(LAYERS.Conv2D(4, 3, name="one")(image))
    x = LAYERS.Concatenate()([x, table])
    model = keras.Model({"image": image, "table": table}, LAYERS.Dense(2, name="head")(x))
    new = surgery.with_input(model, image_size=(8, 10))
    x = {"image": pictures(8, 10), "table": np.ones((3, 4), np.float32)}
    conv = as_numpy(model.get_layer("one")(x["image"])).max((1, 2))
    kernel, bias = as_numpy(model.get_layer("head").weights)
    expected = np.concatenate([conv, x["table"]], 1) @ kernel + bias
    np.testing.assert_allclose(as_numpy(new(x)), expected, atol=1e-5)


def flattened():
    inputs = keras.Input((12, 12, 3))
    x = LAYERS.Conv2D(4, 3, name="one")(inputs)
    x = LAYERS.Conv2D(2, 3, name="two")(x)
    x = LAYERS.Dense(5, name="three")(LAYERS.Flatten(name="flat")(x))
    return keras.Model(inputs, LAYERS.Dense(3, name="four")(x), name="net")


def test_the_first_layer_that_depends_on_the_size_is_named():
    model = flattened()
    message = (
        r"'three' \(Dense\) depend.*kernel has shape \(128, 5\) and would need \(288, 5\). The "
        r"network below it can be given this size: `with_input\(lower\(model, 2\), image_size="
        r"\(16, 16\)\)`"
    )
    with pytest.raises(surgery.ShapeMismatch, match=message):
        surgery.with_input(model, image_size=16)
    # As the message says; a `Flatten` belongs to the unit before it.
    larger = surgery.with_input(surgery.lower(model, 2), image_size=(16, 16))
    assert larger.output.shape == (None, 288)


def test_a_layer_that_cannot_take_the_size_is_named():
    with pytest.raises(surgery.ShapeMismatch, match=r"'two' \(Conv2D\) cannot take .*1, 1, 4\)"):
        surgery.with_input(flattened(), image_size=3)
    inputs = keras.Input((12, 12, 3))
    x = LAYERS.Reshape((144, 3), name="patches")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(3)(x))
    with pytest.raises(surgery.ShapeMismatch, match=r"'patches' \(Reshape\) cannot take"):
        surgery.with_input(model, image_size=16)


@pytest.mark.parametrize("size", [0, 2.5, (3,), (3, 4, 5), "x", True, (None, 3)])
def test_sizes_that_are_none(size):
    with pytest.raises(surgery.ShapeMismatch, match=r"image_size: expected a positive"):
        surgery.with_input(flattened(), image_size=size)


def test_inputs_that_are_no_images():
    model = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3)])
    with pytest.raises(surgery.ShapeMismatch, match=r"takes images of one size.*takes \(None, 4\)"):
        surgery.with_input(model, image_size=8)


def check_maps(model, other, x):
    """Checks that maps are equal, by how much they differ from place to place."""
    expected = as_numpy(other(x))
    spread = expected.std(axis=(1, 2)).max()
    assert spread > 0
    assert np.abs(as_numpy(model(x)) - expected).max() < 1e-2 * spread


def test_an_architecture_of_keras():
    def build(shape):
        return keras.applications.MobileNetV3Small(shape, weights=None, include_top=False)

    model = build((32, 32, 3))
    perturb(model)
    new, built = surgery.with_input(model, image_size=(64, 96)), build((64, 96, 3))
    built.set_weights(model.get_weights())
    x = np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    check_maps(new, built, x)
    for value, expected in zip(new.weights, built.weights, strict=True):
        np.testing.assert_array_equal(as_numpy(value), as_numpy(expected))


def test_paddings_that_were_chosen_by_the_parity_of_a_map():
    """MobileNetV2 pads even maps by one on a side, and odd ones on both."""

    def build(side):
        return keras.applications.MobileNetV2((side, side, 3), 0.35, False, weights=None)

    model = build(32)
    perturb(model)
    new, built = surgery.with_input(model, image_size=96), build(96)
    built.set_weights(model.get_weights())
    x = pictures(96, 96, 2)
    check_maps(new, built, x)
    for old, side, pad in ((32, 40, "block_6_pad"), (40, 32, "block_6_pad"), (32, 33, "block_1_")):
        model = model if old == 32 else build(old)
        with pytest.raises(surgery.ShapeMismatch, match=rf"'{pad}.*' .* such as a multiple of 32"):
            surgery.with_input(model, image_size=side)


def test_symmetric_paddings_are_for_any_size():
    model = keras.Sequential([
        keras.Input((8, 8, 3)),
        LAYERS.ZeroPadding2D(1, name="pad"),
        LAYERS.Conv2D(4, 3, strides=2, name="one"),
        LAYERS.GlobalAveragePooling2D(),
    ])  # fmt: skip
    assert surgery.with_input(model, image_size=9).get_layer("one").output.shape == (None, 5, 5, 4)


def test_a_nested_model_is_to_be_opened():
    inner = convolutional(16, 16)
    model = keras.Sequential([keras.Input((16, 16, 3)), inner])
    with pytest.raises(surgery.ShapeMismatch, match=r"first: `with_input\(flatten\(model\)"):
        surgery.with_input(model, image_size=32)
    assert surgery.with_input(surgery.flatten(model), image_size=32).input.shape[1:3] == (32, 32)


def test_on_channels_first():
    model = keras.Sequential([
        keras.Input((3, 8, 8)),
        LAYERS.ZeroPadding2D(1, data_format="channels_first"),
        LAYERS.GlobalAveragePooling2D(data_format="channels_first"),
        LAYERS.Dense(2, name="head"),
    ])  # fmt: skip
    new = surgery.with_input(model, image_size=(6, 10))
    assert new.input.shape == (None, 3, 6, 10)
    x = np.moveaxis(pictures(6, 10), -1, 1)
    kernel, bias = as_numpy(model.get_layer("head").weights)
    expected = x.sum((2, 3)) / (8 * 12) @ kernel + bias
    np.testing.assert_allclose(as_numpy(new(x)), expected, atol=1e-5)
