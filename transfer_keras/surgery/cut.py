"""Cuts a network in two models, lower and upper, which share its layers."""

import numbers

import keras

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.units import Blocks, Expand, Unit, units

Cut = int | str


def count_below(model_units: list[Unit], n: Cut) -> int:
    """Counts the units that lie below a cut.

    Args:
        model_units: from `units`.
        n: 0 to all; a negative number counts from the top, so -1 is all but the last; the name of
            a unit, which lies below the cut; or the name of a layer above which its unit has no
            more weights.

    Raises:
        NotACutPoint: if there is no such cut; the message names the nearest cut points.
    """
    if isinstance(n, str):
        return _count_below_name(model_units, n)
    if isinstance(n, bool) or not isinstance(n, numbers.Integral):
        raise errors.NotACutPoint(f"n must be a whole number or a name. Received: n={n!r}")
    if not -len(model_units) <= n <= len(model_units):
        raise errors.NotACutPoint(
            f"n must be {-len(model_units)} to {len(model_units)}, for the units "
            f"{', '.join(unit.name for unit in model_units)}. Received: n={n}"
        )
    return n if n >= 0 else len(model_units) + n


def _count_below_name(model_units: list[Unit], name: str) -> int:
    for unit in model_units:
        if unit.name == name:
            return unit.index
    for unit in model_units:
        names = [layer.name for layer in unit.layers]
        if name in names:
            if not any(layer.weights for layer in unit.layers[names.index(name) + 1 :]):
                return unit.index
            below = f"n={unit.index - 1}" + (
                f" (unit '{model_units[unit.index - 2].name}')" if unit.index > 1 else " (nothing)"
            )
            raise errors.NotACutPoint(
                f"The network cannot be cut at '{name}': it lies inside unit '{unit.name}', which "
                f"has weights above it. Nearest cut points: {below} and n={unit.index} (unit "
                f"'{unit.name}')."
            )
    raise errors.NotACutPoint(
        f"No unit or layer is named '{name}'. Expected one of the units "
        f"{', '.join(unit.name for unit in model_units)}, or a layer of one."
    )


def used_on_both_sides(model_units: list[Unit], n: int) -> list[str]:
    """Names the weighted layers that are called both below and above a cut.

    Such a layer can be neither copied nor fresh, so `transplant` refuses the cut.

    Args:
        model_units: from `units`.
        n: how many of them lie below the cut, 0 to all.

    Returns:
        The names, layers inside composite layers included; empty if the cut is possible.
    """
    below, above = (
        {id(inner): inner for u in side for x in u.layers for inner in graph.flat_layers(x)}
        for side in (model_units[:n], model_units[n:])
    )
    return [layer.name for key, layer in below.items() if key in above and layer.weights]


def lower(
    model: keras.Model, n: Cut, *, blocks: Blocks | None = None, expand: Expand | None = None
) -> keras.Model:
    """Makes a model of the lower n units, which shares its layers with the given one.

    Args:
        model: a functional model or a built `Sequential`.
        n: how many units: 0 to all of them; a negative number counts from the top; or the name
            of the unit or layer up to which (see `units`).
        blocks, expand: how the network is divided into units; see `units`.

    Returns:
        A model from the given model's inputs to the tensor that ends unit n; with n=0 to the input
        itself.

    Raises:
        NotACutPoint: if the network cannot be cut in two there.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> trunk = surgery.lower(network, 1)
        >>> trunk.output.shape
        (None, 6)
        >>> trunk.get_layer("one") is network.get_layer("one")
        True
    """
    model = graph.functional(model)
    return keras.Model(model.input, _tensor(model, n, blocks, expand), name=f"{model.name}_lower")


def upper(
    model: keras.Model, n: Cut, *, blocks: Blocks | None = None, expand: Expand | None = None
) -> keras.Model:
    """Makes a model of the units above the lower n, which shares its layers with the given one.

    `upper(model, n)(lower(model, n)(x))` equals `model(x)`.

    Args:
        model: a functional model or a built `Sequential`.
        n: how many units lie below the cut; see `lower`.
        blocks, expand: how the network is divided into units; see `units`.

    Returns:
        A model from the tensor that ends unit n to the given model's outputs.

    Raises:
        NotACutPoint: if the network cannot be cut in two there.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> top = surgery.upper(network, "one")
        >>> top.input.shape, top.output.shape
        ((None, 6), (None, 3))
        >>> top(surgery.lower(network, "one")(np.zeros((4, 8)))).shape == (4, 3)
        True
    """
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
    """Finds the tensor at a cut."""
    model_units = units(model, blocks=blocks, expand=expand)
    count = count_below(model_units, n)
    if count == 0:
        if len(model.inputs) > 1:
            raise errors.NotACutPoint(
                f"'{model.name}' has {len(model.inputs)} inputs, so it cannot be cut below its "
                f"first unit. Expected n from 1 to {len(model_units)}."
            )
        return model.inputs[0]
    tensor = model_units[count - 1].output
    if tensor is None:
        open_at = [str(unit.index) for unit in model_units if unit.output is not None]
        name = model_units[count - 1].name
        raise errors.NotACutPoint(
            f"No single tensor ends unit {count} ('{name}') of '{model.name}', so it cannot "
            f"be cut in two there. Expected n among {', '.join(open_at) or 'none'}; "
            "`transplant` can copy and freeze up to there all the same."
        )
    return tensor
