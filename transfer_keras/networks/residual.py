"""Builds the units of residual networks: He et al. (2016), "Deep Residual Learning for Image
Recognition".

Convolutions have no bias, since BatchNorm follows each. Kernels begin as He et al. (2015), "Delving
Deep into Rectifiers", draw them, and all scales of BatchNorm at 1.
"""

import keras

from transfer_keras.config import unit_kinds

# The constants of the paper's program, as `keras.applications.ResNet50` has the second too.
_MOMENTUM, _EPSILON = 0.9, 1e-5


def add_stem(unit: unit_kinds.Stem, x: keras.KerasTensor) -> keras.KerasTensor:
    """Adds the first layers.

    Args:
        unit: what they are.
        x: (batch, side, side, channels).

    Returns:
        (batch, side, side, filters), of the side that `unit.side_after` gives.
    """
    x = _convolve(x, unit.filters, unit.kernel, unit.stride, f"{unit.name}_conv")
    x = _normalise(x, f"{unit.name}_norm")
    x = keras.layers.ReLU(name=f"{unit.name}_relu")(x)
    if unit.pool:
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"{unit.name}_pool")(x)
    return x


def add_residual_block(unit: unit_kinds.ResidualBlock, x: keras.KerasTensor) -> keras.KerasTensor:
    """Adds a block of two convolutions.

    Args:
        unit: what it is.
        x: (batch, side, side, channels).

    Returns:
        (batch, side, side, filters), of the side that `unit.side_after` gives; with
        `unit.average` (batch, filters).
    """
    shortcut = x
    if unit.projects(x.shape[-1]):
        shortcut = _convolve(x, unit.filters, 1, unit.stride, f"{unit.name}_shortcut")
        shortcut = _normalise(shortcut, f"{unit.name}_shortcut_norm")
    x = _convolve(x, unit.filters, 3, unit.stride, f"{unit.name}_conv1")
    x = _normalise(x, f"{unit.name}_norm1")
    x = keras.layers.ReLU(name=f"{unit.name}_relu1")(x)
    x = _convolve(x, unit.filters, 3, 1, f"{unit.name}_conv2")
    x = _normalise(x, f"{unit.name}_norm2")
    x = keras.layers.Add(name=f"{unit.name}_add")([x, shortcut])
    x = keras.layers.ReLU(name=f"{unit.name}_relu2")(x)
    if unit.average:
        x = keras.layers.GlobalAveragePooling2D(name=f"{unit.name}_average")(x)
    return x


def _convolve(x, filters: int, kernel: int, stride: int, name: str):
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(),
        name=name,
    )(x)


def _normalise(x, name: str):
    return keras.layers.BatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, name=name)(x)
