"""Builds a network from its table (`config/architectures.py`)."""

from collections.abc import Sequence

import keras
import numpy as np

from transfer_keras.config import ARCHITECTURES, unit_kinds
from transfer_keras.networks.alexnet import MeanImage, add_convolution, add_dense
from transfer_keras.networks.residual import add_residual_block, add_stem
from transfer_keras.networks.transformer import add_encoder_block, add_patch_embedding

_HEAD_STDDEV = 0.02
_ADD = {
    unit_kinds.Conv: add_convolution,
    unit_kinds.Stem: add_stem,
    unit_kinds.ResidualBlock: add_residual_block,
    unit_kinds.PatchEmbedding: add_patch_embedding,
    unit_kinds.EncoderBlock: add_encoder_block,
}


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

    Example:
        >>> network = build("resnet18_small", image_size=64, classes=20)
        >>> network.output.shape
        (None, 20)
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
    outputs = build_units(table.units, pixels(inputs), classes)
    return keras.Model(inputs, outputs, name=name)


def build_units(
    units: Sequence[unit_kinds.UnitKind], x: keras.KerasTensor, classes: int
) -> keras.KerasTensor:
    """Puts the units of a table on a tensor, one after the other.

    Args:
        units: rows of a table, from the input up.
        x: (batch, side, side, channels), normalised pixels.
        classes: number of outputs of a `Head`, or of a `Dense` without `units`.
    """
    for unit in units:
        if isinstance(unit, unit_kinds.Dense):
            x = add_dense(unit, x, classes)
        elif isinstance(unit, unit_kinds.Head):
            x = keras.layers.Dense(
                classes,
                kernel_initializer=keras.initializers.TruncatedNormal(stddev=_HEAD_STDDEV),
                name=unit.name,
            )(x)
        else:
            x = _ADD[type(unit)](unit, x)
    return x
