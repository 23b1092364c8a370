"""Networks of KerasHub: their units, and whether surgery on them is right."""

import keras
import numpy as np
import pytest
from support.hub_networks import BACKBONES, CLASSIFIERS, classifier, data
from support.small_network import perturb

from transfer_keras import surgery

hub = pytest.importorskip("keras_hub", reason="needs keras-hub (transfer_keras[hub])")

# Units of the network as it is, once nested models are opened, and with cuts of several tensors.
# In networks of residual blocks a unit is a block, since the sum needs both branches, and cuts of
# several tensors lie inside it. A composite layer is one unit: a block of MobileNet, MobileNetV5,
# MiT, CLIP or SigLIP, a stage of Swin, and all blocks of ViT, DeiT, DINO and HGNetV2 together.
# RetinaNet and DeepLab use features of several depths, so nothing above the first of these is a cut
# of one tensor. Padding masks (Bert, GPT-2) and rotary positions (DINOv3) live through all blocks.
UNITS = {
    "VGG": (3, 3, 3),
    "ResNet": (6, 6, 14),
    "ResNetV2": (6, 6, 20),
    "DenseNet": (6, 6, 10),
    "MobileNet": (7, 7, 7),
    "MobileNetV5": (4, 4, 4),
    "EfficientNet": (10, 10, 16),
    "CSPNet": (6, 6, 9),
    "Xception": (5, 5, 7),
    "HGNetV2": (2, 2, 2),
    "ViT": (2, 2, 2),
    "DeiT": (2, 2, 2),
    "MiT": (5, 5, 5),
    "Swin": (3, 3, 3),
    "ViTDet": (5, 6, 6),
    "DINOv2": (2, 2, 2),
    "DINOv3": (1, 1, 2),
    "CLIP vision": (3, 3, 3),
    "SigLIP vision": (4, 4, 4),
    "MetaCLIP2 vision": (3, 3, 3),
    "RetinaNet": (1, 5, 15),
    "DeepLabV3": (2, 4, 14),
    "SegFormer": (2, 4, 8),
    "Bert": (2, 2, 6),
    "GPT2": (1, 1, 4),
}
# What a classifier has on top of its backbone, opened and as it is, where that is not one layer.
HEADS = {"VGG": (3, 1), "MobileNet": (2, 2), "HGNetV2": (2, 2)}
# Layers that KerasHub can neither write nor read back.
NOT_MADE_AGAIN = {"Swin": "'patch_embedding' (PatchEmbedding)"}
# Configs and files of KerasHub that do not restore the network, which it loses by itself too.
NOT_IN_FILES = {
    "EfficientNet": "its config leaves out num_features, which is 1280 again",
    "DINOv2": "it computes its positions from others when it is loaded",
}


def outputs(model, x):
    flat = keras.tree.flatten(model(x, training=False))
    return [keras.ops.convert_to_numpy(tensor) for tensor in flat]


def equal(first, second):
    return all(np.allclose(a, b, atol=1e-5) for a, b in zip(first, second, strict=True))


def build(name):
    """Builds a backbone or, with "classifier" after its name, an image classifier."""
    keras.utils.set_random_seed(0)
    own = name.removesuffix(" classifier")
    model = BACKBONES[name](hub) if own == name else classifier(hub, own)
    perturb(model)
    return model


QUICK = ("VGG", "ViT", "MiT", "DeiT")
NAMES = [*BACKBONES, *(f"{name} classifier" for name in CLASSIFIERS)]
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]


@pytest.mark.parametrize("name", EACH)
def test_units(name):
    model = build(name)
    opened = surgery.flatten(model)
    own = name.removesuffix(" classifier")
    expected = UNITS[own]
    if own != name:
        head, closed = HEADS.get(own, (1, 1))
        expected = (1 + closed, expected[1] + head, expected[2] + head)
    assert expected == (
        len(surgery.units(model)),
        len(surgery.units(opened)),
        len(surgery.units(opened, cuts="several")),
    )
    assert sum(unit.parameters for unit in surgery.units(opened)) == opened.count_params()


@pytest.mark.parametrize("name", EACH)
def test_surgery(name, tmp_path):
    model = build(name)
    own = name.removesuffix(" classifier")
    opened = surgery.flatten(model)
    x = data(model)
    expected = outputs(model, x)
    assert equal(outputs(opened, x), expected)

    if own in NOT_MADE_AGAIN:
        with pytest.raises(surgery.NotRebuildable) as error:
            surgery.transplant(opened, 1, seed=1)
        assert NOT_MADE_AGAIN[own] in str(error.value)
        return

    # Transplanted at the first, a middle and the last cut.
    units = surgery.units(opened)
    for n in sorted({1, len(units) // 2, len(units) - 1, len(units)} - {0}):
        new, report = surgery.transplant(opened, n, mode="frozen", seed=1)
        below = {layer.name for unit in units[:n] for layer in unit.layers if layer.weights}
        for layer in filter(lambda layer: layer.weights, opened.layers):
            pairs = zip(layer.weights, new.get_layer(layer.name).weights, strict=True)
            kept = all(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)
            assert kept == (layer.name in below), (n, layer.name)
        assert {row.origin for row in report if row.trainable} <= {"fresh"}
    assert equal(outputs(new, x), expected)

    # Fused, and taken out again.
    one_each = len(model.inputs) == len(model.outputs) == 1
    if one_each:
        fused = surgery.fuse({"a": opened, "b": opened})
        assert equal(outputs(surgery.extract(fused, "b"), x), expected)
    else:
        with pytest.raises(surgery.ShapeMismatch):
            surgery.fuse({"a": opened, "b": opened})

    # Written and read: the opened network, of KerasHub's layers, and the network as it is.
    surgery.save(new, tmp_path / "new.keras")
    if own != "DINOv2":
        assert equal(outputs(surgery.load(tmp_path / "new.keras"), x), expected)
    if name.removesuffix(" classifier") not in NOT_IN_FILES:
        surgery.save(model, tmp_path / "own.keras")
        assert equal(outputs(surgery.load(tmp_path / "own.keras"), x), expected)


def test_a_nested_network_that_its_config_does_not_restore_is_made_of_its_layers():
    """KerasHub forgets the width of the last convolution of an EfficientNet."""
    model = build("EfficientNet classifier")
    again = type(model.backbone).from_config(model.backbone.get_config())
    assert again.count_params() != model.backbone.count_params(), "KerasHub restores it now"
    new, _ = surgery.transplant(model, 1, seed=1)
    nested = new.get_layer(model.backbone.name)
    x = data(model)
    assert equal(outputs(nested, x), outputs(model.backbone, x))


def test_the_blocks_of_an_encoder_can_be_opened():
    """The blocks of ViT are one layer; `expand` lists what is inside it."""
    model = build("ViT")
    expand = {"vit_encoder": lambda encoder: [*encoder.encoder_layers, encoder.layer_norm]}
    units = surgery.units(model, expand=expand)
    assert [len(unit.kernels) > 0 for unit in units] == [True] * 4
    new, _ = surgery.transplant(model, 2, seed=1, expand=expand)
    old_blocks, new_blocks = (m.get_layer("vit_encoder").encoder_layers for m in (model, new))
    for place, (old, block) in enumerate(zip(old_blocks, new_blocks, strict=True)):
        pairs = zip(old.weights, block.weights, strict=True)
        kept = all(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)
        assert kept == (place == 0)
        assert bool(block.trainable_weights) == (place > 0)
