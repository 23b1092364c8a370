"""Cuts a network in two models, lower and upper, which share its layers."""

import dataclasses
import numbers
from typing import NoReturn

import keras

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.units import Blocks, Cuts, Expand, Unit, check_cuts, units

Cut = int | str


@dataclasses.dataclass(frozen=True)
class _Place:
    """A place at which a network is cut.

    Attributes:
        below, above: the layers that are called on either side.
        tensors: those that pass the cut; None if it lies inside a layer, or if several end the
            network and one is expected.
        n: what stands for it in messages.
    """

    below: list[keras.Layer]
    above: list[keras.Layer]
    tensors: list | None
    n: str


def sides(
    model: keras.Model,
    n: Cut,
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> tuple[list[keras.Layer], list[keras.Layer]]:
    """Lists the layers below a cut, and those above it; the parameters are those of `lower`.

    Raises:
        NotACutPoint: if there is no such cut.
        SharedAcrossCut: if a weighted layer is called below and above it.
    """
    place = _place(model, n, blocks, expand, cuts)
    across = _on_both_sides(place.below, place.above)
    if across:
        raise errors.SharedAcrossCut(
            f"{', '.join(across)} of '{model.name}' is used below and above the cut at {place.n}, "
            "so it belongs to neither side. Cut below its first use or above its last."
        )
    return place.below, place.above


def used_on_both_sides(model_units: list[Unit], n: int) -> list[str]:
    """Names the weighted layers that are called both below and above a cut.

    Such a layer can be neither copied nor fresh, so `transplant` refuses the cut.

    Args:
        model_units: from `units`.
        n: how many of them lie below the cut, 0 to all.

    Returns:
        The names, layers inside composite layers included; empty if the cut is possible.
    """
    return _on_both_sides(_called(model_units[:n]), _called(model_units[n:]))


def _called(model_units: list[Unit]) -> list[keras.Layer]:
    """Lists the layers that are called in some units."""
    return [layer for unit in model_units for layer in unit.calls]


def _on_both_sides(below: list[keras.Layer], above: list[keras.Layer]) -> list[str]:
    """Names the weighted layers that are in both lists, those inside others included."""
    inner_below, inner_above = (
        {id(inner): inner for layer in side for inner in graph.flat_layers(layer)}
        for side in (below, above)
    )
    return [x.name for key, x in inner_below.items() if key in inner_above and x.weights]


def lower(
    model: keras.Model,
    n: Cut,
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> keras.Model:
    """Makes a model of the lower n units, which shares its layers with the given one.

    Args:
        model: a functional model or a built `Sequential`.
        n: how many units: 0 to all of them, where a negative number counts from the top. Or the
            name of a layer of the model: the cut is at its own output, and what lies below is all
            that it depends on. Or the name of a block (`blocks`) or of a unit inside a layer
            (`expand`), at whose end the cut is.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Returns:
        A model from the given model's inputs to the tensor that ends unit n; with n=0 to the input
        itself. With `cuts="several"`, to the list of tensors that pass the cut if it is not one.

    Raises:
        NotACutPoint: if the network cannot be cut in two there; the message names the nearest
            cuts, or similar names.

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
    tensors = _tensors(model, n, blocks, expand, cuts)
    return keras.Model(model.input, _one_or_list(tensors), name=f"{model.name}_lower")


def upper(
    model: keras.Model,
    n: Cut,
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> keras.Model:
    """Makes a model of the units above the lower n, which shares its layers with the given one.

    `upper(model, n)(lower(model, n)(x))` equals `model(x)`.

    Args:
        model: a functional model or a built `Sequential`.
        n: how many units lie below the cut; see `lower`.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Returns:
        A model from the tensor that ends unit n, or the list of them, to the given model's outputs.

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
    tensors = _tensors(model, n, blocks, expand, cuts)
    lower_nodes = {id(node) for node in graph.ancestors(model, tensors)}
    inputs = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in tensors]
    made = dict(zip(map(id, tensors), inputs, strict=True))
    for node in graph.nodes(model):
        if id(node) not in lower_nodes:
            args, kwargs = node.arguments.fill_in(made)
            results = keras.tree.flatten(node.operation(*args, **kwargs))
            made.update(zip(map(id, node.output_tensors), results, strict=True))
    outputs = [made[id(output)] for output in model.outputs]
    outputs = keras.tree.pack_sequence_as(model.output, outputs)
    return keras.Model(_one_or_list(inputs), outputs, name=f"{model.name}_upper")


def _one_or_list(tensors: list):
    """Gives the only tensor of a list, or the list."""
    return tensors[0] if len(tensors) == 1 else tensors


def _tensors(model: keras.Model, n: Cut, blocks, expand, cuts: Cuts) -> list:
    """Finds the tensors that pass a cut."""
    place = _place(model, n, blocks, expand, cuts)
    if place.tensors is None:
        model_units = units(model, blocks=blocks, expand=expand, cuts=cuts)
        open_at = [str(unit.index) for unit in model_units if unit.output is not None]
        end = model_units[count_below(model_units, n) - 1]
        several = ", or cuts='several'" if end.index == len(model_units) else ""
        raise errors.NotACutPoint(
            f"No single tensor ends unit {end.index} ('{end.name}') of '{model.name}', so it "
            f"cannot be cut in two there. Expected n among {', '.join(open_at) or 'none'}"
            f"{several}; `transplant` can copy and freeze up to there all the same."
        )
    if cuts == "single" and len(place.tensors) > 1:
        raise errors.NotACutPoint(
            f"'{model.name}' has {len(model.inputs)} inputs, so it cannot be cut below its "
            "first unit. Expected n of 1 or more, or cuts='several'."
        )
    return place.tensors


def _place(model: keras.Model, n: Cut, blocks, expand, cuts: Cuts) -> _Place:
    """Finds a cut in a functional model."""
    check_cuts(cuts)
    if isinstance(n, str) and any(layer.name == n for layer in model.layers):
        return _place_at_layer(model, n, cuts)
    model_units = units(model, blocks=blocks, expand=expand, cuts=cuts)
    count = count_below(model_units, n)
    output = model_units[count - 1].output if count else tuple(graph.boundary(model, []))
    tensors = None if output is None else list(output if isinstance(output, tuple) else [output])
    below, above = _called(model_units[:count]), _called(model_units[count:])
    return _Place(below, above, tensors, f"n={count}")


def _place_at_layer(model: keras.Model, name: str, cuts: Cuts) -> _Place:
    """Finds the cut at the output of a layer of the model."""
    layer = model.get_layer(name)
    order = graph.nodes(model)
    calls = [node for node in order if node.operation is layer]
    lower_nodes = graph.ancestors(model, [x for node in calls for x in node.output_tensors])
    tensors = graph.boundary(model, lower_nodes)
    if len(calls) > 1 and not layer.weights:
        _refuse(model, layer, f"it has no weights and is called {len(calls)} times", "")
    if cuts == "single" and len(tensors) > 1:
        makers = errors.first_few([f"'{graph.maker(tensor).name}'" for tensor in tensors])
        reason = f"{len(tensors)} tensors pass there, from {makers}"
        _refuse(model, layer, reason, ", or cuts='several' to cut all of them")
    inside = {id(node) for node in lower_nodes}
    below, above = [], []
    for node in order:
        if isinstance(node.operation, keras.Layer):
            (below if id(node) in inside else above).append(node.operation)
    return _Place(below, above, tensors, f"n='{name}'")


def _refuse(model: keras.Model, layer: keras.Layer, reason: str, choice: str) -> NoReturn:
    """Refuses a cut at a layer, and says where else the network can be cut."""
    raise errors.NotACutPoint(
        f"'{model.name}' cannot be cut in two at '{layer.name}': {reason}. Nearest cuts: "
        f"{_nearest_cuts(model, layer)}. Give one of these{choice}. To copy and freeze without a "
        f"cut, give `transplant` layers=surgery.below('{layer.name}'), this layer and all that it "
        "depends on, in place of n."
    )


def _nearest_cuts(model: keras.Model, layer: keras.Layer) -> str:
    """Names the nearest layers, below and above one, at whose output one tensor passes."""
    operations = [node.operation for node in graph.nodes(model)]
    place = max((i for i, operation in enumerate(operations) if operation is layer), default=-1)
    below, above, end = "n=0 (nothing)", None, -1
    for nodes, tensor in graph.segments(model):
        end += len(nodes)
        maker = operations[end]
        again = maker in operations[end + 1 :] or (maker in operations[:end] and not maker.weights)
        if tensor is None or not isinstance(maker, keras.Layer) or again:
            continue
        if end < place:
            below = f"'{maker.name}'"
        elif end > place and above is None:
            above = f"'{maker.name}'"
    return f"{below} below, {above or 'none'} above"


def count_below(model_units: list[Unit], n: Cut) -> int:
    """Counts the units that lie below a cut.

    Args:
        model_units: from `units`.
        n: 0 to all; a negative number counts from the top, so -1 is all but the last; the name of
            a unit, which lies below the cut; or the name of a layer inside an opened one, above
            which its unit has no more weights.

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
    names = [unit.name for unit in model_units]
    names += [layer.name for unit in model_units for layer in unit.layers]
    raise errors.NotACutPoint(
        f"No unit or layer is named '{name}'. Nearest names: {errors.nearest(name, names)}."
    )
