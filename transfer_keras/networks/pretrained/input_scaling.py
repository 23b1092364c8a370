"""What a donor takes of a picture, and whether it scales pixel values itself."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from transfer_keras import surgery
from transfer_keras.config import UserError, choices

_SCALES = dict(zip(choices.PIXELS, ((1.0, 0.0), (1 / 255, 0.0), (1 / 127.5, -1.0)), strict=True))
_NORMALISING = (
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.BatchNormalization,
)
_LEVELS = (0.0, 127.5, 255.0)  # A black, a grey and a white picture.
_HIGHEST = 10.0  # Inputs of a kernel beyond it were not scaled,
_CENTRE = 50.0  # unless their mean was taken off, as the networks of Caffe have it;
_NARROWEST = 0.1  # what differs less between black and white was scaled twice,
_MIDDLE = (0.05, 0.95)  # and where grey is as good as black or white, something saturates.


class Affine(NamedTuple):
    """What brings pixel values in 0..255 to those that a network takes.

    Attributes:
        scale, offset: of each channel of the result, or of all.
        flipped: whether colours come as BGR.
    """

    scale: float | list[float]
    offset: float | list[float]
    flipped: bool = False


class Scaling(NamedTuple):
    """What the first kernels of a network get of pictures in 0..255.

    Attributes:
        low, high: the range of all their inputs.
        scaled: whether each of these inputs is in a range that networks are trained with.
        by: the names of what scales.
    """

    low: float
    high: float
    scaled: bool
    by: str


def measure_scaling(model: keras.Model) -> Scaling:
    """Measures what the layers below the first kernels make of three pictures.

    Args:
        model: flat, of one input (batch, side, side, 3) of pixel values in 0..255.
    """
    tensors, operations = _below_kernels(model)
    pictures = np.float32(_LEVELS)[:, None, None, None] * np.ones(model.input_shape[1:], np.float32)
    outputs = keras.Model(model.input, tensors)(pictures, training=False)
    values = [np.float32(keras.ops.convert_to_numpy(x)) for x in keras.tree.flatten(outputs)]
    names = [x.name for x in operations if isinstance(x, _NORMALISING)]
    return Scaling(
        low=float(min(map(np.min, values))),
        high=float(max(map(np.max, values))),
        scaled=all(map(_is_scaled, values)),
        by=", ".join(names or [x.name for x in operations]),
    )


def _below_kernels(model: keras.Model) -> tuple[list, list]:
    """Gives the inputs of the first layers that have a kernel, and the operations below these."""
    below = {id(tensor) for tensor in model.inputs}
    tensors, operations = {}, []
    for node in surgery.nodes(model):
        plain = [tensor for tensor in node.input_tensors if id(tensor) in below]
        if isinstance(node.operation, keras.Layer) and surgery.has_kernel(node.operation):
            tensors |= {id(tensor): tensor for tensor in plain}
        elif len(plain) == len(node.input_tensors):
            below |= {id(tensor) for tensor in node.output_tensors}
            operations.append(node.operation)
    return list(tensors.values()), operations


def _is_scaled(values: np.ndarray) -> bool:
    """Tells whether values (3, …) are what scaling makes of the three pictures."""
    black, grey, white = values.reshape(len(_LEVELS), -1).mean(axis=1)
    span = white - black
    highest = np.abs(values).max()
    centred = black <= -_CENTRE and white >= _CENTRE and highest <= _LEVELS[-1]
    if not (highest <= _HIGHEST or centred) or not abs(span) >= _NARROWEST:  # NaN is nothing.
        return False
    return _MIDDLE[0] <= (grey - black) / span <= _MIDDLE[1]


def leaves_pixels(scaling: str | Affine) -> bool:
    """Tells whether a scaling leaves pixel values in 0..255 as they are."""
    scale, offset, flipped = _affine(scaling)
    return not flipped and np.all(np.equal(scale, 1)) and not np.any(offset)


def _affine(scaling: str | Affine) -> Affine:
    if isinstance(scaling, Affine):
        return scaling
    return Affine(*_SCALES[scaling]) if scaling in _SCALES else _scaling_of_application(scaling)


def scale_pixels(
    x: keras.KerasTensor, scaling: str | Affine, channels: int, dtype: str
) -> keras.KerasTensor:
    """Brings pixel values in 0..255 to what a donor takes.

    Args:
        x: float32 (batch, side, side, 3).
        scaling: one of `choices.PIXELS`, the name of a module of keras.applications, or what it
            does itself.
        channels, dtype: of what the donor takes; of 1 channel, greys.

    Raises:
        UserError: if there is no such scaling, or the donor cannot take it.
    """
    scale, offset, flipped = _affine(scaling)
    if channels == 1:
        if flipped or np.ndim(scale):
            raise UserError(f"--donor_pixels={scaling}: is for colours; the donor takes greys.")
        x = keras.ops.image.rgb_to_grayscale(x)
    if flipped:
        x = keras.ops.flip(x, axis=-1)
    if not leaves_pixels(scaling):
        if not keras.backend.is_float_dtype(dtype):
            raise UserError(
                f"--donor_pixels={scaling}: the donor takes whole numbers ({dtype}), so 0..255."
            )
        x = keras.layers.Rescaling(scale, offset, name="pixels")(x)
    return x if x.dtype == dtype else keras.ops.cast(x, dtype)


def _scaling_of_application(name: str) -> Affine:
    """Finds what the preprocessing of a module of keras.applications does."""
    preprocess = getattr(getattr(keras.applications, name, None), "preprocess_input", None)
    if not preprocess:
        raise UserError(
            f"--donor_pixels={name}: expected {', '.join(choices.PIXELS)}, or a module of "
            "keras.applications, as mobilenet_v2."
        )
    return measure_preprocessing(preprocess, side=1)


def measure_preprocessing(preprocess: Callable, side: int) -> Affine:
    """Finds what a function does to pixel values, by calling it on pictures of one colour.

    Args:
        preprocess: affine, from float32 (4, side, side, 3) in 0..255 to an array of that shape.
        side: in pixels.
    """
    colours = 255 * np.concatenate([np.zeros((1, 3)), np.eye(3)])
    pictures = np.float32(colours[:, None, None] * np.ones((1, side, side, 1)))
    black, *colours = keras.ops.convert_to_numpy(preprocess(pictures))
    matrix = np.stack([(colour - black)[0, 0] / 255 for colour in colours])
    flipped = not matrix[0, 0]
    scale = np.diag(matrix[:, ::-1] if flipped else matrix)
    return Affine(scale.tolist(), black[0, 0].tolist(), flipped)
