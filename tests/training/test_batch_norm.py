"""BatchNorm by the fused kernel: what Keras computes, and what NumPy does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.surgery.batch_norm import FixedStatisticsBatchNormalization
from transfer_keras.training import fused_batch_norm

# Relative tolerances of float32 against float64, and of what is computed in bfloat16.
FLOAT32, BFLOAT16 = 2e-5, 2e-2
EPSILON, MOMENTUM, CHANNELS = 1e-3, 0.9, 5
SETTINGS = {"epsilon": EPSILON, "momentum": MOMENTUM}
X = np.random.default_rng(0).normal(3, 2, (4, 6, 7, CHANNELS))


def make(kind=keras.layers.BatchNormalization, dtype="float32", **settings):
    """Makes a layer whose weights and statistics are none of the initial ones."""
    layer = kind(**{**SETTINGS, **settings}, dtype=dtype)
    layer.build(X.shape)
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return layer


def step(layer, x, *, fused, training=True):
    """Calls a layer in a graph, and its gradients of a sum that weighs all values differently."""
    weights = tf.constant(np.random.default_rng(2).normal(size=x.shape))
    trained = layer.trainable_variables

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            total = tf.reduce_sum(tf.cast(y, tf.float64) * weights)
        return y, tape.gradient(total, [x, *[v.value for v in trained]])

    def concrete():
        return run.get_concrete_function(tf.TensorSpec(x.shape, x.dtype))

    if fused:
        with fused_batch_norm():
            graph = concrete()
    else:
        graph = concrete()
    kernels = {op.type for op in graph.graph.get_operations() if "FusedBatchNorm" in op.type}
    y, gradients = run(tf.constant(x))
    moving = [w.numpy() for w in (layer.moving_mean, layer.moving_variance)]
    arrays = [np.asarray(tf.cast(v, tf.float64)) for v in (y, *gradients)]
    return arrays, moving, kernels


KINDS = {
    "trained": (make, {}, True),
    "frozen": (make, {"trainable": False}, True),
    "statistics frozen": (lambda **s: make(FixedStatisticsBatchNormalization, **s), {}, True),
    "tested": (make, {}, False),
    "without scale": (make, {"scale": False}, True),
    "without shift": (make, {"center": False}, True),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", FLOAT32), ("mixed_bfloat16", BFLOAT16)]
)
def test_equals_keras_in_float64(name, policy, tolerance):
    """Outputs, gradients by the input, the scale and the shift, and the moving statistics."""
    maker, settings, training = KINDS[name]
    layer, exact = maker(dtype=policy, **settings), maker(dtype="float64", **settings)
    x = tf.cast(X, layer.compute_dtype)
    got, moving, kernels = step(layer, x.numpy(), fused=True, training=training)
    assert kernels >= {"FusedBatchNormV3"}
    assert "FusedBatchNormGradV3" in kernels
    expected, expected_moving, none = step(
        exact, np.asarray(tf.cast(x, tf.float64)), fused=False, training=training
    )
    assert not none
    assert len(got) == len(expected) == 2 + len(layer.trainable_variables)
    for value, truth in zip([*got, *moving], [*expected, *expected_moving], strict=True):
        scale = np.abs(truth).max()
        np.testing.assert_allclose(value / scale, truth / scale, atol=tolerance)


def test_equals_numpy():
    layer = make()
    gamma, beta, old_mean, old_variance = (w.numpy() for w in layer.weights)
    (y, *_), moving, _ = step(layer, X.astype(np.float32), fused=True)
    mean, variance = X.mean(axis=(0, 1, 2)), X.var(axis=(0, 1, 2))
    np.testing.assert_allclose(
        y, (X - mean) / np.sqrt(variance + EPSILON) * gamma + beta, atol=FLOAT32
    )
    for got, old, new in zip(moving, (old_mean, old_variance), (mean, variance), strict=True):
        np.testing.assert_allclose(got, old * MOMENTUM + new * (1 - MOMENTUM), rtol=FLOAT32)


def test_of_a_single_value_a_channel():
    """Its variance is 0, and not what n / (n - 1) would make of it."""
    layer = make()
    old = layer.moving_variance.numpy()
    x = X[:1, :1, :1].astype(np.float32)
    (y, *_), (_, variance), kernels = step(layer, x, fused=True)
    assert kernels
    np.testing.assert_allclose(variance, old * MOMENTUM, rtol=FLOAT32)
    np.testing.assert_allclose(y[0, 0, 0], layer.beta.numpy(), atol=FLOAT32)


WITHOUT_KERNEL = [
    ({"axis": 1}, X.shape),
    ({"synchronized": True}, X.shape),
    ({"renorm": True}, X.shape),
    ({"epsilon": 1e-7}, X.shape),
    ({}, (8, CHANNELS)),
    ({"dtype": "float64"}, X.shape),
]


@pytest.mark.parametrize(("settings", "shape"), WITHOUT_KERNEL)
def test_where_there_is_no_kernel_keras_computes(settings, shape):
    layer = keras.layers.BatchNormalization(**{**SETTINGS, **settings})
    layer.build(shape)

    @tf.function
    def run(x):
        return layer(x, training=True)

    with fused_batch_norm():
        graph = run.get_concrete_function(tf.TensorSpec(shape, layer.compute_dtype)).graph
    assert not [op for op in graph.get_operations() if "FusedBatchNorm" in op.type]


def test_a_mask_counts():
    """Rows that are masked are left out of the statistics."""
    layer = make()
    mask = np.zeros(X.shape[:3], bool)
    mask[:2] = True
    with fused_batch_norm():
        layer(X.astype(np.float32), training=True, mask=tf.constant(mask))
    expected = make().moving_mean.numpy() * MOMENTUM + X[:2].mean(axis=(0, 1, 2)) * (1 - MOMENTUM)
    np.testing.assert_allclose(layer.moving_mean.numpy(), expected, rtol=FLOAT32)


def test_keras_is_as_before_afterwards():
    before = keras.layers.BatchNormalization.call
    with fused_batch_norm():
        assert keras.layers.BatchNormalization.call is not before
    assert keras.layers.BatchNormalization.call is before
    layer = make()
    with pytest.raises(ValueError, match="incompatible"), fused_batch_norm():
        layer(np.zeros((2, 3, 3, CHANNELS + 1), np.float32), training=True)
    assert keras.layers.BatchNormalization.call is before
