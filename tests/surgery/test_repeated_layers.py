"""Layers that are called more than once: counted once, and cut around."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, perturb, same

from transfer_keras import surgery

EXPAND = {"encoder": lambda encoder: encoder.layers}
# 5 · 7 + 7, 7 · 4 + 4, and 4 · 3 + 3 of the head.
ENCODER, TOTAL = 42 + 32, 42 + 32 + 15


def make_encoder():
    return keras.Sequential(
        [
            keras.Input((5,)),
            LAYERS.Dense(7, "relu", name="one"),
            LAYERS.Dense(4, name="two"),
            LAYERS.ReLU(name="relu"),
        ],
        name="encoder",
    )


def make_siamese():
    """Makes a network that compares what one encoder makes of two inputs."""
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    encoder = make_encoder()
    x = LAYERS.Subtract(name="difference")([encoder(left), encoder(right)])
    model = keras.Model([left, right], LAYERS.Dense(3, name="head")(x), name="siamese")
    perturb(model)
    return model


def pair(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(6, 5)).astype(np.float32) for _ in range(2)]


def by_hand(layers, inputs):
    """Computes the siamese network in NumPy, up to the difference and to the end."""

    def encode(x):
        for name in ("one", "two"):
            kernel, bias = map(as_numpy, layers[name].weights)
            x = np.maximum(x @ kernel + bias, 0)
        return x

    difference = encode(inputs[0]) - encode(inputs[1])
    kernel, bias = map(as_numpy, layers["head"].weights)
    return difference, difference @ kernel + bias


def leaves(model):
    return {x.name: x for x in surgery.flat_layers(model)}


@pytest.mark.parametrize("cuts", ["single", "several"])
@pytest.mark.parametrize("opened", [True, False])
def test_an_encoder_opened_by_expand(opened, cuts):
    donor = make_siamese()
    options = {"expand": EXPAND if opened else None, "cuts": cuts}
    found = surgery.units(donor, **options)
    names = ["one", "two", "head"] if opened else ["encoder", "head"]
    sizes = [42, 32, 15] if opened else [ENCODER, 15]
    assert [unit.name for unit in found] == names
    assert [unit.parameters for unit in found] == sizes
    assert sum(sizes) == TOTAL == donor.count_params()
    held = [layer.name for unit in found for layer in unit.layers]
    inner = ["one", "two", "relu"] if opened else ["encoder"]
    assert held == [*inner, "difference", "head"]
    # One tensor carries all after the difference.
    end = len(names) - 1
    assert surgery.used_on_both_sides(found, end) == []
    difference, outputs = by_hand(leaves(donor), pair())
    middle = surgery.lower(donor, end, **options)(pair())
    np.testing.assert_allclose(as_numpy(middle), difference, atol=1e-5)
    top = surgery.upper(donor, end, **options)(middle)
    np.testing.assert_allclose(as_numpy(top), outputs, atol=1e-5)


def test_a_cut_inside_an_encoder_that_is_called_twice():
    donor = make_siamese()
    model, report = surgery.transplant(donor, 1, expand=EXPAND, seed=0)
    old, new = leaves(donor), leaves(model)
    assert same(old["one"].kernel, new["one"].kernel)
    assert not same(old["two"].kernel, new["two"].kernel)
    assert [x.trainable for x in (new["one"], new["two"], new["head"])] == [False, True, True]
    assert [row.origin for row in report] == ["copied"] * 2 + ["fresh"] * 4
    assert sum(np.prod(row.shape) for row in report) == TOTAL
    np.testing.assert_allclose(as_numpy(model(pair())), by_hand(new, pair())[1], atol=1e-5)
    with pytest.raises(surgery.NotACutPoint, match="No single tensor ends unit 1"):
        surgery.lower(donor, 1, expand=EXPAND)


@pytest.mark.parametrize("cuts", ["single", "several"])
def test_an_encoder_opened_by_flatten(cuts):
    donor = surgery.flatten(make_siamese())
    found = surgery.units(donor, cuts=cuts)
    expected = {
        "single": [("one", ENCODER), ("head", 15)],
        "several": [("one", 42), ("two", 32), ("head", 15)],
    }[cuts]
    assert [(unit.name, unit.parameters) for unit in found] == expected
    assert sum(size for _, size in expected) == donor.count_params() == TOTAL
    difference, outputs = by_hand(leaves(donor), pair())
    for n in range(1, len(found) + 1):
        assert surgery.used_on_both_sides(found, n) == []
        middle = surgery.lower(donor, n, cuts=cuts)(pair())
        top = surgery.upper(donor, n, cuts=cuts)(middle)
        np.testing.assert_allclose(as_numpy(top), outputs, atol=1e-5)
    middle = surgery.lower(donor, "difference")(pair())
    np.testing.assert_allclose(as_numpy(middle), difference, atol=1e-5)


def test_between_the_layers_of_both_streams():
    donor = surgery.flatten(make_siamese())
    layers = leaves(donor)
    middle = surgery.lower(donor, "one", cuts="several")(pair())
    kernel, bias = map(as_numpy, layers["one"].weights)
    for stream, x in zip(middle, pair(), strict=True):
        np.testing.assert_allclose(as_numpy(stream), np.maximum(x @ kernel + bias, 0), atol=1e-5)
    model, _ = surgery.transplant(donor, 1, cuts="several", seed=0)
    assert [x.name for x in model.layers if x.weights and not x.trainable] == ["one"]


def make_repeating():
    """Makes first → again → between → again → last, where "again" is one layer."""
    inputs = keras.Input((4,))
    again = LAYERS.Dense(4, name="again")
    x = again(LAYERS.Dense(4, name="first")(inputs))
    x = LAYERS.Dense(4, name="between")(x)
    model = keras.Model(inputs, LAYERS.Dense(2, name="last")(again(x)), name="repeating")
    perturb(model)
    return model


@pytest.mark.parametrize("cuts", ["single", "several"])
def test_below_the_first_use_and_above_the_last(cuts):
    donor = make_repeating()
    found = surgery.units(donor, cuts=cuts)
    assert [unit.name for unit in found] == ["first", "again", "between", "last"]
    assert [[x.name for x in unit.layers] for unit in found] == [
        ["first"], ["again"], ["between"], ["last"],
    ]  # fmt: skip
    assert [[x.name for x in unit.calls] for unit in found] == [
        ["first"], ["again"], ["between", "again"], ["last"],
    ]  # fmt: skip
    assert [unit.parameters for unit in found] == [20, 20, 20, 10]
    both = [surgery.used_on_both_sides(found, n) for n in range(5)]
    assert both == [[], [], ["again"], [], []]
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for n in range(5):
        middle = surgery.lower(donor, n, cuts=cuts)(x)
        assert same(surgery.upper(donor, n, cuts=cuts)(middle), donor(x)), n
        if n == 2:
            with pytest.raises(surgery.SharedAcrossCut, match=r"again of 'repeating' .*at n=2"):
                surgery.transplant(donor, n, cuts=cuts, seed=0)
            continue
        model, _ = surgery.transplant(donor, n, cuts=cuts, seed=0)
        frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
        assert frozen == ["first", "again", "between", "last"][:n]
        assert len(model.get_layer("again").weights) == 2


def test_an_opened_layer_that_is_called_on_its_own_result():
    inputs = keras.Input((5,))
    encoder = make_encoder()
    widen = LAYERS.Dense(5, name="widen")
    x = encoder(widen(encoder(inputs)))
    donor = keras.Model(inputs, LAYERS.Dense(3, name="head")(x), name="twice")
    found = surgery.units(donor, expand=EXPAND)
    assert [unit.name for unit in found] == ["one", "two", "widen", "head"]
    assert sum(unit.parameters for unit in found) == donor.count_params()
    both = [surgery.used_on_both_sides(found, n) for n in range(5)]
    assert both == [[], ["one"], ["one", "two"], [], []]
    closed = surgery.units(donor)
    assert [unit.name for unit in closed] == ["encoder", "widen", "head"]
    inside = [surgery.used_on_both_sides(closed, n) for n in range(4)]
    assert inside == [[], ["encoder", "one", "two"], [], []]


def test_calls_of_an_opened_layer_in_one_unit():
    inputs = keras.Input((4,))
    tower = keras.Sequential(
        [keras.Input((4,)), LAYERS.Dense(4, name="one"), LAYERS.Dense(4, name="two")],
        name="encoder",
    )
    x = tower(inputs)
    # A residual connection keeps both calls in one unit, one upon the other.
    x = LAYERS.Add(name="add")([inputs, tower(x)])
    donor = keras.Model(inputs, LAYERS.Dense(3, name="head")(x), name="donor")
    for cuts in ("single", "several"):
        found = surgery.units(donor, expand=EXPAND, cuts=cuts)
        assert [unit.name for unit in found] == ["one", "two", "head"]
        assert surgery.used_on_both_sides(found, 1) == ["one"]
        assert surgery.used_on_both_sides(found, 2) == []
        with pytest.raises(surgery.SharedAcrossCut, match="one of 'donor'"):
            surgery.transplant(donor, 1, expand=EXPAND, cuts=cuts, seed=0)


def test_weights_of_a_layer_inside_another_count_once():
    inputs = keras.Input((3, 4))
    dense = LAYERS.Dense(4, name="dense")
    x = LAYERS.GlobalAveragePooling1D(name="pool")(LAYERS.TimeDistributed(dense)(inputs))
    x = LAYERS.Dense(4, name="between")(x)
    donor = keras.Model(inputs, LAYERS.Dense(2, name="last")(dense(x)), name="donor")
    found = surgery.units(donor)
    assert [unit.parameters for unit in found] == [20, 20, 10]
    assert donor.count_params() == 50
    assert surgery.used_on_both_sides(found, 1) == ["dense"]
    assert surgery.used_on_both_sides(found, 2) == []


def test_blocks_of_a_layer_that_is_used_again():
    donor = make_repeating()
    names = surgery.block_names(donor)
    assert [unit.name for unit in surgery.units(donor, blocks=names)] == ["first", "again", "last"]
