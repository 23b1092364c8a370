import keras
import numpy as np
import pytest
from support.heads import data, sigmoid, softmax
from support.small_network import LAYERS, as_numpy, perturb, same

from transfer_keras import surgery

TOLERANCE = 1e-6


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "MobileNet",
        pytest.param("MobileNetV3Small", marks=SLOW),
        pytest.param("MobileNetV2", marks=SLOW),
        pytest.param("ResNet50", marks=SLOW),
        pytest.param("ResNet50V2", marks=SLOW),
        pytest.param("EfficientNetB0", marks=SLOW),
        pytest.param("ConvNeXtTiny", marks=SLOW),
    ],
)
def test_applications(name, tmp_path):
    build = getattr(keras.applications, name)
    donor = build(weights=None, input_shape=(32, 32, 3), classes=10)
    last = donor.layers[-1]
    head = [layer for layer in donor.layers if layer.weights][-1]
    perturb(donor)
    head.kernel.assign(head.kernel * 20)  # Far from equal probabilities.
    x = data(2, 32, 32, 3) * 100
    expected = as_numpy(donor(x))
    assert expected.std() > 1e-4
    before = surgery.snapshot(donor, frozen_only=False)
    model = surgery.logits(donor)
    actual = as_numpy(model(x))
    assert np.abs(actual.sum(-1) - 1).min() > 1e-3, "these are no probabilities"
    close(softmax(actual), expected)
    assert model.output.shape == (None, 10)
    assert model.count_params() == donor.count_params()
    assert surgery.snapshot(donor, frozen_only=False) == before
    assert donor.layers[-1] is last
    model.save(tmp_path / "m.keras")
    assert same(keras.saving.load_model(tmp_path / "m.keras")(x), actual)


def ends(kind):
    """Gives the last tensors of a classifier of images (4, 4, 2), and its layers' names."""
    inputs = keras.Input((4, 4, 2))
    x = LAYERS.Flatten(name="flat")(LAYERS.Conv2D(3, 3, name="below", activation="sigmoid")(inputs))
    if kind == "dense":
        x = LAYERS.Dense(5, "softmax", name="head")(x)
    elif kind == "activation":
        x = LAYERS.Activation("softmax")(LAYERS.Dense(5, name="head")(x))
    elif kind == "layer":
        x = LAYERS.Softmax()(LAYERS.Dense(5, name="head")(x))
    elif kind == "logarithm":
        x = LAYERS.Dense(5, "log_softmax", name="head")(x)
    elif kind == "logarithm operation":
        x = keras.ops.log_softmax(LAYERS.Dense(5, name="head")(x))
    elif kind == "operation":
        x = keras.ops.softmax(LAYERS.Dense(5, name="head")(x))
    elif kind == "reshaped":
        x = LAYERS.Reshape((1, 1, -1), name="wide")(x)
        x = LAYERS.Conv2D(5, 1, activation="softmax", name="head")(x)
        x = LAYERS.Activation("linear", name="line")(LAYERS.Flatten(name="flat_2")(x))
    elif kind == "squeezed":
        x = LAYERS.Softmax(name="top")(LAYERS.Dense(5, name="head")(x))
        x = keras.ops.squeeze(keras.ops.reshape(x, (-1, 5, 1)), -1)
    model = keras.Model(inputs, x, name="donor")
    perturb(model)
    return model


@pytest.mark.parametrize("kind", ["logarithm", "logarithm operation"])
def test_logarithms(kind):
    donor = ends(kind)
    model = surgery.logits(donor)
    x = data(3, 4, 4, 2)
    close(np.log(softmax(as_numpy(model(x)))), as_numpy(donor(x)))
    assert not np.allclose(softmax(as_numpy(model(x))), np.exp(as_numpy(model(x))))


@pytest.mark.parametrize(
    "kind", ["dense", "activation", "layer", "operation", "reshaped", "squeezed"]
)
def test_ends(kind):
    donor = ends(kind)
    surgery.set_trainable([donor.get_layer("below")], False)
    model = surgery.logits(donor)
    x = data(3, 4, 4, 2)
    close(softmax(as_numpy(model(x))), as_numpy(donor(x)))
    assert not np.allclose(as_numpy(model(x)).sum(-1), 1)
    assert model.get_layer("below").activation is keras.activations.sigmoid
    assert [model.get_layer(name).trainable for name in ("below", "head")] == [False, True]
    shared = {id(w) for w in donor.weights} & {id(w) for w in model.weights}
    assert not shared
    assert (donor.name, model.name) == ("donor", "donor")
    names = [layer.name for layer in model.layers]
    assert ("line" in names) == (kind == "reshaped")
    assert not any(isinstance(layer, LAYERS.Softmax) for layer in model.layers)


def test_sigmoid():
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(1, "sigmoid")(inputs))
    perturb(donor)
    x = data(5, 4)
    actual = as_numpy(surgery.logits(donor)(x))
    close(sigmoid(actual), as_numpy(donor(x)))
    close(actual, x @ as_numpy(donor.layers[1].kernel) + as_numpy(donor.layers[1].bias))


def test_only_the_last_of_two():
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Softmax()(LAYERS.Dense(3, "softmax")(inputs)))
    model = surgery.logits(donor)
    x = data(5, 4)
    close(as_numpy(model(x)).sum(-1), 1)
    close(softmax(as_numpy(model(x))), as_numpy(donor(x)))


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_nothing_to_take_off(activation):
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(3, activation)(LAYERS.Dense(3, "softmax")(inputs)))
    perturb(donor)
    model = surgery.logits(donor)
    assert same(model(data(5, 4)), donor(data(5, 4)))
    configs = [[x.get_config() for x in m.layers[1:]] for m in (model, donor)]
    assert configs[0] == configs[1]


def test_a_recurrent_layer_is_left_alone():
    inputs = keras.Input((4, 2))
    donor = keras.Model(inputs, LAYERS.SimpleRNN(3, activation="softmax")(inputs))
    model = surgery.logits(donor)
    assert model.layers[-1].activation is keras.activations.softmax


def test_several_outputs():
    inputs = keras.Input((4,))
    trunk = LAYERS.Dense(4, "relu")(inputs)
    outputs = {
        "one": LAYERS.Dense(3, "softmax", name="one")(trunk),
        "two": LAYERS.Dense(1, "sigmoid", name="two")(trunk),
        "three": LAYERS.Dense(1, name="three")(trunk),
    }
    donor = keras.Model(inputs, outputs)
    perturb(donor)
    x = data(5, 4)
    actual, expected = as_numpy(surgery.logits(donor)(x)), as_numpy(donor(x))
    close(softmax(actual["one"]), expected["one"])
    close(sigmoid(actual["two"]), expected["two"])
    assert same(actual["three"], expected["three"])


def test_mixed_precision_stays_float32():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, dtype="mixed_bfloat16")(inputs)
    donor = keras.Model(inputs, LAYERS.Activation("softmax", dtype="float32")(x))
    model = surgery.logits(donor)
    assert (donor.output.dtype, model.output.dtype) == ("float32", "float32")
    x = data(5, 4)
    close(softmax(as_numpy(model(x))), as_numpy(donor(x)))


@pytest.mark.parametrize("depth", [1, 2])
def test_a_nested_classifier(depth):
    inner = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3, "softmax")])
    for _ in range(depth):
        inner = keras.Sequential([keras.Input((4,)), inner])
    perturb(inner)
    x = data(5, 4)
    close(softmax(as_numpy(surgery.logits(inner)(x))), as_numpy(inner(x)))
    assert not np.allclose(as_numpy(surgery.logits(inner)(x)).sum(-1), 1)


def test_probabilities_that_are_used_inside():
    inputs = keras.Input((4,))
    p = LAYERS.Dense(3, "softmax", name="p")(inputs)
    model = keras.Model(inputs, [p, LAYERS.Dense(2)(p)])
    with pytest.raises(surgery.NotRebuildable, match=r"probabilities of 'p' are used more than"):
        surgery.logits(model)
    head = LAYERS.Dense(4, "sigmoid", name="twice")
    with pytest.raises(surgery.NotRebuildable, match=r"probabilities of 'twice'"):
        surgery.logits(keras.Model(inputs, head(head(inputs))))
