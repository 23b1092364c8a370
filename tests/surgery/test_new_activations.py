"""New heads with another activation, which may take the place of a layer of its own."""

import keras
import numpy as np
import pytest
from support.heads import X, check_rest, close, network, sigmoid, softmax
from support.small_network import LAYERS, as_numpy, perturb

from transfer_keras import surgery


def ended(end):
    """Makes a classifier of four inputs and three classes that ends in this way."""
    inputs = keras.Input((4,))
    x = LAYERS.Dense(6, "relu", name="below")(inputs)
    head = LAYERS.Dense
    outputs = {
        "linear": lambda: head(3, name="head")(x),
        "own": lambda: head(3, "softmax", name="head")(x),
        "own operation": lambda: head(3, keras.ops.softmax, name="head")(x),
        "own layer": lambda: head(3, LAYERS.Softmax(), name="head")(x),
        "own relu": lambda: head(3, "relu", name="head")(x),
        "hard": lambda: head(3, "hard_sigmoid", name="head")(x),
        "layer": lambda: LAYERS.Softmax(name="end")(head(3, name="head")(x)),
        "activation": lambda: LAYERS.Activation("softmax", name="end")(head(3, name="head")(x)),
        "relu": lambda: LAYERS.ReLU(name="end")(head(3, name="head")(x)),
        "operation": lambda: keras.ops.softmax(head(3, name="head")(x)),
        "relu operation": lambda: keras.ops.relu(head(3, name="head")(x)),
        "logarithm": lambda: keras.ops.log(head(3, "softmax", name="head")(x)),
        "lambda": lambda: LAYERS.Lambda(lambda t: keras.ops.softmax(t))(head(3, name="head")(x)),
        "reshaped": lambda: LAYERS.Flatten()(
            LAYERS.Reshape((1, 3))(head(3, "softmax", name="head")(x))
        ),
        "float32": lambda: LAYERS.Activation("linear", dtype="float32", name="end")(
            head(3, name="head")(x)
        ),
    }
    donor = keras.Model(inputs, outputs[end](), name="donor")
    perturb(donor)
    return donor


ENDS = [
    *("linear", "own", "own operation", "own layer", "own relu", "hard", "layer", "activation"),
    *("relu", "operation", "relu operation", "logarithm", "lambda", "reshaped", "float32"),
]
SMALL = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def scores(model):
    below = as_numpy(keras.Model(model.input, model.get_layer("below").output)(SMALL))
    layer = model.get_layer("head")
    return below.astype(np.float64) @ as_numpy(layer.kernel) + as_numpy(layer.bias)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    ("classes", "activation", "expected"),
    [
        (1, "sigmoid", sigmoid),
        (7, "softmax", softmax),
        (2, "linear", np.asarray),
        (2, keras.ops.tanh, np.tanh),
    ],
)
def test_another_activation(end, classes, activation, expected, tmp_path):
    donor = ended(end)
    before = surgery.snapshot(donor, frozen_only=False)
    # What ends in a ReLU is a head if that is said.
    heads = {"head": classes} if "relu" in end else classes
    model = surgery.swap_head(donor, heads, activation=activation, seed=1)
    assert model.output.shape == (None, classes)
    check_rest(donor, model, ["head"])
    close(as_numpy(model(SMALL)), expected(scores(model)))
    model.save(tmp_path / "m.keras")
    close(as_numpy(keras.saving.load_model(tmp_path / "m.keras")(SMALL)), expected(scores(model)))
    fresh, _ = surgery.transplant(donor, 1, head=heads, activation=activation, seed=1)
    close(as_numpy(fresh(SMALL)), expected(scores(fresh)))
    assert surgery.snapshot(donor, frozen_only=False) == before


def test_a_new_activation_of_a_copied_head():
    donor = ended("layer")
    model, report = surgery.transplant(donor, 2, head=3, activation="sigmoid", seed=1)
    assert {row.origin for row in report} == {"copied"}
    close(as_numpy(model(SMALL)), sigmoid(scores(donor)))


@pytest.mark.parametrize("kind", ["pooled", "normalised", "rescaled"])
def test_an_activation_after_what_follows_the_head(kind):
    """Pooling comes before the softmax."""
    follower = {
        "pooled": lambda: LAYERS.GlobalAveragePooling2D(name="last"),
        "normalised": lambda: LAYERS.BatchNormalization(name="last"),
        "rescaled": lambda: LAYERS.Rescaling(3, 1, name="last"),
    }[kind]()
    donor = network(lambda x: follower(LAYERS.Conv2D(4, 1, name="head")(x)))
    model = surgery.swap_head(donor, {"head": 7}, activation="softmax", seed=1)
    last = as_numpy(keras.Model(model.input, model.get_layer("last").output)(X))
    close(as_numpy(model(X)), softmax(last))
    assert np.abs(last.sum(-1) - 1).max() > 1e-3
    linear = surgery.swap_head(donor, {"head": 7}, activation="linear", seed=1)
    close(as_numpy(linear(X)), last)


def test_wrapped_heads_get_an_activation():
    inputs = keras.Input((5, 4))
    layer = LAYERS.TimeDistributed(LAYERS.Dense(3, "softmax"), name="head")
    donor = keras.Model(inputs, layer(inputs))
    model = surgery.swap_head(donor, 1, activation="sigmoid", seed=1)
    inner = model.get_layer("head").layer
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    expected = sigmoid(x @ as_numpy(inner.kernel).astype(np.float64) + as_numpy(inner.bias))
    close(as_numpy(model(x)), expected)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize(
    "end", ["own", "own operation", "own layer", "layer", "activation", "operation", "logarithm"]
)
def test_a_softmax_of_one_output(end):
    donor = ended(end)
    message = "'head' of one output would end in softmax.*constant 1.*activation='sigmoid'"
    with pytest.raises(surgery.NotRebuildable, match=message):
        surgery.swap_head(donor, 1, seed=0)
    with pytest.raises(surgery.NotRebuildable, match=message):
        surgery.transplant(donor, 1, head=1, seed=0)
    with pytest.raises(surgery.NotRebuildable, match=message):
        surgery.swap_head(donor, 1, activation=keras.ops.softmax, seed=0)


@pytest.mark.parametrize("end", ["linear", "relu"])
def test_one_output_without_softmax(end):
    assert surgery.swap_head(ended(end), {"head": 1}, seed=0).output.shape == (None, 1)


def test_a_softmax_over_positions_is_none_over_one_class():
    inputs = keras.Input((5, 4))
    donor = keras.Model(inputs, LAYERS.Softmax(axis=1)(LAYERS.Dense(3, name="head")(inputs)))
    model = surgery.swap_head(donor, 1, seed=0)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    close(as_numpy(model(x)).sum(1), 1)
    assert as_numpy(model(x)).std() > 1e-3


def test_activations_that_cannot_be():
    donor = ended("layer")
    with pytest.raises(ValueError, match=r"activation: expected the name.*Received: 'sofmax'"):
        surgery.swap_head(donor, 3, activation="sofmax", seed=0)
    with pytest.raises(ValueError, match="Expected head="):
        surgery.transplant(donor, 1, activation="sigmoid", seed=0)
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(3, LAYERS.PReLU(name="slopes"), name="head")(inputs))
    with pytest.raises(surgery.NotRebuildable, match=r"'slopes' \(PReLU\) as its activation"):
        surgery.swap_head(donor, {"head": 2}, activation="sigmoid", seed=0)
    assert surgery.swap_head(donor, {"head": 2}, seed=0).output.shape == (None, 2)


def test_an_activation_that_is_called_elsewhere():
    inputs = keras.Input((4,))
    shared = LAYERS.Activation("sigmoid", name="shared")
    x = shared(LAYERS.Dense(5, name="below")(inputs))
    donor = keras.Model(inputs, shared(LAYERS.Dense(3, name="head")(x)))
    with pytest.raises(surgery.NotRebuildable, match=r"'shared' of .* is called more than once"):
        surgery.swap_head(donor, 2, activation="linear", seed=0)
    assert surgery.swap_head(donor, 2, seed=0).output.shape == (None, 2)


def test_a_head_cannot_be_shared():
    donor = ended("linear")
    surgery.set_trainable([donor.get_layer("head")], False)
    with pytest.raises(surgery.NotRebuildable, match="'head' cannot be both new and shared"):
        surgery.transplant(donor, 1, head=7, share=["head"], seed=0)
