"""Makes a network again for images of another size, with the weights that it has."""

import difflib
import itertools
import numbers
from collections.abc import Collection

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery import positions as learned
from transfer_keras.surgery.changed_copy import copy_changed
from transfer_keras.surgery.units import units


def with_input(
    model: keras.Model, *, image_size: int | tuple[int, int], positions: Collection[str] = ()
) -> keras.Model:
    """Copies a network for images of another size.

    Weights are copied, so none may depend on the size. Convolutions, pooling over the whole image
    and attention do not depend on it; a `Dense` on a `Flatten` does. `Resizing` and other
    preprocessing layers at the start stay as they are.

    Learned positions of a vision transformer are interpolated as its authors do (Dosovitskiy et
    al. 2020, arXiv:2010.11929, section 3.2): vectors of class tokens are kept, those of the
    patches are interpolated bilinearly with the corners aligned. A weight is taken for positions
    if the network has one input, the weight's name says so ("pos_embed", "position_embedding"),
    and it has one vector for each patch and up to two class tokens; others can be named.

    Args:
        model: a functional model or a built `Sequential`; it is not changed. All its inputs of
            rank 4 get the new size, other inputs stay.
        image_size: height and width in pixels, or one number for both.
        positions: "layer/weight" of further weights that hold one learned vector a patch.

    Returns:
        An uncompiled model that shares nothing with the given one.

    Raises:
        ShapeMismatch: if a layer cannot take the new size, or its weights depend on the size, or a
            padding was chosen for maps that are even (or odd) and would not be; the message names
            the first such layer.
        NotRebuildable: if a layer cannot be made again from its config.
        UnknownLayer: if `positions` names a weight that the network does not have.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((32, 32, 3)),
        ...     keras.layers.Conv2D(4, 3, name="one"),
        ...     keras.layers.GlobalAveragePooling2D(),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> larger = surgery.with_input(network, image_size=(48, 64))
        >>> larger.input.shape, larger.get_layer("one").output.shape
        ((None, 48, 64, 3), (None, 46, 62, 4))
    """
    given, model = model, graph.functional(model)
    new = _checked_size(image_size)
    old, inputs = _resized_inputs(model, new)
    grids = _find_grids(model, positions, old, new)

    def make(operation):
        changes = {}
        weights = operation.weights if isinstance(operation, keras.Layer) else ()
        for weight in weights:
            if id(weight) in grids:
                changes = learned.changed_config(operation, grids[id(weight)][0], old, new)
        return fresh.renamed(operation, operation.name, **changes)

    def adapt(layer, before, after):
        if id(before) not in grids:
            return None
        grid, is_named = grids[id(before)]
        expected = (*before.shape[:-2], grid.new_count, before.shape[-1])
        if tuple(after.shape) == expected:
            return learned.interpolated(before, grid)
        if is_named:
            raise errors.ShapeMismatch(
                f"positions: {before.name} of '{layer.name}' came out with shape "
                f"{tuple(after.shape)} for {grid.new[0]} x {grid.new[1]} patches. Expected: "
                f"{expected}. The layer's config tells the number of patches by a name that is "
                "not known, such as num_patches or image_size."
            )
        return None

    paddings = _paddings_by_parity(model)
    checked: dict[int, tuple] = {}

    def make_noted(operation):
        made = make(operation)
        if id(operation) in paddings:
            checked[id(made)] = paddings[id(operation)]
        return made

    def call(layer, *args, **kwargs):
        if id(layer) in checked:
            _check_parity(layer, checked[id(layer)], args[0])
        return layer(*args, **kwargs)

    def advice(layer):
        return _advice(model, layer, old, new)

    return copy_changed(given, make_noted, advice=advice, call=call, inputs=inputs, adapt=adapt)


def _paddings_by_parity(model: keras.Model) -> dict[int, tuple]:
    """Finds paddings that were chosen by whether a map has an even or an odd size.

    Networks such as MobileNetV2 and EfficientNet pad an even map by one less on one side, before a
    convolution that takes every second place. A network of which all paddings are symmetric has
    none of them.

    Returns:
        Identity of a `ZeroPadding2D` -> the size of its input: (rows, columns).
    """
    halving = {
        id(node.input_tensors[0])
        for node in graph.nodes(model)
        if getattr(node.operation, "strides", 1) not in (1, (1, 1))
    }
    padded = [
        node
        for node in graph.nodes(model)
        if type(node.operation) is keras.layers.ZeroPadding2D
        and id(node.output_tensors[0]) in halving
    ]
    if all(before == after for node in padded for before, after in node.operation.padding):
        return {}
    return {id(node.operation): _map_size(node.operation, node.input_tensors[0]) for node in padded}


def _map_size(layer: keras.Layer, tensor) -> tuple:
    """Gives the rows and columns of what a layer takes."""
    rows = 2 if layer.data_format == "channels_first" else 1
    return tuple(tensor.shape[rows : rows + 2])


def _check_parity(layer: keras.Layer, old: tuple, tensor) -> None:
    """Refuses a map that is odd where the padding was chosen for an even one, or reversed."""
    new = _map_size(layer, tensor)
    if any(None not in pair and pair[0] % 2 != pair[1] % 2 for pair in zip(old, new, strict=True)):
        raise errors.ShapeMismatch(
            f"'{layer.name}' (ZeroPadding2D) was chosen for maps of {old[0]} x {old[1]}, and would "
            f"pad {new[0]} x {new[1]} by one pixel too few or too many on a side. Give an image "
            "size that can be halved as often, such as a multiple of 32."
        )


def channel_axis(model: keras.Model) -> int:
    """Finds the axis of the channels of the images that a network takes: 1 or -1."""
    formats = {getattr(layer, "data_format", None) for layer in graph.flat_layers(model)} - {None}
    if not formats:
        formats = {keras.config.image_data_format()}
    return 1 if formats == {"channels_first"} else -1


def _checked_size(image_size) -> tuple[int, int]:
    """Gives the size as (height, width)."""
    pair = image_size if isinstance(image_size, list | tuple) else (image_size, image_size)
    whole = [isinstance(x, numbers.Integral) and not isinstance(x, bool) and x > 0 for x in pair]
    if len(pair) != 2 or not all(whole):
        raise errors.ShapeMismatch(
            "image_size: expected a positive whole number, or two as (height, width). Received: "
            f"{image_size!r}"
        )
    return int(pair[0]), int(pair[1])


def _resized_inputs(model: keras.Model, new: tuple[int, int]) -> tuple[tuple, list]:
    """Gives the size of the images that a network takes, and inputs with the new size."""
    rows = 2 if channel_axis(model) == 1 else 1
    images = [tensor for tensor in model.inputs if len(tensor.shape) == 4]
    sizes = {tuple(tensor.shape[rows : rows + 2]) for tensor in images}
    if len(sizes) != 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise errors.ShapeMismatch(
            f"image_size: expected a network that takes images of one size, as tensors of rank 4. "
            f"'{model.name}' takes {shapes}."
        )
    inputs = []
    for tensor in model.inputs:
        shape = list(tensor.shape)
        if len(shape) == 4:
            shape[rows : rows + 2] = new
        inputs.append(keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name))
    return sizes.pop(), inputs


def _find_grids(model: keras.Model, names: Collection[str], old, new) -> dict[int, tuple]:
    """Finds the weights that hold learned positions.

    Returns:
        Identity of the weight -> its grid, and whether the weight was named.
    """
    if isinstance(names, str):
        raise errors.UnknownLayer(f"positions: expected a list of names. Received: {names!r}")
    weights = [(layer, weight) for layer in model.layers for weight in layer.weights]
    grids, known = {}, set()
    for layer, weight in weights:
        own_names = {weight.path, f"{layer.name}/{weight.name}"}
        known |= own_names
        is_named = bool(own_names & set(names))
        recognised = len(model.inputs) == 1 and learned.has_position_name(weight)
        if not (is_named or recognised):
            continue
        grid = learned.find_grid(layer, weight, old, new)
        if grid is not None and grid.old != grid.new:
            grids[id(weight)] = grid, is_named
        elif grid is None and is_named:
            raise errors.ShapeMismatch(
                f"positions: {weight.name} of '{layer.name}' has shape {tuple(weight.shape)}. "
                f"Expected one vector for each patch of an image of {old[0]} x {old[1]} pixels, "
                "and up to two for class tokens before them."
            )
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), sorted(known), n=3)
        raise errors.UnknownLayer(
            f"positions: '{model.name}' has no weight {unknown[0]!r}. Nearest names: "
            f"{errors.first_few(near or sorted(known), 3)}."
        )
    return grids


def _advice(model: keras.Model, layer, old, new) -> str:
    """Tells what can be done about a layer that cannot take the new size."""
    if isinstance(layer, keras.Model):
        return f"Open '{layer.name}' first: `with_input(flatten(model), image_size={new})`."
    advice = ""
    try:
        model_units = units(model)
    except errors.NotACutPoint:
        model_units = []
    for below, unit in itertools.pairwise(model_units):
        if any(layer is x for x in unit.layers) and below.output is not None:
            advice = (
                f"The network below it can be given this size: `with_input(lower(model, "
                f"{below.index}), image_size={new})`."
            )
            break
    is_of_keras = type(layer).__module__.partition(".")[0] == "keras"
    weights = layer.weights if isinstance(layer, keras.Layer) and not is_of_keras else ()
    fitting = [weight for weight in weights if learned.find_grid(layer, weight, old, new)]
    if fitting:
        longest = max(fitting, key=lambda weight: weight.shape[-2])
        advice += (
            " If it has one learned vector for each patch of an image, name it: "
            f"positions=['{layer.name}/{longest.name}']."
        )
    return advice or "Expected layers that take images of any size."
