"""Features are averaged to few numbers, as NumPy averages them."""

import keras
import numpy as np
import pytest

from transfer_keras import networks
from transfer_keras.networks import pool_features, put_linear_head

SHAPES = [
    ((9, 9, 200), 1024, (2, 2)),
    ((5, 7, 64), 1024, (4, 4)),
    ((2, 9, 100), 1024, (2, 3)),
    ((3, 3, 100), 1024, (3, 3)),
    ((4, 4, 600), 1024, (1, 1)),
    ((4, 4, 2000), 1024, (1, 1)),
    ((None, None, 3), 1024, (1, 1)),
    ((10, 6), 1024, (1,)),
    ((3000,), 1024, ()),
    ((40, 30, 64), 4096, (8, 8)),
    ((6, 6, 64), 4096, (6, 6)),
    ((50,), 4096, ()),
]


@pytest.mark.parametrize(("shape", "most", "size"), SHAPES)
def test_features_are_averaged_to_few_positions(shape, most, size):
    """The values are float16, which would overflow in a sum."""
    sizes = [side or 6 for side in shape[:-1]]
    values = np.random.default_rng(0).integers(10_000, 20_000, (3, *sizes, shape[-1]))
    values = values.astype(np.float16)
    output = keras.KerasTensor((None, *shape), dtype="float16")
    features = pool_features(output, most)(values).numpy()
    expected = values.astype(np.float32)
    for axis, (old, new) in enumerate(zip(sizes, size, strict=True), 1):
        windows = [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
        means = [expected.take(range(*window), axis).mean(axis=axis) for window in windows]
        expected = np.stack(means, axis)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected.reshape(3, -1), rtol=1e-5)


def test_a_linear_head_on_lower_units_has_names_of_its_own():
    """The donor has a layer `flatten` below the cut, and others that are called as the new ones."""
    model = networks.build("alexnet_small", image_size=32, classes=4)
    keras.utils.clear_session()  # Automatic names begin anew.
    linear = put_linear_head(model, 6, 3)
    assert linear.output_shape == (None, 3)
    assert linear.layers[-1].name == "linear"
    again = put_linear_head(linear, 3, 2)
    assert len({layer.name for layer in again.layers}) == len(again.layers)
    assert again.layers[-1].name == "linear_"
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    features = keras.Model(model.input, model.get_layer("conv3").output)(images)
    pooled = pool_features(keras.KerasTensor(features.shape))(keras.ops.relu(features)).numpy()
    kernel, bias = again.layers[-1].get_weights()
    np.testing.assert_allclose(again(images), pooled @ kernel + bias, rtol=1e-3, atol=1e-4)
