"""Makes a network again for images with another number of channels."""

import numbers
from typing import Literal

import keras
import numpy as np

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.changed_copy import copy_changed
from transfer_keras.surgery.input_shape import channel_axis

Extra = Literal["repeat", "zero"]

_LAYERS = keras.layers
_CONVOLUTIONS = (_LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D, _LAYERS.Dense)
# These do the same to each channel, whatever their number.
_SAME_FOR_EACH = (
    _LAYERS.Identity,
    _LAYERS.Activation,
    _LAYERS.ReLU,
    _LAYERS.Dropout,
    _LAYERS.GaussianNoise,
    _LAYERS.Resizing,
    _LAYERS.CenterCrop,
    _LAYERS.RandomCrop,
    _LAYERS.RandomFlip,
    _LAYERS.RandomRotation,
    _LAYERS.RandomTranslation,
    _LAYERS.RandomZoom,
    *(getattr(_LAYERS, f"ZeroPadding{rank}D") for rank in (1, 2, 3)),
    *(getattr(_LAYERS, f"Cropping{rank}D") for rank in (1, 2, 3)),
    *(getattr(_LAYERS, f"MaxPooling{rank}D") for rank in (1, 2, 3)),
    *(getattr(_LAYERS, f"AveragePooling{rank}D") for rank in (1, 2, 3)),
)
# These may have a number of their own for each channel.
_OWN_FOR_EACH = (_LAYERS.Rescaling, _LAYERS.Normalization, _LAYERS.BatchNormalization)
_OPERATIONS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Power", "Cast")


def with_channels(model: keras.Model, channels: int, *, extra: Extra = "repeat") -> keras.Model:
    """Copies a network for images with another number of channels, such as grey ones.

    Only the kernels of the first convolutions change, those that take the images:

    - One channel: a kernel is the sum over the old channels. So the new network gives for a grey
      picture what the old one gives for the picture repeated in each channel.
    - Otherwise the old channels of a kernel are repeated in turn, and multiplied by old/new (the
      rule of the package timm). So the sums that a convolution makes stay as large; and a picture
      whose channels are repeated just as often, as 3 to 6, gives what the old network gives.
    - `extra="zero"`: the old channels stay as they are, and further ones begin with zero. So the
      outputs are those of the old network, whatever the further channels hold.

    Preprocessing with numbers of its own for each channel, such as the means of `Normalization`,
    repeats them in turn too. For one channel that is right only if they are all equal.

    Args:
        model: a functional model or a built `Sequential` of one input; it is not changed.
        channels: number of channels that the new network takes.
        extra: "repeat" or "zero": what further channels begin with.

    Returns:
        An uncompiled model that shares nothing with the given one.

    Raises:
        ShapeMismatch: if a layer between the input and the first convolutions does something to
            the channels that is not known, or the weights of another layer depend on their number;
            the message names the layer.
        NotRebuildable: if a layer cannot be made again from its config.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((16, 16, 3)),
        ...     keras.layers.Conv2D(4, 3, name="one"),
        ...     keras.layers.GlobalAveragePooling2D(),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> grey = surgery.with_channels(network, 1)
        >>> grey.input.shape, tuple(grey.get_layer("one").kernel.shape)
        ((None, 16, 16, 1), (3, 3, 1, 4))
        >>> picture = np.random.default_rng(0).normal(size=(1, 16, 16, 1))
        >>> expected = network.predict(np.repeat(picture, 3, axis=-1), verbose=0)
        >>> np.allclose(grey.predict(picture, verbose=0), expected, atol=1e-5)
        True
    """
    given, model = model, graph.functional(model)
    axis = channel_axis(model)
    old, inputs = _new_input(model, channels, axis)
    if extra not in ("repeat", "zero"):
        raise ValueError(f"extra must be 'repeat' or 'zero'. Received: {extra!r}")
    readers, before = _first_layers(model)
    _check_readers(model, readers)

    def make(operation):
        changes = {}
        if id(operation) in before and isinstance(operation, _OWN_FOR_EACH):
            changes = _config_by_channel(operation, old, channels, axis)
        return fresh.renamed(operation, operation.name, **changes)

    def adapt(layer, weight, new):
        value = keras.ops.convert_to_numpy(weight)
        if channels == old:
            return None
        changed = (*value.shape[:-2], channels, *value.shape[-1:])
        if id(layer) in readers and new.shape == changed:
            return _kernel(value, channels, extra)
        if id(layer) in before and (value.shape, new.shape) == ((old,), (channels,)):
            return _by_channel(layer, value, channels)
        return None

    def advice(_):
        return f"So '{model.name}' cannot be given {channels} channels in place of {old}."

    return copy_changed(given, make, advice=advice, inputs=inputs, adapt=adapt)


def _new_input(model: keras.Model, channels: int, axis: int) -> tuple[int, list]:
    """Gives the number of channels that a network takes, and an input with another number."""
    whole = isinstance(channels, numbers.Integral) and not isinstance(channels, bool)
    if not whole or channels < 1:
        raise ValueError(f"channels: expected a whole number, 1 or more. Received: {channels!r}")
    shape = list(model.inputs[0].shape)
    if len(model.inputs) > 1 or not 3 <= len(shape) <= 5 or shape[axis] is None:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise errors.ShapeMismatch(
            f"channels: expected a network of one input of rank 3 to 5 and a known number of "
            f"channels. '{model.name}' takes {shapes}."
        )
    old, shape[axis] = shape[axis], int(channels)
    tensor = model.inputs[0]
    return old, [keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name)]


def _first_layers(model: keras.Model) -> tuple[dict[int, keras.Layer], set[int]]:
    """Finds the layers that take the channels of the images, and what comes before them.

    Returns:
        Identity of a layer -> the layer, for the first that have a kernel; and the identities of
        the layers and operations before them, which do the same to each channel.
    """
    carrying = {id(tensor) for tensor in model.inputs}
    readers, before = {}, set()
    for node in graph.nodes(model):
        operation = node.operation
        if not any(id(tensor) in carrying for tensor in node.input_tensors):
            continue
        if _is_by_channel(node):
            before.add(id(operation))
            carrying |= {id(tensor) for tensor in node.output_tensors}
        elif isinstance(operation, keras.Layer) and not isinstance(operation, keras.Model):
            readers[id(operation)] = operation
        else:
            advice = " Open it with `flatten`." if isinstance(operation, keras.Model) else ""
            raise errors.ShapeMismatch(
                f"'{operation.name}' ({type(operation).__name__}) of '{model.name}' comes before "
                f"the first convolution, and what it does to the channels is not known.{advice}"
            )
    return readers, before


def _is_by_channel(node) -> bool:
    """Tells whether a call treats each channel by itself, whatever their number."""
    operation = node.operation
    if isinstance(operation, keras.Layer):
        return isinstance(operation, (*_SAME_FOR_EACH, *_OWN_FOR_EACH))
    values = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    numbers_only = all(isinstance(x, keras.KerasTensor) or np.ndim(x) == 0 for x in values)
    return type(operation).__name__ in _OPERATIONS and len(node.input_tensors) == 1 and numbers_only


def _check_readers(model: keras.Model, readers: dict[int, keras.Layer]) -> None:
    """Checks that the layers that take the channels are convolutions, or hold one."""
    for layer in readers.values():
        inside = [x for x in graph.flat_layers(layer) if isinstance(x, _CONVOLUTIONS)]
        if not inside or getattr(layer, "groups", 1) != 1:
            raise errors.ShapeMismatch(
                f"'{layer.name}' ({type(layer).__name__}) is the first that takes the channels of "
                f"'{model.name}'. Expected a convolution, or a dense layer, without groups."
            )


def _kernel(kernel: np.ndarray, channels: int, extra: str) -> np.ndarray:
    """Changes the number of input channels of a kernel, on its last axis but one."""
    old = kernel.shape[-2]
    if channels == 1:
        return kernel.sum(axis=-2, keepdims=True)
    if extra == "zero" and channels > old:
        zeros = np.zeros((*kernel.shape[:-2], channels - old, kernel.shape[-1]), kernel.dtype)
        return np.concatenate([kernel, zeros], axis=-2)
    return np.take(kernel, np.arange(channels) % old, axis=-2) * (old / channels)


def _by_channel(layer: keras.Layer, values: np.ndarray, channels: int) -> np.ndarray:
    """Repeats the numbers of the channels in turn; one channel needs equal ones."""
    if channels == 1 and np.unique(values).size > 1:
        raise errors.ShapeMismatch(
            f"'{layer.name}' ({type(layer).__name__}) has other numbers for each channel, "
            f"{np.round(values, 4).tolist()}, so no single one is right for one channel. Repeat "
            f"the grey pictures {len(values)} times instead, for the network as it is."
        )
    return np.take(values, np.arange(channels) % len(values))


def _config_by_channel(layer: keras.Layer, old: int, channels: int, axis: int) -> dict:
    """Gives the entries of a layer's config that have a number for each channel."""
    if isinstance(layer, _LAYERS.Normalization):
        given = {"mean": layer.input_mean, "variance": layer.input_variance}
        given = given if layer.mean.shape[axis] == old else {}
    elif isinstance(layer, _LAYERS.Rescaling):
        given = {"scale": layer.scale, "offset": layer.offset}
    else:
        given = {}
    # A single number, or a list of one, is for all channels.
    given = {key: np.ravel(value) for key, value in given.items() if value is not None}
    return {
        key: _by_channel(layer, value, channels).tolist()
        for key, value in given.items()
        if value.size == old > 1
    }
