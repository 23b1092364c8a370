"""Networks of tables against the literature's counts and a second implementation in NumPy."""

import itertools
import math

import keras
import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import truncnorm

from transfer_keras import networks, surgery
from transfer_keras.config import ARCHITECTURES
from transfer_keras.config.unit_kinds import (
    EncoderBlock,
    Head,
    PatchEmbedding,
    ResidualBlock,
    Stem,
)

SMALL = ("resnet18_small", "vit_mini")
ALEXNETS = ("alexnet", "alexnet_mini", "alexnet_small")
BLOCKS = [f"block{n}" for n in range(1, 13)]


def made(name, classes=7, size=None):
    table = ARCHITECTURES[name]
    return networks.build(name, image_size=size or table.image_size, classes=classes)


def trainable(model):
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def with_random_weights(units, size, classes, seed=0):
    """Builds units on raw pixels; no weight, and no statistic of BatchNorm, is 0 or 1."""
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, networks.build_units(units, inputs, classes))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.2, 0.9, w.shape) for w in model.weights])
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in ("kernel", "embeddings"):
                weight.assign(rng.normal(0, 0.3, weight.shape))
    return model, {layer.name: [w.numpy() for w in layer.weights] for layer in model.layers}


def convolve(x, kernel, stride):
    """Computes a convolution with same padding in loops over the kernel."""
    side, height = -(-x.shape[1] // stride), kernel.shape[0]
    missing = max((side - 1) * stride + height - x.shape[1], 0)
    before = missing // 2
    padded = np.pad(x, ((0, 0), *[(before, missing - before)] * 2, (0, 0)))
    out = 0
    for i, j in itertools.product(range(height), repeat=2):
        window = padded[:, i : i + side * stride : stride, j : j + side * stride : stride]
        out = out + window[:, :side, :side] @ kernel[i, j]
    return out


def batch_norm(x, weights):
    scale, shift, mean, variance = weights
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def layer_norm(x, weights):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * weights[0] + weights[1]


def test_residual_network_in_numpy():
    units = (
        Stem("stem", 4, 3, stride=2, pool=True),
        ResidualBlock("same", 4),
        ResidualBlock("wider", 6, stride=2, average=True),
        Head("head"),
    )
    model, w = with_random_weights(units, 13, 5)
    x = np.random.default_rng(1).normal(size=(2, 13, 13, 3)).astype(np.float32)

    def block(x, name, stride):
        shortcut = x
        if f"{name}_shortcut" in w:
            shortcut = convolve(x, w[f"{name}_shortcut"][0], stride)
            shortcut = batch_norm(shortcut, w[f"{name}_shortcut_norm"])
        y = batch_norm(convolve(x, w[f"{name}_conv1"][0], stride), w[f"{name}_norm1"])
        y = convolve(np.maximum(y, 0), w[f"{name}_conv2"][0], 1)
        return np.maximum(batch_norm(y, w[f"{name}_norm2"]) + shortcut, 0)

    y = np.maximum(batch_norm(convolve(x, w["stem_conv"][0], 2), w["stem_norm"]), 0)
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pooled = np.empty((2, 4, 4, 4))
    for i, j in itertools.product(range(4), repeat=2):
        pooled[:, i, j] = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2))
    y = block(block(pooled, "same", 1), "wider", 2)
    expected = y.mean((1, 2)) @ w["head"][0] + w["head"][1]
    assert "same_shortcut" not in w
    assert "wider_shortcut" in w
    np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-4, atol=1e-4)


def test_transformer_in_numpy():
    units = (
        PatchEmbedding("patches", 6, 4),
        EncoderBlock("block1", 6, 2, 9),
        EncoderBlock("block2", 6, 3, 5, dropout=0.5, last=True),
        Head("head"),
    )
    model, w = with_random_weights(units, 14, 5)
    x = np.random.default_rng(1).normal(size=(2, 14, 14, 3)).astype(np.float32)

    kernel, bias = w["patches"]
    patches = x[:, :12, :12].reshape(2, 3, 4, 3, 4, 3)
    rows = np.einsum("biujvc,uvcf->bijf", patches, kernel).reshape(2, 9, 6) + bias
    token = np.broadcast_to(w["patches_class"][0], (2, 1, 6))
    y = np.concatenate([token, rows], axis=1) + w["patches_positions"][0]
    for name, heads in (("block1", 2), ("block2", 3)):
        z = layer_norm(y, w[f"{name}_norm1"])
        weights = w[f"{name}_attention"]
        q, k, v = (
            np.einsum("btd,dhk->bthk", z, weights[2 * place]) + weights[2 * place + 1]
            for place in range(3)
        )
        scores = np.einsum("bthk,bshk->bhts", q, k) / np.sqrt(6 / heads)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.einsum("bhts,bshk->bthk", scores, v)
        y = y + np.einsum("bthk,hkd->btd", mixed, weights[6]) + weights[7]
        z = layer_norm(y, w[f"{name}_norm2"])
        z = z @ w[f"{name}_mlp1"][0] + w[f"{name}_mlp1"][1]
        z = z * (1 + erf(z / np.sqrt(2))) / 2
        y = y + z @ w[f"{name}_mlp2"][0] + w[f"{name}_mlp2"][1]
    expected = layer_norm(y, w["block2_norm3"])[:, 0] @ w["head"][0] + w["head"][1]
    np.testing.assert_allclose(model(x, training=False), expected, rtol=1e-3, atol=1e-4)


def test_parameters_of_the_literature():
    """torchvision's `resnet18` and timm's `vit_small_patch16_224`, of 1000 classes."""
    residual, transformer = made("resnet18", 1000), made("vit_small", 1000)
    assert trainable(residual) == 11_689_512
    assert trainable(transformer) == transformer.count_params() == 22_050_664
    counts = {}
    for unit in surgery.units(residual):
        weights = [w for layer in unit.layers for w in layer.trainable_weights]
        counts[unit.name.partition("_")[0]] = sum(math.prod(w.shape) for w in weights)
    # Two blocks of two convolutions of 3 x 3 with a scale and a shift each; projections.
    stages = [sum(counts[f"block{n}"] for n in (first, first + 1)) for first in (1, 3, 5, 7)]
    assert counts["stem"] == 7 * 7 * 3 * 64 + 2 * 64
    assert stages[0] == 4 * (9 * 64 * 64 + 2 * 64)
    for stage, (below, filters) in enumerate([(64, 128), (128, 256), (256, 512)], 1):
        kernels = 9 * below * filters + 3 * 9 * filters**2 + below * filters
        assert stages[stage] == kernels + 5 * 2 * filters
    assert counts["head"] == 512 * 1000 + 1000


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_table_says_what_is_built(name):
    """Units, where they end, and what they hold, from the table and from the network."""
    table, model = ARCHITECTURES[name], made(name)
    own = surgery.units(model)
    assert table.cuts[-1] == len(own)
    sizes = table.sizes(table.image_size, 7)
    assert sum(size.parameters for size in sizes) == model.count_params()
    for unit, size, begin, end in zip(
        table.units, sizes, (0, *table.cuts[:-1]), table.cuts, strict=True
    ):
        layers = [layer for each in own[begin:end] for layer in each.layers]
        named = [layer for layer in layers if layer.weights and layer.name != "pixels"]
        assert size.parameters == sum(each.parameters for each in own[begin:end])
        assert all(layer.name.split("_")[0] == unit.name for layer in named)
        if any(table is ARCHITECTURES[name] for name in ALEXNETS):
            continue  # See tests/experiments/test_grouping.py.
        values = [layer for layer in layers if isinstance(layer, keras.Layer)]
        values = [x for x in values if x.name != "pixels" and not x.name.endswith("_vector")]
        inner = kernels = 0
        for layer in values:
            per_position = sum(math.prod(w.shape) for w in layer.weights if w.name == "kernel")
            kernels += per_position * math.prod(layer.output.shape[1:-1])
            if isinstance(layer, keras.layers.MultiHeadAttention):
                tokens, width = layer.output.shape[1:]
                inner += 4 * tokens * width + 2 * layer.num_heads * tokens**2
                kernels += 2 * tokens**2 * width
        outputs = sum(math.prod(layer.output.shape[1:]) for layer in values)
        assert size.macs == kernels
        assert size.activations == outputs + inner
        assert own[end - 1].output is not None  # A single tensor ends it.


def test_units_of_the_networks():
    names = {name: [unit.name for unit in ARCHITECTURES[name].units] for name in ARCHITECTURES}
    assert names["resnet18"] == names["resnet18_small"] == ["stem", *BLOCKS[:8], "head"]
    assert names["vit_small"] == ["patches", *BLOCKS, "head"]
    assert names["vit_mini"] == ["patches", *BLOCKS[:6], "head"]


@pytest.mark.parametrize("name", SMALL)
def test_every_cut_can_be_transplanted(name):
    table, donor = ARCHITECTURES[name], made(name, size=32)
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    for n in range(1, len(table.units)):
        count = table.cuts[n - 1]
        model = surgery.transplant(donor, count, head={"head": 5}, seed=n).model
        assert model.output.shape == (None, 5)
        below, as_in_donor = surgery.lower(model, count), surgery.lower(donor, count)
        assert np.array_equal(below(x, training=False), as_in_donor(x, training=False)), n
        assert not below.trainable_variables
        above = {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights}
        assert above == {unit.name for unit in table.units[n:]}


def test_batch_norm_of_frozen_random_units_is_as_it_was_made():
    untrained = surgery.transplant(made("resnet18_small", size=32), 0, seed=1).model
    model = surgery.transplant(untrained, 2, head={"head": 5}, mode="frozen", seed=2).model
    x = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    model(x, training=True)
    norms = {
        layer.name: [np.unique(w).tolist() for w in layer.weights]
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    initial = [[1], [0], [0], [1]]  # Scale, shift, moving mean and variance.
    still = {name for name, weights in norms.items() if weights == initial}
    assert still == {"stem_norm", "block1_norm1", "block1_norm2"}
    assert len(norms) == 20


@pytest.mark.parametrize("name", SMALL)
def test_saved_networks_open_without_this_package(name, tmp_path):
    model = made(name, size=32)
    modules = {type(each).__module__.split(".")[0] for each in model.operations}
    assert modules == {"keras"}
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert np.array_equal(again(x), model(x))


def test_initial_values():
    transformer, residual = made("vit_small"), made("resnet18")
    truncated = truncnorm(-2, 2, scale=0.02).std()  # As Keras does, at twice the deviation.
    deviations = {
        layer.name: [float(np.std(w)) for w in layer.weights if w.name == "kernel"]
        for layer in [*transformer.layers, *residual.layers]
    }
    assert deviations["block3_attention"] == pytest.approx([truncated] * 4, rel=0.02)
    assert deviations["block3_mlp1"] == pytest.approx([truncated], rel=0.02)
    positions = transformer.get_layer("patches_positions").embeddings
    assert float(np.std(positions)) == pytest.approx(truncated, rel=0.02)
    assert not np.any(transformer.get_layer("patches_class").embeddings)
    for name, inputs in (("stem_conv", 147), ("block4_conv1", 9 * 128), ("block8_conv2", 4608)):
        assert deviations[name] == pytest.approx([math.sqrt(2 / inputs)], rel=0.03)
    scales = [x.gamma for x in residual.layers if "norm" in x.name]
    assert len(scales) == 20
    assert all(np.all(scale == 1) for scale in scales)
