"""Builds the units of AlexNet; owns its layers, which saved files name by this module."""

import base64

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import Conv, Dense


@keras.saving.register_keras_serializable(package="transfer_keras")
class LocalResponseNorm(keras.layers.Layer):
    """Local response normalisation across channels, as Caffe computes it.

    `y = x / (k + alpha / size * sum of x^2 over `size` neighbouring channels) ^ beta`
    (Krizhevsky et al. 2012, section 3.3). TensorFlow's operation does not divide by `size`.

    Args:
        size: number of channels in the window, odd.
        alpha, beta, k: the constants of the formula.

    Call: float tensor (batch, height, width, channels) -> the same shape and dtype.
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=1.0, **kwargs):
        super().__init__(**kwargs)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def call(self, inputs):
        return tf.nn.local_response_normalization(
            inputs,
            depth_radius=self.size // 2,
            bias=self.k,
            alpha=self.alpha / self.size,
            beta=self.beta,
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        constants = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return {**super().get_config(), **constants}


@keras.saving.register_keras_serializable(package="transfer_keras")
class GroupedConv2D(keras.layers.Conv2D):
    """`Conv2D(groups=g)` with the same weights, as g convolutions side by side.

    Keras compiles `groups > 1` with XLA, which trains the paper's network three times slower
    on a CPU. Channels last only.
    """

    def convolution_op(self, inputs, kernel):
        parts = zip(
            keras.ops.split(inputs, self.groups, axis=-1),
            keras.ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        convolve = super().convolution_op
        return keras.ops.concatenate([convolve(x, k) for x, k in parts], axis=-1)


@keras.saving.register_keras_serializable(package="transfer_keras")
class MeanImage(keras.layers.Layer):
    """Takes a mean image off, as Caffe does.

    Args:
        mean: float32 (height, width, channels), or what `get_config` makes of it.

    Call: (batch, height, width, channels) -> float32 of the same shape.
    """

    def __init__(self, mean, **kwargs):
        super().__init__(**kwargs)
        if isinstance(mean, dict):
            pixels = np.frombuffer(base64.b64decode(mean["float32"]), "<f4")
            mean = pixels.reshape(mean["shape"])
        self.mean = np.asarray(mean, np.float32)

    def call(self, inputs):
        return keras.ops.cast(inputs, "float32") - self.mean

    def get_config(self):
        packed = base64.b64encode(self.mean.astype("<f4").tobytes()).decode()
        mean = {"shape": list(self.mean.shape), "float32": packed}
        return {**super().get_config(), "mean": mean}


def add_convolution(unit: Conv, x: keras.KerasTensor) -> keras.KerasTensor:
    """Adds a convolution with what follows it.

    Args:
        unit: what it is.
        x: (batch, side, side, channels).

    Returns:
        (batch, side, side, filters), of the side that `unit.side_after` gives.
    """
    convolution = GroupedConv2D if unit.groups > 1 else keras.layers.Conv2D
    x = convolution(
        unit.filters,
        unit.kernel,
        strides=unit.stride,
        padding=unit.padding,
        groups=unit.groups,
        name=unit.name,
        **_initializers(unit),
    )(x)
    x = keras.layers.ReLU(name=f"{unit.name}_relu")(x)
    if unit.pool:
        x = keras.layers.MaxPooling2D(3, 2, name=f"{unit.name}_pool")(x)
    if unit.norm:
        x = LocalResponseNorm(name=f"{unit.name}_norm")(x)
    return x


def add_dense(unit: Dense, x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Adds a dense layer with what follows it.

    Args:
        unit: what it is.
        x: (batch, ...), of which each value is an input.
        classes: number of outputs where the unit has no number of its own.

    Returns:
        (batch, outputs).
    """
    if len(x.shape) > 2:
        x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(unit.units or classes, name=unit.name, **_initializers(unit))(x)
    if unit.units is None:
        return x
    x = keras.layers.ReLU(name=f"{unit.name}_relu")(x)
    if not unit.dropout:
        return x
    return keras.layers.Dropout(unit.dropout, name=f"{unit.name}_dropout")(x)


def _initializers(unit):
    kernel = (
        keras.initializers.HeNormal()
        if unit.stddev is None
        else keras.initializers.RandomNormal(stddev=unit.stddev)
    )
    return {
        "kernel_initializer": kernel,
        "bias_initializer": keras.initializers.Constant(unit.bias),
    }
