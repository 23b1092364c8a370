import keras
import numpy as np
import pytest
from support.small_network import LAYERS, make_donor, same
from support.towers import EXPAND, make_tower

from transfer_keras import surgery

# Blocks by name, the stem and the head named too: counts of keras-notes without those.
BLOCKS = {
    "MobileNetV2": (r"expanded_conv|block_\d+|^Conv1$|^Conv_1$|predictions", 17 + 3),
    "EfficientNetB0": (r"block\d[a-z]|stem|top|predictions", 16 + 3),
    "ConvNeXtTiny": (r"stage_\d_block_\d+|downsampling_block_\d|stem|head", None),
    "ResNet50": (r"conv\d_block\d|^conv1|predictions", 16 + 2),
    "DenseNet121": (r"conv\d_block\d+|^conv1_|pool\d|predictions", 58 + 5),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "EfficientNetB0" else pytest.mark.slow)
        for name in BLOCKS
    ],
)
def test_blocks_of_applications(name):
    pattern, count = BLOCKS[name]
    model = getattr(keras.applications, name)(weights=None)
    model_units = surgery.units(model, blocks=pattern)
    assert all(unit.output is not None for unit in model_units)
    names = [unit.name for unit in model_units]
    assert len(set(names)) == len(names)
    assert sum(unit.parameters for unit in model_units) == model.count_params()
    if count:
        assert len(model_units) == count, names


def test_a_function_names_blocks():
    def part(layer):
        return "image" if layer.name in ("one", "two") else "rest"

    donor = make_donor()
    model_units = surgery.units(donor, blocks=part)
    assert [(unit.name, unit.index) for unit in model_units] == [("image", 1), ("rest", 2)]
    model, _ = surgery.transplant(donor, "image", seed=1, blocks=part)
    frozen = [layer.name for layer in model.layers if not layer.trainable]
    assert frozen == ["pixels", "one", "one_bn", "one_relu", "two", "two_dropout", "flat"]


def test_layers_of_no_block():
    with pytest.raises(
        surgery.UnmatchedLayer, match=r"2 weighted layers match no block: three, four"
    ):
        surgery.units(make_donor(), blocks="one|two")


def test_blocks_in_pieces():
    names = {"one": "a", "two": "b", "three": "a", "four": "c"}
    with pytest.raises(surgery.UnmatchedLayer, match=r"Blocks a are not in one piece.*a, b, a, c"):
        surgery.units(make_donor(), blocks=lambda layer: names[layer.name])


def test_two_blocks_in_one_unit():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, name="left_1")(inputs)
    y = LAYERS.Dense(4, name="right_1")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(2, name="top_1")(LAYERS.Add()([x, y])))
    with pytest.raises(surgery.UnmatchedLayer, match="holds layers of blocks left, right"):
        surgery.units(model, blocks="left|right|top")


def test_a_composite_layer_is_one_unit_until_it_is_opened():
    donor = make_tower()
    assert [u.name for u in surgery.units(donor)] == ["tower", "head"]
    model_units = surgery.units(donor, expand=EXPAND)
    assert [u.name for u in model_units] == ["block_0", "block_1", "block_2", "head"]
    assert [len(u.layers) for u in model_units] == [1, 1, 2, 1]
    assert [u.output is None for u in model_units] == [True, True, False, False]
    assert "no single tensor" in str(model_units)


def test_transplant_inside_a_composite_layer():
    donor = make_tower()
    model, report = surgery.transplant(donor, "block_1", seed=1, expand=EXPAND)
    old, new = donor.get_layer("tower"), model.get_layer("tower")
    for i, (a, b) in enumerate(zip(old.blocks, new.blocks, strict=True)):
        assert same(a.kernel, b.kernel) == (i < 2)
        assert b.trainable == (i >= 2)
    assert new.norm.trainable
    assert [row.origin for row in report] == ["copied"] * 4 + ["fresh"] * 6
    assert [row.trainable for row in report] == [False] * 4 + [True] * 6
    frozen = surgery.snapshot(model)
    assert len(frozen) == 4
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    model.fit(x, x[:, :3], verbose=0, callbacks=[surgery.FrozenGuard()])
    surgery.assert_unchanged(model, frozen)
    with pytest.raises(surgery.NotACutPoint, match=r"No single tensor ends unit 1 .*among 3, 4"):
        surgery.lower(donor, 1, expand=EXPAND)


def test_expand_must_give_each_weight_once():
    with pytest.raises(surgery.UnmatchedLayer, match=r"Missing: .*norm/gamma"):
        surgery.units(make_tower(), expand={"tower": lambda tower: tower.blocks})
    with pytest.raises(surgery.UnmatchedLayer, match=r"more than once: .*block_0/kernel"):
        surgery.units(make_tower(), expand={"tower": lambda t: [*t.blocks, t.norm, t.blocks[0]]})
