import keras
import numpy as np
import pytest
from support.small_network import images, make_donor, perturb, same, values

from transfer_keras import surgery

SIDES = {
    "VGG16": 32,
    "ResNet50": 32,
    "MobileNetV2": 32,
    "EfficientNetB0": 32,
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "Xception": 71,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIDES)
def test_upper_of_lower_is_the_model_at_every_cut(name):
    side = SIDES[name]
    model = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3))
    perturb(model)
    x = np.random.default_rng(0).uniform(-1, 1, (2, side, side, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(x))
    assert np.isfinite(expected).all()
    count = len(surgery.units(model))
    for n in range(count + 1):
        outputs = surgery.upper(model, n)(surgery.lower(model, n)(x))
        assert same(keras.ops.convert_to_numpy(outputs), expected), n


@pytest.mark.parametrize("n", range(5))
def test_two_parts(n):
    donor = make_donor()
    lower, upper = surgery.lower(donor, n), surgery.upper(donor, n)
    x = images()
    middle = lower(x)
    assert same(upper(middle), donor(x))
    assert len(lower.weights) + len(upper.weights) == len(donor.weights)
    donor.get_layer("one").kernel.assign_add(np.full((3, 3, 3, 4), 0.5, np.float32))
    assert same(upper(lower(x)), donor(x)), "the parts share the model's layers"
    assert same(lower(x), middle) == (n == 0)


def test_names_and_negative_numbers():
    donor = make_donor()
    ends = [("one_relu", 1), ("flat", 2), ("three_bn", 3), ("four", 4)]
    for n, count in [(-1, 3), (-4, 0), *ends]:
        assert same(surgery.lower(donor, n)(images()), surgery.lower(donor, count)(images()))
        model, _ = surgery.transplant(donor, n, seed=1)
        other, _ = surgery.transplant(donor, count, seed=1)
        assert [x.trainable for x in model.layers] == [x.trainable for x in other.layers]


def test_a_name_inside_a_unit():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", name="branch")(x)
    y = keras.layers.ReLU(name="bark")(y)
    y = keras.layers.Conv2D(4, 3, padding="same", name="twig")(y)
    x = keras.layers.Add(name="join")([x, y])
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="last")(x))
    assert [unit.name for unit in surgery.units(model)] == ["first", "branch", "last"]
    message = r"at 'bark': 2 tensors pass there, from 'first', 'bark'.* 'first' below, 'join' above"
    with pytest.raises(surgery.NotACutPoint, match=message):
        surgery.lower(model, "bark")
    with pytest.raises(surgery.NotACutPoint, match=r"named 'third'\. Nearest names: first, "):
        surgery.lower(model, "third")


def test_no_tensor_between_outputs():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, name="a")(inputs)
    model = keras.Model(
        inputs, [keras.layers.Dense(2, name="b")(x), keras.layers.Dense(2, name="c")(x)]
    )
    assert [len(unit.layers) for unit in surgery.units(model)] == [1, 2]
    with pytest.raises(
        surgery.NotACutPoint, match=r"No single tensor ends unit 2 .*among 1, or cuts="
    ):
        surgery.lower(model, 2)


def test_two_inputs_cannot_be_cut_at_nothing():
    a, b = keras.Input((4,)), keras.Input((4,))
    x = keras.layers.Dense(3)(keras.layers.Add()([a, b]))
    with pytest.raises(surgery.NotACutPoint, match="has 2 inputs"):
        surgery.lower(keras.Model([a, b], x), 0)


def test_lower_leaves_the_model_as_it_was():
    donor = make_donor()
    before = values(donor)
    surgery.lower(donor, 2)
    surgery.upper(donor, 2)
    assert all(same(before[k], v) for k, v in values(donor).items())
    assert donor.get_layer("two").output.shape == (None, 8, 8, 6)
