import keras
import numpy as np
import pytest

from transfer_keras import networks, surgery
from transfer_keras.config import architectures
from transfer_keras.networks import alexnet


def lrn(x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Computes Caffe's formula, channel by channel."""
    out = np.empty_like(x)
    for c in range(x.shape[-1]):
        low, high = max(0, c - size // 2), min(x.shape[-1], c + size // 2 + 1)
        total = (x[..., low:high].astype(np.float64) ** 2).sum(-1)
        out[..., c] = x[..., c] / (k + alpha / size * total) ** beta
    return out


def convolve(x, kernel, groups):
    """Computes a grouped convolution, stride 1, same padding, in loops."""
    kh, kw, per_group, filters = kernel.shape
    padded = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    out = np.zeros((*x.shape[:3], filters))
    for f in range(filters):
        first = f // (filters // groups) * per_group
        for i in range(kh):
            for j in range(kw):
                window = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
                out[..., f] += window[..., first : first + per_group] @ kernel[i, j, :, f]
    return out


def test_local_response_norm():
    x = np.random.default_rng(0).normal(0, 60, (2, 3, 4, 11)).astype(np.float32)
    np.testing.assert_allclose(alexnet.LocalResponseNorm()(x), lrn(x), rtol=1e-5)


def test_grouped_convolution():
    x = np.random.default_rng(1).normal(size=(2, 6, 5, 8)).astype(np.float32)
    layer = alexnet.GroupedConv2D(6, 3, padding="same", groups=2)
    outputs = layer(x)
    assert layer.kernel.shape == (3, 3, 4, 6)
    np.testing.assert_allclose(outputs, convolve(x, layer.kernel.numpy(), 2), atol=1e-5)


def test_the_papers_network():
    model = networks.build("alexnet", image_size=227, classes=500)
    counts = {unit.name: unit.parameters for unit in surgery.units(model)}
    # kernel height x width x channels in (per group) x filters + biases
    assert counts == {
        "conv1": 11 * 11 * 3 * 96 + 96,
        "conv2": 5 * 5 * 48 * 256 + 256,
        "conv3": 3 * 3 * 256 * 384 + 384,
        "conv4": 3 * 3 * 192 * 384 + 384,
        "conv5": 3 * 3 * 192 * 256 + 256,
        "fc6": 6 * 6 * 256 * 4096 + 4096,
        "fc7": 4096 * 4096 + 4096,
        "fc8": 4096 * 500 + 500,
    }
    assert round(model.count_params() / 1e6, 2) == 58.92
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert shapes["conv1"] == (55, 55, 96)
    assert shapes["conv1_norm"] == (27, 27, 96)
    assert shapes["conv2_norm"] == (13, 13, 256)
    assert shapes["conv5_pool"] == (6, 6, 256)
    order = [layer.name for layer in model.layers]
    assert order[2:6] == ["conv1", "conv1_relu", "conv1_pool", "conv1_norm"]
    for unit in architectures.ALEXNET.units:
        kernel, bias = (w.numpy() for w in model.get_layer(unit.name).weights)
        assert kernel.std() == pytest.approx(unit.stddev, rel=0.05)
        assert (bias == unit.bias).all()
    # Millions of multiplications an image, from the shapes alone.
    macs = {
        name: np.prod(model.get_layer(name).kernel.shape) * np.prod(shapes[name][:-1]) / 1e6
        for name in counts
    }
    expected = [105.4, 223.9, 149.5, 112.1, 74.8, 37.7, 16.8, 2.05]
    assert list(macs.values()) == pytest.approx(expected, abs=0.06)
    sizes = architectures.ALEXNET.sizes(227, 500)
    assert [size.macs / 1e6 for size in sizes] == pytest.approx(list(macs.values()))


def test_small_network_has_the_same_units_and_reloads_without_this_package(tmp_path):
    model = networks.build("alexnet_small", image_size=32, classes=7)
    assert [u.name for u in surgery.units(model)] == [u.name for u in architectures.ALEXNET.units]
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert np.array_equal(again(x), model(x))


def test_pixels_are_normalised_inside():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    mean, variance = [100.0, 110.0, 120.0], [900.0, 1600.0, 2500.0]
    kinds = {"alexnet_small": np.sqrt(variance), "alexnet": 1.0}
    for name, divisor in kinds.items():
        size = architectures.ARCHITECTURES[name].image_size
        model = networks.build(name, image_size=size, classes=2, mean=mean, variance=variance)
        outputs = model.get_layer("pixels")(x)
        np.testing.assert_allclose(outputs, (x - mean) / divisor, rtol=1e-5, atol=1e-5)


def test_unknown_network():
    with pytest.raises(ValueError, match="Expected one of"):
        networks.build("alexnet9", image_size=32, classes=2)
