"""Where the frozen part of a network ends, on graphs whose answer is known."""

import keras
import numpy as np
import pytest
from support.small_network import as_numpy, make_donor, values

from transfer_keras import surgery

L = keras.layers


def names(model):
    return [tensor.name for tensor in surgery.frozen_boundary(model)]


def made_by(model):
    """Lists the names of the layers whose outputs are the boundary."""
    outputs = {id(layer.output): layer.name for layer in model.layers}
    return [outputs[id(tensor)] for tensor in surgery.frozen_boundary(model)]


@pytest.fixture
def donor():
    return make_donor()


def test_it_ends_at_the_last_layer_that_nothing_can_change(donor):
    surgery.set_trainable([donor], True)
    assert made_by(donor) == ["pixels"], "what has nothing to train is frozen too"
    surgery.set_trainable(donor.layers[:3], False)
    assert made_by(donor) == ["one"], "BatchNorm that is trained follows the batch"
    surgery.set_trainable(donor.layers[:6], False)
    assert made_by(donor) == ["two"], "dropout is drawn anew in each step"
    surgery.set_trainable([donor], False)
    assert made_by(donor) == ["two"]


def test_several_depths_and_the_input():
    inputs = keras.Input((6,), name="image")
    a = L.Dense(5, name="a", trainable=False)(inputs)
    b = L.Dense(4, name="b", trainable=False)(a)
    shallow, deep = L.Dense(2, name="shallow")(a), L.Dense(2, name="deep")(b)
    model = keras.Model(inputs, {"shallow": shallow, "deep": deep, "b": b})
    assert made_by(model) == ["a", "b"]
    model = keras.Model(inputs, [shallow, L.Dense(3, name="all")(inputs)])
    assert made_by(model) == ["image", "a"]


@pytest.mark.parametrize(
    ("layer", "ends_below"),
    [
        (lambda: L.Dense(4, trainable=False), False),
        (lambda: L.SpectralNormalization(L.Dense(4), trainable=False), True),
        (lambda: L.GaussianNoise(0.1), True),
        (lambda: L.BatchNormalization(center=False, scale=False), True),
        (lambda: L.BatchNormalization(trainable=False), False),
        (lambda: keras.Sequential([L.Dense(4, trainable=False), L.Dropout(0.5)]), True),
    ],
)
def test_what_changes_by_itself(layer, ends_below):
    inputs = keras.Input((4,))
    below = L.Dense(4, name="below", trainable=False)(inputs)
    x = layer()(below)
    boundary = surgery.frozen_boundary(keras.Model(inputs, L.Dense(2)(x)))
    assert [id(tensor) for tensor in boundary] == [id(below if ends_below else x)]


def test_the_rest_is_the_same_network(donor):
    """Lower and upper part together compute what the whole does; the layers are shared."""
    surgery.set_trainable(donor.layers[:5], False)
    boundary = surgery.frozen_boundary(donor)
    rest = keras.Model(boundary, donor.output)
    images = np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype("float32")
    features = keras.Model(donor.input, boundary)(images)
    np.testing.assert_array_equal(as_numpy(rest(features)), as_numpy(donor(images)))
    assert {id(v) for v in rest.trainable_variables} == {id(v) for v in donor.trainable_variables}


def digest(model):
    return surgery.digest_function(model)


def test_a_digest_knows_what_is_computed(donor):
    first = digest(donor)
    assert digest(make_donor()) == first
    fused = surgery.fuse({"x": donor})
    assert digest(keras.Model(fused.input, fused.output["x"])) == first, "names do not count"
    assert digest(make_donor(seed=4)) != first
    for place, layer in enumerate(donor.layers):
        for weight in layer.weights:
            old = keras.ops.convert_to_numpy(weight).copy()
            weight.assign(old + (1 if old.dtype.kind == "f" else 2))
            assert digest(donor) != first, (place, weight.path)
            weight.assign(old)
    assert digest(donor) == first
    assert values(donor).keys() == values(make_donor()).keys()


def test_a_digest_knows_how_layers_are_wired():
    def make(second):
        inputs = keras.Input((4,))
        layer = L.Dense(4, kernel_initializer="ones")
        a = layer(inputs)
        return keras.Model(inputs, L.Add()([a, second(layer, inputs, a)]))

    wired = [
        make(lambda layer, inputs, a: inputs),
        make(lambda layer, inputs, a: a),
        make(lambda layer, inputs, a: layer(a)),
        make(lambda layer, inputs, a: L.Dense(4, kernel_initializer="ones")(a)),
        make(lambda layer, inputs, a: a * 2),
        make(lambda layer, inputs, a: a * 3),
    ]
    assert len({digest(model) for model in wired}) == len(wired)
