"""How a donor ends, and what it is computed in."""

import types

import keras
import numpy as np
import pytest
from support.networks import (
    PIXELS,
    answers,
    ask,
    body,
    network,
    perturb,
    request,
    saved,
    softmax,
    unit_list,
)

from transfer_keras import surgery
from transfer_keras.experiments.group_networks import treatment_network

layers = keras.layers


def ending(end):
    """Builds a classifier of four classes, with BatchNorm and ReLU, whose scores end in that."""
    inputs = keras.Input((24, 24, 3))
    scores = layers.Dense(4, name="out")(body(layers.Rescaling(1 / 255)(inputs)))
    own = keras.Model(inputs, end(scores), name="own")
    perturb(own)
    return own


@pytest.mark.parametrize(
    "end",
    [
        keras.ops.softmax,
        lambda x: layers.Softmax()(layers.Rescaling(0.5)(x)),
        lambda x: layers.Softmax()(layers.BatchNormalization()(x)),
        lambda x: keras.ops.softmax(x / 2.0),
        layers.Activation("linear"),
    ],
    ids=["operation", "temperature", "norm", "divided", "linear"],
)
def test_a_classifier_is_known_by_its_end(tmp_path, end):
    own = ending(end)
    known = ask(saved(tmp_path, own))
    assert [unit.name for unit in known.architecture.units] == ["c1", "c2", "f1", "out"]
    assert "new head" not in unit_list(known)
    donor = network(known)
    given = answers(own, PIXELS)
    is_sum = given.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    outputs = answers(donor, PIXELS)
    assert (softmax(outputs) if is_sum else outputs) == pytest.approx(given, abs=1e-5)
    new = surgery.transplant(donor, 3, head=9, seed=0).model
    assert answers(new, PIXELS).shape == (5, 9)


def test_scores_that_are_pooled(tmp_path):
    """A classifier whose last layer is a convolution, as SqueezeNet is, gets new classes."""
    inputs = keras.Input((24, 24, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="c1")(layers.Rescaling(1 / 255)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="out")(x))
    own = keras.Model(inputs, layers.Softmax()(x), name="own")
    perturb(own)
    known = ask(saved(tmp_path, own))
    assert [unit.name for unit in known.architecture.units] == ["c1", "out"]
    assert "new head" not in unit_list(known)
    run = types.SimpleNamespace(
        experiment=known,
        data=types.SimpleNamespace(pair=types.SimpleNamespace(tasks={"B": range(9)})),
        source=types.SimpleNamespace(batch_norm=None, frozen_dropout=True),
    )
    donor = network(known)
    model = treatment_network(run, known.treatments[0], donor)
    assert answers(model, PIXELS).shape == (5, 9)
    assert np.array_equal(model.get_layer("c1").kernel, donor.get_layer("c1").kernel)


def test_logarithms_of_probabilities_are_left_off(tmp_path):
    own = ending(layers.Activation("log_softmax"))
    known = ask(saved(tmp_path, own))
    assert len(known.architecture.units) == 4
    assert softmax(answers(network(known), PIXELS)) == pytest.approx(
        np.exp(answers(own, PIXELS)), abs=1e-5
    )


def test_a_new_head_is_listed(tmp_path):
    inputs = keras.Input((24, 24, 3), name="head")
    own = keras.Model(inputs, body(layers.Rescaling(1 / 255)(inputs)))
    unit_table = unit_list(request(saved(tmp_path, own)))
    assert "a new head is put on them" in unit_table


def test_features_get_a_head_of_their_own(tmp_path):
    inputs = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(6, 3, activation="relu", name="c1")(x)
    trunk = keras.Model(inputs, layers.Conv2D(8, 3, activation="relu", name="c2")(x))
    known = ask(saved(tmp_path, trunk))
    assert [unit.name for unit in known.architecture.units] == ["c1", "c2", "head"]
    donor = network(known)
    features = answers(keras.Model(donor.input, donor.get_layer("c2").output), PIXELS)
    assert features == pytest.approx(answers(trunk, PIXELS), abs=1e-5)


def test_outputs_of_one_number_and_with_a_name(tmp_path):
    inputs = keras.Input((24, 24, 3))
    score = layers.Dense(1, "sigmoid", name="out")(body(layers.Rescaling(1 / 255)(inputs)))
    for output in (keras.ops.squeeze(score, -1), {"score": score}):
        own = keras.Model(inputs, output)
        perturb(own)
        donor = network(request(saved(tmp_path, own)))
        probabilities = 1 / (1 + np.exp(-answers(donor, PIXELS)))
        expected = keras.tree.flatten(own(PIXELS, training=False))[0]
        assert probabilities == pytest.approx(np.reshape(expected, (-1, 1)), abs=1e-5)
        assert donor.layers[-1].name == "out"


@pytest.mark.parametrize("kind", ["mixed_float16", "mixed_bfloat16"])
def test_float16_becomes_float32(tmp_path, kind):
    keras.config.set_dtype_policy(kind)
    try:
        own = ending(layers.Softmax(dtype="float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    experiment = ask(saved(tmp_path, own))
    donor = network(experiment)
    dtype = "bfloat16" if kind == "mixed_bfloat16" else "float32"
    assert {x.compute_dtype for x in donor.layers if x.weights} == {dtype}
    assert donor.output.dtype == "float32"
    assert ("Computed in bfloat16" in unit_list(experiment)) == (dtype == "bfloat16")
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(own, PIXELS), abs=0.02)
