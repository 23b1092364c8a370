"""A name as n: the cut is at that layer's own output, or is refused with the nearest names."""

import re

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, make_donor, perturb, same
from support.towers import EXPAND, make_tower

from transfer_keras import surgery
from transfer_keras.surgery import graph

NETWORKS = ["VGG16", "ResNet50", "MobileNetV2", "EfficientNetB0", "DenseNet121"]


def build(name):
    side = (32, 32, 3)
    return getattr(keras.applications, name)(weights=None, input_shape=side, classes=7)


def carries_all(model, layer):
    """Tells whether every path from the inputs to the outputs goes through a layer's output."""
    known = {id(x) for x in model.inputs} - {id(layer.output)}
    for node in graph.nodes(model):
        if node.operation is not layer and any(id(x) in known for x in node.input_tensors):
            known.update(id(x) for x in node.output_tensors)
    return not any(id(x) in known for x in model.outputs)


@pytest.mark.parametrize(
    "name", [NETWORKS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS[1:])]
)
def test_every_name_ends_at_its_layer_or_is_refused(name):
    model = build(name)
    names = [layer.name for layer in model.layers]
    possible = [layer.name for layer in model.layers if carries_all(model, layer)]
    for layer in model.layers:
        if layer.name in possible:
            assert surgery.lower(model, layer.name).outputs[0] is layer.output
            continue
        with pytest.raises(surgery.NotACutPoint, match="tensors pass there") as error:
            surgery.lower(model, layer.name)
        nearest = re.findall(r"Nearest cuts: '(.*)' below, '(.*)' above", str(error.value))[0]
        place = names.index(layer.name)
        below = [x for x in names[:place] if x in possible]
        above = [x for x in names[place:] if x in possible]
        assert nearest == (below[-1], above[0])
    # The values, at three cuts that the ends of units do not have.
    perturb(model)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    unit_ends = {id(unit.output) for unit in surgery.units(model)}
    inner = [x for x in possible[1:] if id(model.get_layer(x).output) not in unit_ends]
    for choice in (inner[0], inner[len(inner) // 2], inner[-1]):
        layer = model.get_layer(choice)
        middle = surgery.lower(model, choice)(x)
        np.testing.assert_array_equal(
            as_numpy(middle), as_numpy(keras.Model(model.input, layer.output)(x))
        )
        assert same(surgery.upper(model, choice)(middle), model(x))


def test_a_convolution_is_not_the_pooled_one():
    model = build("VGG16")
    assert surgery.lower(model, "block1_conv2").output.shape == (None, 32, 32, 64)
    assert surgery.lower(model, 2).output.shape == (None, 16, 16, 64)


@pytest.mark.parametrize(
    ("n", "lower"),
    [
        ("pixels", ["pixels"]),
        ("one", ["pixels", "one"]),
        ("one_bn", ["pixels", "one", "one_bn"]),
        ("one_relu", ["pixels", "one", "one_bn", "one_relu"]),
        ("two", ["pixels", "one", "one_bn", "one_relu", "two"]),
    ],
)
def test_transplant_up_to_a_layer(n, lower):
    donor = make_donor()
    model, report = surgery.transplant(donor, n, seed=0)
    layers = [layer for layer in model.layers if not isinstance(layer, LAYERS.InputLayer)]
    assert [layer.name for layer in layers if not layer.trainable] == lower
    for layer in layers:
        old = donor.get_layer(layer.name)
        equal = all(same(a, b) for a, b in zip(old.weights, layer.weights, strict=True))
        assert equal == (layer.name in lower or not layer.weights), layer.name
    copied = {row.weight.split("/")[0] for row in report if row.origin == "copied"}
    assert copied == {x for x in lower if donor.get_layer(x).weights}


def test_the_input_is_nothing():
    donor = make_donor()
    name = donor.layers[0].name
    assert same(surgery.lower(donor, name)(images()), images())
    assert same(surgery.upper(donor, name)(images()), donor(images()))
    model, _ = surgery.transplant(donor, name, seed=0)
    assert all(layer.trainable for layer in model.layers)


def make_words():
    inputs = keras.Input((5,), dtype="int32")
    x = LAYERS.Embedding(9, 4, mask_zero=True, name="words")(inputs)
    x = LAYERS.LSTM(6, name="memory")(x)
    x = LAYERS.Dense(4, "relu", name="wide")(x)
    return keras.Model(inputs, LAYERS.Dense(2, name="top")(x), name="reader")


def test_a_mask_passes_by():
    donor = make_words()
    for call in (surgery.lower, surgery.upper, lambda m, n: surgery.transplant(m, n, seed=0)):
        with pytest.raises(surgery.NotACutPoint, match="cannot be cut in two at 'words'") as error:
            call(donor, "words")
        assert "n=0 (nothing) below, 'memory' above" in str(error.value)
        assert "layers=surgery.below('words')" in str(error.value)
    # What the message offers.
    model, _ = surgery.transplant(donor, layers=surgery.below("words"), seed=0)
    assert [x.name for x in model.layers if x.weights and not x.trainable] == ["words"]
    perturb(donor)
    tokens = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0]], np.int32)
    features = as_numpy(donor.get_layer("words").embeddings)[tokens]
    passed, middle = surgery.lower(donor, "words", cuts="several")(tokens)
    assert same(passed, tokens), "the mask is made of the input above the cut"
    assert same(middle, features)
    upper = surgery.upper(donor, "words", cuts="several")
    assert same(upper([tokens, features]), donor(tokens))
    assert not same(upper([np.ones_like(tokens), features]), donor(tokens))
    # The unit ends where the mask has been made.
    tensors = {x.dtype.name: x for x in as_numpy(surgery.lower(donor, 1, cuts="several")(tokens))}
    np.testing.assert_array_equal(tensors["bool"], tokens != 0)
    np.testing.assert_array_equal(tensors["float32"], features)


def test_similar_names_come_first_and_not_all_of_them():
    model = build("VGG16")
    with pytest.raises(surgery.NotACutPoint) as error:
        surgery.lower(model, "block3_conv4")
    listed = str(error.value).split("Nearest names: ")[1]
    assert listed.startswith("block3_conv")
    assert listed.count(",") == 4
    assert listed.endswith("more.")


def test_a_block_is_its_end():
    model = build("VGG16")
    pooled = surgery.lower(model, "block1", blocks=r"block\d|fc\d|predictions")
    assert pooled.outputs[0] is model.get_layer("block1_pool").output
    # With blocks too, the name of a layer is that layer.
    conv = surgery.lower(model, "block1_conv1", blocks=r"block\d|fc\d|predictions")
    assert conv.outputs[0] is model.get_layer("block1_conv1").output


def test_a_unit_inside_a_layer_is_its_end():
    donor = make_tower()
    model, _ = surgery.transplant(donor, "block_1", seed=0, expand=EXPAND)
    frozen = [x.name for x in surgery.flat_layers(model.get_layer("tower")) if not x.trainable]
    assert frozen == ["block_0", "block_1"]
    by_name, _ = surgery.transplant(donor, "tower", seed=0, expand=EXPAND)
    assert [x.name for x in by_name.layers if not x.trainable] == ["tower"]


def test_a_layer_that_is_called_again():
    inputs = keras.Input((4,))
    relu, cell = LAYERS.ReLU(name="relu"), LAYERS.Dense(4, name="cell")
    x = relu(LAYERS.Dense(4, name="first")(inputs))
    for _ in range(3):
        x = relu(cell(x))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="top")(x), name="donor")
    perturb(donor)
    probe = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    # All calls of a weighted layer lie below it.
    expected = relu(donor.get_layer("first")(probe))
    expected = cell(relu(cell(relu(cell(expected)))))
    assert same(surgery.lower(donor, "cell")(probe), expected)
    assert same(surgery.upper(donor, "cell")(expected), donor(probe))
    # A layer without weights may be anywhere, so its name says nothing.
    for cuts in ("single", "several"):
        message = r"'relu': it has no weights and is called 4 times\..*'cell' below, 'top' above"
        with pytest.raises(surgery.NotACutPoint, match=message):
            surgery.lower(donor, "relu", cuts=cuts)


def test_no_ambiguous_name_is_offered():
    inputs = keras.Input((4,))
    relu = LAYERS.ReLU(name="relu")
    x = relu(LAYERS.Dense(4, name="first")(inputs))
    y = relu(LAYERS.Dense(4, name="branch")(x))
    x = LAYERS.Add(name="join")([x, y])
    donor = keras.Model(inputs, LAYERS.Dense(2, name="top")(x))
    with pytest.raises(surgery.NotACutPoint, match="cuts: 'first' below, 'join' above"):
        surgery.lower(donor, "branch")
