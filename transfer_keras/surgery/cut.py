"""Where a network is cut, and the two parts, which share the model's layers."""

import numbers

import keras

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.units import Blocks, Expand, Unit, units

Cut = int | str


def place(parts: list[Unit], n: Cut) -> int:
    """How many units lie below a cut.

    Args:
        parts: from `units`.
        n: 0 to all; a negative number counts from the top, so -1 is all but the last; a unit's
            name: up to that unit, itself included; or the name of a layer above which its unit
            holds no more weights.

    Raises:
        NotACutPoint: naming the nearest cut points.
    """
    if isinstance(n, str):
        return _place_of_name(parts, n)
    if isinstance(n, bool) or not isinstance(n, numbers.Integral):
        raise errors.NotACutPoint(f"n must be a whole number or a name. Received: n={n!r}")
    if not -len(parts) <= n <= len(parts):
        raise errors.NotACutPoint(
            f"n must be {-len(parts)} to {len(parts)}, for the units "
            f"{', '.join(unit.name for unit in parts)}. Received: n={n}"
        )
    return n if n >= 0 else len(parts) + n


def _place_of_name(parts: list[Unit], name: str) -> int:
    for unit in parts:
        if unit.name == name:
            return unit.index
    for unit in parts:
        names = [layer.name for layer in unit.layers]
        if name in names:
            if not any(layer.weights for layer in unit.layers[names.index(name) + 1 :]):
                return unit.index
            below = f"n={unit.index - 1}" + (
                f" (unit '{parts[unit.index - 2].name}')" if unit.index > 1 else " (nothing)"
            )
            raise errors.NotACutPoint(
                f"The network cannot be cut at '{name}': it lies inside unit '{unit.name}', which "
                f"has weights above it. Nearest cut points: {below} and n={unit.index} (unit "
                f"'{unit.name}')."
            )
    raise errors.NotACutPoint(
        f"No unit or layer is named '{name}'. Expected one of the units "
        f"{', '.join(unit.name for unit in parts)}, or a layer of one."
    )


def used_on_both_sides(parts: list[Unit], n: int) -> list[str]:
    """Names of the weighted layers that are called below and above a cut, which forbid it.

    Args:
        parts: from `units`.
        n: how many of them lie below the cut.
    """
    below, above = (
        {id(inner): inner for u in side for x in u.layers for inner in graph.flat_layers(x)}
        for side in (parts[:n], parts[n:])
    )
    return [layer.name for key, layer in below.items() if key in above and layer.weights]


def lower(
    model: keras.Model, n: Cut, *, blocks: Blocks | None = None, expand: Expand | None = None
) -> keras.Model:
    """The lower n units as a model that shares its layers with the given one.

    Args:
        model: a functional model or a built `Sequential`.
        n: see `transplant`.
        blocks, expand: see `units`.

    Returns:
        The model's inputs -> the tensor that ends unit n; with n=0 the input itself.

    Raises:
        NotACutPoint: if the network cannot be cut in two there.
    """
    model = graph.functional(model)
    return keras.Model(model.input, _tensor(model, n, blocks, expand), name=f"{model.name}_lower")


def upper(
    model: keras.Model, n: Cut, *, blocks: Blocks | None = None, expand: Expand | None = None
) -> keras.Model:
    """All above the lower n units, so that `upper(lower(x))` is `model(x)`; see `lower`."""
    model = graph.functional(model)
    tensor = _tensor(model, n, blocks, expand)
    middle = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)
    made = {id(tensor): middle}
    for node in graph.nodes(model):
        if all(id(x) in made for x in node.input_tensors):
            args, kwargs = node.arguments.fill_in(made)
            results = keras.tree.flatten(node.operation(*args, **kwargs))
            made.update(zip(map(id, node.output_tensors), results, strict=True))
    outputs = [made[id(output)] for output in model.outputs]
    outputs = keras.tree.pack_sequence_as(model.output, outputs)
    return keras.Model(middle, outputs, name=f"{model.name}_upper")


def _tensor(model: keras.Model, n: Cut, blocks: Blocks | None, expand: Expand | None):
    parts = units(model, blocks=blocks, expand=expand)
    count = place(parts, n)
    if count == 0:
        if len(model.inputs) > 1:
            raise errors.NotACutPoint(
                f"'{model.name}' has {len(model.inputs)} inputs, so it cannot be cut below its "
                f"first unit. Expected n from 1 to {len(parts)}."
            )
        return model.inputs[0]
    tensor = parts[count - 1].output
    if tensor is None:
        open_at = [str(unit.index) for unit in parts if unit.output is not None]
        raise errors.NotACutPoint(
            f"No single tensor ends unit {count} ('{parts[count - 1].name}') of '{model.name}', so "
            f"it cannot be cut in two there. Expected n among {', '.join(open_at) or 'none'}; "
            "`transplant` can copy and freeze up to there all the same."
        )
    return tensor
