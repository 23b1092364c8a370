"""`transplant(..., layers=...)`: copied and frozen without a cut, wherever the layers lie."""

import keras
import numpy as np
import pytest
from support.several import MAKERS, examples
from support.small_network import LAYERS, as_numpy, images, make_donor, perturb, same
from support.towers import EXPAND, make_tower

from transfer_keras import surgery

STREAM = ["a_1", "a_1_bn", "a_2", "a_2_bn"]
# Network -> a choice of layers, and the weighted layers that it means, written down by hand.
CHOICES = [
    ("streams", STREAM, STREAM),
    ("streams", "^a_", STREAM),
    ("streams", surgery.below("a_pool"), STREAM),
    ("streams", surgery.below("a_2", "b_1"), ["a_1", "a_1_bn", "a_2", "b_1"]),
    ("streams", "_bn$", ["a_1_bn", "b_1_bn", "a_2_bn", "b_2_bn"]),
    (
        "masked",
        surgery.below("attention_0_norm"),
        ["token_embedding", "segment_embedding", "norm", "attention_0", "attention_0_norm"],
    ),
    ("masked", ["wide_1", "token_embedding"], ["token_embedding", "wide_1"]),
    (
        "unet",
        surgery.below("bottom_relu"),
        ["down_1", "down_1_bn", "down_2", "down_2_bn", "bottom", "bottom_bn"],
    ),
    (
        "image_and_table",
        surgery.below("conv_2"),
        ["conv_1", "conv_1_bn", "conv_2"],
    ),
    ("image_and_table", ["row"], ["row"]),
    (
        "auxiliary",
        surgery.below("side_head"),
        ["conv_1", "conv_1_bn", "conv_2", "conv_2_bn", "side_head"],
    ),
]


def state(model):
    return {x.name: [as_numpy(w) for w in x.weights] for x in model.layers if x.weights}


def equal(first, second):
    """Names the layers whose weights are all the same."""
    return {
        name
        for name in first
        if all(np.array_equal(*pair) for pair in zip(first[name], second[name], strict=True))
    }


@pytest.mark.parametrize(("name", "layers", "expected"), CHOICES)
def test_chosen_layers_are_copied_and_frozen(name, layers, expected):
    donor = MAKERS[name]()
    perturb(donor)
    for mode in ("frozen", "fine_tune", "random"):
        model, report = surgery.transplant(donor, layers=layers, mode=mode, seed=0)
        copied = set() if mode == "random" else set(expected)
        assert equal(state(donor), state(model)) == copied
        assert {row.weight.split("/")[0] for row in report if row.origin == "copied"} == copied
        frozen = {x.name for x in model.layers if x.weights and not x.trainable}
        norms = {x for x in expected if isinstance(donor.get_layer(x), LAYERS.BatchNormalization)}
        assert frozen == (set() if mode == "fine_tune" else set(expected)), mode
        statistics, _ = surgery.transplant(
            donor, layers=layers, mode=mode, batch_norm="train", seed=0
        )
        frozen = {x.name for x in statistics.layers if x.weights and not x.trainable}
        assert frozen == (set() if mode == "fine_tune" else set(expected) - norms)


@pytest.mark.parametrize("name", MAKERS)
def test_training_is_that_of_plain_keras(name):
    """Compares with a clone whose flags were set by hand."""
    layers, expected = next((x, y) for kind, x, y in CHOICES if kind == name)
    donor = MAKERS[name]()
    perturb(donor)
    model, _ = surgery.transplant(donor, layers=layers, seed=0)
    plain = keras.models.clone_model(donor)
    plain.set_weights(model.get_weights())
    for layer in plain.layers:
        layer.trainable = layer.name not in expected
    before = state(model)
    inputs = examples(model, count=8)
    rng = np.random.default_rng(1)
    targets = keras.tree.map_structure(
        lambda x: rng.normal(size=(8, *x.shape[1:])).astype(np.float32), model.output
    )
    for network in (model, plain):
        network.compile(keras.optimizers.SGD(0.01), "mse")
        callbacks = [surgery.FrozenGuard()] if network is model else []
        network.fit(
            inputs, targets, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=callbacks
        )
    for layer, other in zip(model.layers, plain.layers, strict=True):
        for a, b in zip(layer.weights, other.weights, strict=True):
            np.testing.assert_allclose(as_numpy(a), as_numpy(b), atol=1e-6)
    unmoved = equal(before, state(model))
    assert unmoved == set(expected)


def test_it_is_the_same_as_a_cut_where_there_is_one():
    donor = make_donor()
    by_name, report = surgery.transplant(donor, "two", head=7, seed=3)
    for layers in (surgery.below("two"), ["pixels", "one", "one_bn", "one_relu", "two"]):
        model, other = surgery.transplant(donor, layers=layers, head=7, seed=3)
        assert str(other) == str(report)
        assert all(same(a, b) for a, b in zip(model.weights, by_name.weights, strict=True))
        assert [x.trainable for x in model.layers] == [x.trainable for x in by_name.layers]


def test_a_new_head():
    donor = MAKERS["streams"]()
    model, _ = surgery.transplant(donor, layers="^a_", head=5, seed=0)
    assert model.output.shape == (None, 5)
    message = r"head=5 differs from the 2 outputs of 'head'.*leave it out of `layers`"
    with pytest.raises(surgery.ShapeMismatch, match=message):
        surgery.transplant(donor, layers=["a_1", "head"], head=5, seed=0)
    same_size, _ = surgery.transplant(donor, layers=["a_1", "head"], head=2, seed=0)
    assert same(same_size.get_layer("head").kernel, donor.get_layer("head").kernel)


def test_dropout_of_chosen_layers():
    donor = make_donor()
    model, _ = surgery.transplant(donor, layers="^two", dropout=False, seed=0)
    assert model.get_layer("two_dropout").rate == 0
    model, _ = surgery.transplant(donor, layers=["two"], dropout=False, seed=0)
    assert model.get_layer("two_dropout").rate == 0.5


def test_statistics_of_chosen_layers():
    donor = make_donor()
    model, _ = surgery.transplant(
        donor, layers=["three_bn"], mode="fine_tune", batch_norm="statistics_frozen", seed=0
    )
    kinds = [type(model.get_layer(x)).__name__ for x in ("one_bn", "three_bn")]
    assert kinds == ["BatchNormalization", "FixedStatisticsBatchNormalization"]


def test_shared_layers():
    donor = make_donor()
    surgery.set_trainable([donor.get_layer("one")], False)
    model, _ = surgery.transplant(donor, layers=["two"], share=["one"], seed=0)
    assert model.get_layer("one") is donor.get_layer("one")
    assert not model.get_layer("two").trainable
    assert same(model.get_layer("two").kernel, donor.get_layer("two").kernel)


def test_a_layer_that_is_called_again_is_chosen_whole():
    inputs = keras.Input((4,))
    again = LAYERS.Dense(4, name="again")
    x = LAYERS.Dense(4, name="between")(again(inputs))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="last")(again(x)))
    perturb(donor)
    model, _ = surgery.transplant(donor, layers=["again"], seed=0)
    assert equal(state(donor), state(model)) == {"again"}
    # Its second call depends on "between".
    model, _ = surgery.transplant(donor, layers=surgery.below("again"), seed=0)
    assert equal(state(donor), state(model)) == {"again", "between"}


def test_layers_inside_an_opened_layer():
    donor = make_tower()
    model, _ = surgery.transplant(donor, layers=["block_0", "norm"], expand=EXPAND, seed=0)
    tower = model.get_layer("tower")
    flags = {x.name: x.trainable for x in [*tower.blocks, tower.norm]}
    assert flags == {"block_0": False, "block_1": True, "block_2": True, "norm": False}
    old = donor.get_layer("tower")
    copied = [same(a.kernel, b.kernel) for a, b in zip(old.blocks, tower.blocks, strict=True)]
    assert copied == [True, False, False]
    with pytest.raises(surgery.UnknownLayer, match=r"no layer named 'block_0'.*`expand` opens"):
        surgery.transplant(donor, layers=["block_0"], seed=0)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], r"layers=\[\] means no layer of 'donor' that has weights.*Names: one, one_bn, two"),
        ("nothing", "layers='nothing' means no layer of 'donor'"),
        ("relu", "layers='relu' means no layer of 'donor' that has weights"),
        (surgery.below("pixels"), "means no layer of 'donor' that has weights"),
        (surgery.below(), "means no layer of 'donor' that has weights"),
        (3, "layers=3 means no layer .* Expected a list of names, a regular expression"),
        (["one", "tow"], "'donor' has no layer named 'tow'. Nearest names: two"),
        (surgery.below("thre"), "'donor' has no layer named 'thre'. Nearest names: three"),
        ([1], "'donor' has no layer named 1"),
        ("(", r"layers='\(' is no regular expression: missing \)"),
    ],
)
def test_what_means_no_layer(layers, message):
    kind = surgery.UnknownLayer if "no layer named" in message else surgery.UnmatchedLayer
    with pytest.raises(kind, match=message):
        surgery.transplant(make_donor(), layers=layers, seed=0)


def test_one_of_n_and_layers():
    with pytest.raises(ValueError, match=r"either n or layers.*n=1, layers='one'"):
        surgery.transplant(make_donor(), 1, layers="one", seed=0)
    with pytest.raises(surgery.NotACutPoint, match="a whole number or a name, or layers"):
        surgery.transplant(make_donor(), seed=0)


def test_the_donor_is_left_as_it_was():
    donor = make_donor()
    before, outputs = state(donor), as_numpy(donor(images()))
    model, _ = surgery.transplant(donor, layers="one|three", seed=0)
    assert equal(before, state(donor)) == set(before)
    assert all(layer.trainable for layer in donor.layers)
    assert same(donor(images()), outputs)
    assert not {id(w) for w in model.weights} & {id(w) for w in donor.weights}


def test_it_can_be_saved(tmp_path):
    donor = MAKERS["streams"]()
    model, _ = surgery.transplant(donor, layers="^a_", seed=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert [x.trainable for x in again.layers] == [x.trainable for x in model.layers]
    assert same(again(examples(donor)), model(examples(donor)))
