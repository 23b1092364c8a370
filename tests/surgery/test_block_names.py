import re

import keras
import pytest
from support.small_network import LAYERS, make_donor

from transfer_keras import surgery


def blocks(model):
    return surgery.units(model, blocks=surgery.block_names(model))


def numbered(name, count):
    return [f"{name}{i}" for i in range(1, count + 1)]


def lettered(*counts):
    return [f"block{i}{'abcdefgh'[j]}" for i, n in enumerate(counts, 1) for j in range(n)]


def convnext(*counts):
    names = ["convnext_tiny_stem"]
    for stage, count in enumerate(counts):
        names += [f"convnext_tiny_downsampling_block_{stage - 1}"] * (stage > 0)
        names += [f"convnext_tiny_stage_{stage}_block_{block}" for block in range(count)]
    return [*names, "convnext_tiny_head_dense"]


def densenet(*counts):
    names = ["conv1_conv"]
    for stage, count in enumerate(counts, 2):
        names += [f"conv{stage}_block{block}" for block in range(1, count + 1)]
        names += [f"pool{stage}_conv"] * (stage < 5)
    return [*names, "predictions"]


def resnet(*counts):
    stages = enumerate(counts, 2)
    names = [f"conv{stage}_block{i}" for stage, n in stages for i in range(1, n + 1)]
    return ["conv1_conv", *names, "predictions"]


# Written down from the papers' and Keras's tables, not from what comes out: stem, blocks, head.
NETWORKS = {
    "VGG16": [*numbered("block", 5), "fc1", "fc2", "predictions"],
    "ResNet50": resnet(3, 4, 6, 3),
    "ResNet50V2": resnet(3, 4, 6, 3),
    "MobileNet": ["conv1", *numbered("conv_", 13), "conv_preds"],
    "MobileNetV2": [
        "Conv1",
        "expanded_conv",
        *numbered("block_", 16),
        "Conv_1",
        "predictions",
    ],
    "MobileNetV3Small": [
        "conv",
        "expanded_conv",
        *numbered("expanded_conv_", 10),
        "conv_1",
        "conv_2",
        "logits",
    ],
    "EfficientNetB0": ["stem_conv", *lettered(1, 2, 2, 3, 3, 4, 1), "top_conv", "predictions"],
    "EfficientNetV2B0": ["stem_conv", *lettered(1, 2, 2, 3, 5, 8), "top_conv", "predictions"],
    "ConvNeXtTiny": convnext(3, 3, 9, 3),
    "DenseNet121": densenet(6, 12, 24, 16),
    "Xception": [*numbered("block", 14), "predictions"],
    "NASNetMobile": ["stem_conv1", "reduction_conv_1_stem_1", "predictions"],
}
BLOCKS = {
    "MobileNetV2": 17,
    "EfficientNetB0": 16,
    "ConvNeXtTiny": 18,
    "DenseNet121": 58,
    "ResNet50": 16,
}
SIDES = {"Xception": 71}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("MobileNetV2", "ResNet50") else pytest.mark.slow)
        for name in NETWORKS
    ],
)
def test_applications(name):
    if name == "NASNetMobile" and keras.backend.backend() == "torch":
        pytest.skip("Keras has no NASNet on PyTorch")
    side = SIDES.get(name, 32)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(side, side, 3), classes=10)
    found_blocks = blocks(model)
    assert [unit.name for unit in found_blocks] == NETWORKS[name]
    assert sum(unit.parameters for unit in found_blocks) == model.count_params()
    if name in BLOCKS:
        inside = r"^(block|conv\d_block|expanded_conv|convnext_tiny_stage)"
        assert sum(bool(re.match(inside, unit.name)) for unit in found_blocks) == BLOCKS[name]
    second = surgery.lower(model, 2, blocks=surgery.block_names(model))
    assert second.outputs[0] is found_blocks[1].output


@pytest.mark.parametrize(
    "name", ["InceptionV3", pytest.param("InceptionResNetV2", marks=pytest.mark.slow)]
)
def test_automatic_names_stay_units(name):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(75, 75, 3), classes=10)
    units, found_blocks = surgery.units(model), blocks(model)
    assert [unit.layers for unit in found_blocks] == [unit.layers for unit in units]
    named = [unit.name for unit in found_blocks if not unit.name.startswith("conv2d")]
    expected = [*numbered("block35_", 10), *numbered("block17_", 20)]
    expected += [*numbered("block8_", 10), "conv_7b"]
    assert named == [*(expected if "ResNet" in name else []), "predictions"]
    assert found_blocks[0].name == units[0].name


def dense(*names):
    inputs = keras.Input((4,))
    x = inputs
    for name in names:
        x = LAYERS.Dense(4, name=name)(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["stem", "block_1_a", "block_1_b", "block_2"], ["stem", "block_1", "block_2"]),
        (["a_block1_x", "b_block1_x"], ["a_block1", "b_block1"]),
        (["x_Stage_0_XBlock_1_c", "x_Stage_0_XBlock_1_d"], ["x_Stage_0_XBlock_1"]),
        (["stack0_block0_1_conv", "stack0_block0_2_conv"], ["stack0_block0"]),
        (["net_2_conv2_block1_1_conv", "net_2_conv2_block1_2_conv"], ["net_2_conv2_block1"]),
        (["blocks", "blocking_3", "conv_3"], ["blocks", "blocking_3", "conv_3"]),
        # Not in one piece.
        (["block1_a", "between", "block1_b"], ["block1_a", "between", "block1_b"]),
    ],
)  # fmt: skip
def test_names(layers, expected):
    assert [unit.name for unit in blocks(dense(*layers))] == expected


def test_one_unit_with_layers_of_two_blocks():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, name="block1")(inputs)
    y = LAYERS.Dense(4, name="block2_a")(inputs)
    x = LAYERS.Add()([x, y])
    x = LAYERS.Dense(4, name="block2_b")(x)
    x = LAYERS.Dense(4, name="block2_c")(x)
    model = keras.Model(inputs, LAYERS.Dense(2, name="block1_c")(x))
    found_blocks = [
        (unit.name, [x.name for x in unit.layers if x.weights]) for unit in blocks(model)
    ]
    assert found_blocks == [
        ("block1", ["block1", "block2_a"]),
        ("block2", ["block2_b", "block2_c"]),
        ("block1_", ["block1_c"]),
    ]


def test_a_layer_used_twice_joins_all_between():
    inputs = keras.Input((4,))
    twice = LAYERS.Dense(4, name="twice")
    x = LAYERS.Dense(4, name="block_1_x")(twice(LAYERS.Dense(4, name="first")(inputs)))
    model = keras.Model(inputs, LAYERS.Dense(4, name="last")(twice(x)))
    found_blocks = blocks(model)
    assert [unit.name for unit in found_blocks] == ["first", "twice", "last"]
    assert [x.name for x in found_blocks[1].layers] == ["twice", "block_1_x"]


def test_it_serves_for_a_copy():
    donor = dense("stem", "block_1_a", "block_1_b", "top")
    block_of = surgery.block_names(donor)
    model, _ = surgery.transplant(donor, "block_1", seed=0, blocks=block_of)
    assert [x.trainable for x in model.layers[1:]] == [False, False, False, True]
    assert [unit.name for unit in surgery.units(model, blocks=block_of)] == [
        "stem",
        "block_1",
        "top",
    ]
    assert [unit.name for unit in blocks(make_donor())] == ["one", "two", "three", "four"]
