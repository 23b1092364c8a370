"""Builds a network from its table (`config/architectures.py`)."""

import base64
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import ARCHITECTURES, Conv, Dense


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


def build(
    name: str,
    *,
    image_size: int,
    classes: int,
    mean: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
    variance: Sequence[float] = (1.0, 1.0, 1.0),
) -> keras.Model:
    """Builds a network with initial weights from Keras's global random state.

    Args:
        name: a key of `config.ARCHITECTURES`.
        image_size: side of the square input, in pixels.
        classes: number of outputs.
        mean, variance: per channel, of pixel values in 0..255; or a mean image (image_size,
            image_size, 3), and then no variance. The network takes raw pixels and normalises them
            itself, so that the lower units carry the statistics of the task that they were
            trained on, as the paper's networks did.

    Returns:
        An uncompiled functional model: float32 (batch, image_size, image_size, 3) of pixel
        values in 0..255 -> logits, float32 (batch, classes).

    Raises:
        ValueError: if the name is not known or the image is too small for the network.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"Expected one of {sorted(ARCHITECTURES)}. Received: {name!r}")
    table = ARCHITECTURES[name]
    if table.side(image_size) < 1:
        raise ValueError(
            f"{name} needs images of at least {table.smallest_image} pixels. "
            f"Received: image_size={image_size}"
        )
    if not table.standardise:
        variance = [1.0] * len(variance)
    inputs = keras.Input((image_size, image_size, 3), name="image")
    if np.ndim(mean) == 3:
        pixels = MeanImage(mean, name="pixels")
    else:
        pixels = keras.layers.Normalization(
            mean=[float(m) for m in mean], variance=[float(v) for v in variance], name="pixels"
        )
    x = pixels(inputs)
    for unit in table.units:
        x = _conv(unit, x) if isinstance(unit, Conv) else _dense(unit, x, classes)
    return keras.Model(inputs, x, name=name)


def _conv(unit: Conv, x):
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


def _dense(unit: Dense, x, classes: int):
    if len(x.shape) > 2:
        x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(unit.units or classes, name=unit.name, **_initializers(unit))(x)
    if unit.units is None:
        return x
    x = keras.layers.ReLU(name=f"{unit.name}_relu")(x)
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
