"""BatchNormalization by TensorFlow's fused kernel, which Keras 3 does not use.

Keras computes it in pieces, and the gradient of each piece goes over the whole tensor once more.
"""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

# On a GPU the kernel takes no smaller epsilon (CUDNN_BN_MIN_EPSILON).
_LEAST_EPSILON = 1e-5
_DTYPES = (tf.float32, tf.bfloat16, tf.float16)


@contextlib.contextmanager
def fused_batch_norm() -> Iterator[None]:
    """Makes BatchNormalization compute by the fused kernel, where there is one for a layer.

    It is for the tracing of a `tf.function`, whose graph then holds the kernel. The layers stay as
    they are: their variables are updated as Keras updates them, and what is saved is Keras's own.
    Outputs and moving statistics equal those of Keras but for rounding. There is no kernel for
    channels that are not last, tensors that are not of rank 4, masks, renormalisation, statistics
    of all replicas and float64: there Keras computes.
    """
    layer_class = keras.layers.BatchNormalization
    by_keras = layer_class.call

    def call(layer, inputs, training=None, mask=None):
        if mask is not None or not _has_kernel(layer, inputs):
            return by_keras(layer, inputs, training=training, mask=mask)
        return _normalise(layer, inputs, training=bool(training and layer.trainable))

    layer_class.call = call
    try:
        yield
    finally:
        layer_class.call = by_keras


def _has_kernel(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> bool:
    return (
        len(inputs.shape) == 4
        and layer.axis in (-1, 3)
        and inputs.dtype in _DTYPES
        and layer.epsilon >= _LEAST_EPSILON
        and not (layer.synchronized or layer.renorm)
    )


def _normalise(
    layer: keras.layers.BatchNormalization, inputs: tf.Tensor, *, training: bool
) -> tf.Tensor:
    """Does what `BatchNormalization.call` does; `training`: with the statistics of the batch."""
    channels = inputs.shape[-1]
    scale = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones(channels)
    offset = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros(channels)
    moving = [tf.convert_to_tensor(v) for v in (layer.moving_mean, layer.moving_variance)]
    result = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=scale,
        offset=offset,
        mean=[] if training else moving[0],
        variance=[] if training else moving[1],
        epsilon=layer.epsilon,
        is_training=training,
    )
    if training:
        # The kernel gives the variance of a sample, Keras takes that of the batch itself.
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        variance = result.batch_variance * (tf.maximum(count - 1, 1) / count)
        for variable, old, new in (
            (layer.moving_mean, moving[0], result.batch_mean),
            (layer.moving_variance, moving[1], variance),
        ):
            variable.assign(old * layer.momentum + new * (1.0 - layer.momentum))
    return tf.cast(result.y, layer.compute_dtype)
