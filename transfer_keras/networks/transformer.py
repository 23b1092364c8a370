"""Builds the units of vision transformers: Dosovitskiy et al. (2021), "An Image is Worth 16x16
Words".

All layers are Keras's own, so that a saved network opens without this package. Kernels and
positions begin as a normal distribution of deviation .02, cut off at twice that; biases and class
token at 0; the patches' kernel as `LecunNormal` draws it.
"""

import keras

from transfer_keras.config import unit_kinds

_STDDEV = 0.02
_EPSILON = 1e-6  # Of LayerNorm.


def add_patch_embedding(unit: unit_kinds.PatchEmbedding, x: keras.KerasTensor) -> keras.KerasTensor:
    """Adds the embedding of patches, a class token before them, and positions.

    Args:
        unit: what it is.
        x: (batch, side, side, channels).

    Returns:
        (batch, 1 + patches, width), the class token first.
    """
    x = keras.layers.Conv2D(
        unit.width,
        unit.patch,
        strides=unit.patch,
        kernel_initializer=keras.initializers.LecunNormal(),
        name=unit.name,
    )(x)
    patches = x.shape[1] * x.shape[2]
    x = keras.layers.Reshape((patches, unit.width), name=f"{unit.name}_row")(x)
    # Keras has no layer that holds a tensor and takes nothing: a table is looked up instead, at
    # places that follow from the shape of `x` alone.
    zero = keras.ops.zeros_like(x[:, :1, 0], dtype="int32")
    token = keras.layers.Embedding(
        1, unit.width, embeddings_initializer="zeros", name=f"{unit.name}_class"
    )(zero)
    x = keras.layers.Concatenate(axis=1, name=f"{unit.name}_tokens")([token, x])
    # The first picture's places serve all.
    ones = keras.ops.ones_like(x[:1, :, 0], dtype="int32")
    positions = keras.layers.Embedding(
        1 + patches, unit.width, embeddings_initializer=_normal(), name=f"{unit.name}_positions"
    )(keras.ops.cumsum(ones, axis=1) - 1)
    return keras.layers.Add(name=f"{unit.name}_add")([x, positions])


def add_encoder_block(unit: unit_kinds.EncoderBlock, x: keras.KerasTensor) -> keras.KerasTensor:
    """Adds an encoder block: attention, then an MLP.

    Args:
        unit: what it is.
        x: (batch, tokens, width).

    Returns:
        (batch, tokens, width); with `unit.last` the class token alone, (batch, width).
    """
    name = unit.name
    y = _normalise(x, f"{name}_norm1")
    y = keras.layers.MultiHeadAttention(
        unit.heads,
        unit.width // unit.heads,
        kernel_initializer=_normal(),
        name=f"{name}_attention",
    )(y, y)
    y = _drop(y, unit, f"{name}_dropout1")
    x = keras.layers.Add(name=f"{name}_add1")([x, y])

    y = _normalise(x, f"{name}_norm2")
    y = keras.layers.Dense(unit.mlp, kernel_initializer=_normal(), name=f"{name}_mlp1")(y)
    y = keras.layers.Activation("gelu", name=f"{name}_gelu")(y)
    y = _drop(y, unit, f"{name}_dropout2")
    y = keras.layers.Dense(unit.width, kernel_initializer=_normal(), name=f"{name}_mlp2")(y)
    y = _drop(y, unit, f"{name}_dropout3")
    x = keras.layers.Add(name=f"{name}_add2")([x, y])
    if unit.last:
        x = _normalise(x, f"{name}_norm3")
        x = keras.layers.Cropping1D((0, x.shape[1] - 1), name=f"{name}_class")(x)
        x = keras.layers.Flatten(name=f"{name}_vector")(x)
    return x


def _normal() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=_STDDEV)


def _normalise(x, name: str):
    return keras.layers.LayerNormalization(epsilon=_EPSILON, name=name)(x)


def _drop(x, unit: unit_kinds.EncoderBlock, name: str):
    return keras.layers.Dropout(unit.dropout, name=name)(x) if unit.dropout else x
