"""Chooses layers of a network by their names, or by what depends on them."""

import dataclasses
import re
from collections.abc import Collection

import keras

from transfer_keras.surgery import cut, errors, graph
from transfer_keras.surgery.units import Blocks, Cuts, Expand


@dataclasses.dataclass(frozen=True)
class Below:
    """Stands for layers and all layers that they depend on; made by `below`."""

    names: tuple[str, ...]


Layers = Collection[str] | str | Below


def below(*names: str) -> Below:
    """Makes a choice of layers for `transplant(..., layers=...)`: all that lies below some.

    Args:
        *names: of layers of the network. They are chosen, and all layers that their outputs depend
            on, in all calls.

    Example:
        >>> image, row = keras.Input((8,)), keras.Input((4,))
        >>> features = keras.layers.Dense(6, "relu", name="image")(image)
        >>> both = keras.layers.Concatenate(name="both")([features, row])
        >>> donor = keras.Model([image, row], keras.layers.Dense(3, name="top")(both))
        >>> model, report = surgery.transplant(donor, layers=surgery.below("image"), seed=0)
        >>> print(report)
        weight        origin  training   shape
        image/kernel  copied  frozen     (8, 6)
        image/bias    copied  frozen     (6,)
        top/kernel    fresh   trainable  (10, 3)
        top/bias      fresh   trainable  (3,)
        87 parameters: 54 copied, 33 fresh; 33 trainable
    """
    return Below(names)


def lower_layers(
    model: keras.Model,
    n: cut.Cut | None,
    layers: Layers | None,
    *,
    blocks: Blocks | None,
    expand: Expand | None,
    cuts: Cuts,
) -> set[int]:
    """Finds the layers that count as lower, up to a cut or by a choice of layers.

    Args:
        model: functional.
        n: see `lower`; None if `layers` is given.
        layers: names, a regular expression that is searched in the names, or what `below` gives.
        blocks, expand, cuts: see `units`.

    Returns:
        Their identities, and those of all layers inside them.

    Raises:
        ValueError: if both n and `layers` are given.
        NotACutPoint: if neither is given, or there is no such cut.
        SharedAcrossCut: if a weighted layer is called below and above the cut.
        UnknownLayer: if `layers` names a layer that the model does not have.
        UnmatchedLayer: if `layers` means no layer with weights, or is no regular expression.
    """
    if layers is None and n is None:
        raise errors.NotACutPoint("Expected n, a whole number or a name, or layers. Got neither.")
    if layers is None:
        chosen, _ = cut.sides(model, n, blocks=blocks, expand=expand, cuts=cuts)
    elif n is not None:
        raise ValueError(f"Give either n or layers. Received: n={n!r}, layers={layers!r}")
    else:
        chosen = _choose(model, layers, expand or {})
    return {id(inner) for layer in chosen for inner in graph.flat_layers(layer)}


def _choose(model: keras.Model, layers: Layers, expand: Expand) -> list[keras.Layer]:
    """Lists the layers that a choice means; see `lower_layers`."""
    known = {layer.name: layer for layer in model.layers}
    for name, inside in expand.items():
        if name in known:
            known = {inner.name: inner for inner in inside(known[name])} | known
    if isinstance(layers, Below):
        chosen = _depended_on(model, _named(model, layers.names, known))
    elif isinstance(layers, str):
        pattern = _compiled(layers)
        chosen = [layer for name, layer in known.items() if pattern.search(name)]
    elif isinstance(layers, Collection):
        chosen = _named(model, layers, known)
    else:
        chosen = []
    if not any(layer.weights for layer in chosen):
        weighted = [name for name, layer in known.items() if layer.weights]
        raise errors.UnmatchedLayer(
            f"layers={layers!r} means no layer of '{model.name}' that has weights. Expected a list "
            "of names, a regular expression that is found in names, or surgery.below(name). "
            f"Names: {errors.first_few(weighted, 5)}."
        )
    return chosen


def _compiled(pattern: str) -> re.Pattern:
    """Compiles a regular expression."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise errors.UnmatchedLayer(
            f"layers={pattern!r} is no regular expression: {error}."
        ) from error


def _named(model, names: Collection[str], known: dict[str, keras.Layer]) -> list[keras.Layer]:
    """Lists layers by their names."""
    for name in names:
        if name not in known:
            raise errors.UnknownLayer(
                f"layers: '{model.name}' has no layer named {name!r}. Nearest names: "
                f"{errors.nearest(str(name), list(known))}. Layers inside a layer have names here "
                "only if `flatten` or `expand` opens it."
            )
    return [known[name] for name in names]


def _depended_on(model: keras.Model, layers: list[keras.Layer]) -> list[keras.Layer]:
    """Lists layers, and all layers of the model that their outputs depend on."""
    ends = {id(layer) for layer in layers}
    calls = [node for node in graph.nodes(model) if id(node.operation) in ends]
    nodes = graph.ancestors(model, [x for node in calls for x in node.output_tensors])
    return [node.operation for node in nodes if isinstance(node.operation, keras.Layer)]
