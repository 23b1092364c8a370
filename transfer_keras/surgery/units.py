"""Divides a network into units: its "layers" in the sense of Yosinski et al. (2014)."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import keras

from transfer_keras.surgery import errors, graph

Blocks = str | Callable[[keras.Layer], str | None]
Expand = Mapping[str, Callable[[keras.Layer], Sequence[keras.Layer]]]


@dataclasses.dataclass(frozen=True)
class Unit:
    """A weighted layer with the pooling, normalisation and dropout that follow it.

    Attributes:
        index: its place from the input, beginning with 1.
        name: the name of its first layer that has a weight of rank 2 or more; with blocks, the
            name of the block.
        layers: its layers, in order; a layer that is called twice is listed once.
        output: the `KerasTensor` that ends it; None if no single tensor does.
        parameters: number of scalars in its weights.
    """

    index: int
    name: str
    layers: tuple[keras.Layer, ...]
    output: object
    parameters: int

    @property
    def kernels(self) -> list:
        """Lists the weights of rank 2 or more, in order, each once."""
        weights = {id(w): w for layer in self.layers for w in layer.weights if len(w.shape) >= 2}
        return list(weights.values())


class Units(list[Unit]):
    """A list of `Unit` that prints as a table from which a person can choose n."""

    def __str__(self):
        """Draws the table, a row for each unit."""
        width = max([len(unit.name) for unit in self] + [4])
        total = sum(unit.parameters for unit in self) or 1
        lines = [f"  n  {'unit':<{width}}  layers    parameters  so far  output"]
        below = 0
        for unit in self:
            below += unit.parameters
            shape = "inside a layer" if unit.output is None else tuple(unit.output.shape)
            lines.append(
                f"{unit.index:>3}  {unit.name:<{width}}  {len(unit.layers):>6}  "
                f"{unit.parameters:>12,}  {below / total:>6.1%}  {shape}"
            )
        return "\n".join(lines)


def units(
    model: keras.Model, *, blocks: Blocks | None = None, expand: Expand | None = None
) -> Units:
    """Splits a network into units at its cut points.

    A cut point is a tensor through which every path from the inputs to the outputs goes. A new
    unit begins only where a weight of rank 2 or more comes in. Activations, normalisation,
    pooling, dropout and reshaping belong to the unit before them, leading preprocessing to the
    first.

    Args:
        model: a functional model or a built `Sequential`.
        blocks: merges units into blocks: a regular expression, whose match in a layer's name is
            the name of the block; or a function from a layer to that name.
        expand: name of a composite layer -> function that gives the layers inside it, in order.
            These then count as layers of the network. They can be copied, frozen and made fresh,
            but the network cannot be cut in two between them.

    Returns:
        The units from the input up. Together they hold every layer but the inputs.

    Raises:
        NotRebuildable: if the model has no graph.
        NotACutPoint: if it has no weight of rank 2 or more, so that it has no unit.
        UnmatchedLayer: if a weighted layer matches no block, one unit holds layers of two, a
            block is not in one piece, or `expand` does not give each weight once.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dropout(0.5, name="one_dropout"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> for unit in surgery.units(network):
        ...     print(unit.index, unit.name, [layer.name for layer in unit.layers], unit.parameters)
        1 one ['one', 'one_dropout'] 54
        2 two ['two'] 21
    """
    model = graph.functional(model)
    _check_expand(model, expand or {})
    pieces: list[_Piece] = []
    for nodes, tensor in graph.segments(model):
        pieces += _pieces(nodes, tensor, expand or {})
    merged = _merge_weightless(pieces)
    if not merged:
        raise errors.NotACutPoint(
            f"'{model.name}' has no layer with a weight of rank 2 or more, so no unit that "
            "could be transferred."
        )
    if blocks is not None:
        merged = _merge_blocks(merged, blocks)
    return Units(
        Unit(index, piece.name, tuple(piece.layers), piece.output, piece.parameters)
        for index, piece in enumerate(merged, 1)
    )


@dataclasses.dataclass
class _Piece:
    layers: list
    output: object
    block: str | None = None

    @property
    def kernels(self) -> list:
        """Lists the weighted layers."""
        return [layer for layer in self.layers if has_kernel(layer)]

    @property
    def name(self) -> str:
        """Names the piece as the unit that it becomes."""
        return self.block or self.kernels[0].name

    @property
    def parameters(self) -> int:
        """Counts the scalars in the weights."""
        weights = {id(w): w for layer in self.layers for w in layer.weights}
        return sum(_size(weight) for weight in weights.values())

    def __add__(self, other: "_Piece") -> "_Piece":
        layers = {id(layer): layer for layer in self.layers + other.layers}
        return _Piece(list(layers.values()), other.output, self.block or other.block)


def has_kernel(layer) -> bool:
    """Tells whether a layer, or a layer inside it, holds a weight of rank 2 or more.

    Raises:
        NotRebuildable: if it is no layer.
    """
    graph.check_layer_or_model(layer)
    return any(len(weight.shape) >= 2 for weight in layer.weights)


def _size(weight) -> int:
    """Counts the scalars in a weight."""
    size = 1
    for side in weight.shape:
        size *= side
    return size


def _pieces(nodes, tensor, expand: Expand) -> list[_Piece]:
    """Makes one piece of a segment, or several if a composite layer in it is opened."""
    pieces = [_Piece([], None)]
    for node in nodes:
        layer = node.operation
        if not isinstance(layer, keras.Layer):
            continue
        if layer.name in expand:
            pieces += [_Piece([inner], None) for inner in expand[layer.name](layer)]
        elif all(layer is not known for known in pieces[-1].layers):
            pieces[-1].layers.append(layer)
    pieces[-1].output = tensor
    return pieces


def _merge_weightless(pieces: list[_Piece]) -> list[_Piece]:
    """Merges pieces without kernel into the piece before them, leading ones into the first."""
    merged: list[_Piece] = []
    leading = _Piece([], None)
    for piece in pieces:
        if piece.kernels:
            merged.append(leading + piece)
            leading = _Piece([], None)
        elif merged:
            merged[-1] = merged[-1] + piece
        else:
            leading = leading + piece
    return merged


def _merge_blocks(pieces: list[_Piece], blocks: Blocks) -> list[_Piece]:
    """Merges the pieces of each block, and checks that every block is in one piece."""
    if isinstance(blocks, str):
        pattern = re.compile(blocks)

        def block_of(layer):
            match = pattern.search(layer.name)
            return match and match[0]

    else:
        block_of = blocks
    unmatched = [x.name for piece in pieces for x in piece.kernels if not block_of(x)]
    if unmatched:
        raise errors.UnmatchedLayer(
            f"{len(unmatched)} weighted layers match no block: {errors.first_few(unmatched)}. "
            f"Received: blocks={blocks!r}. Widen it so that each layer has a block, the first and "
            "last ones too."
        )
    for piece in pieces:
        names = sorted({block_of(layer) for layer in piece.kernels})
        if len(names) > 1:
            raise errors.UnmatchedLayer(
                f"Unit '{piece.name}' holds layers of blocks {', '.join(names)}, and cannot be cut "
                "between them. Give these one name."
            )
        piece.block = names[0]
    runs = [list(run) for _, run in itertools.groupby(pieces, key=lambda piece: piece.block)]
    names = [run[0].block for run in runs]
    split = sorted({name for name in names if names.count(name) > 1})
    if split:
        raise errors.UnmatchedLayer(
            f"Blocks {errors.first_few(split)} are not in one piece: others lie between their "
            f"units. Found in order: {errors.first_few(names)}."
        )
    return [sum(run[1:], start=run[0]) for run in runs]


def _check_expand(model, expand: Expand) -> None:
    """Checks that `expand` names layers of the model and gives each of their weights once."""
    for name, inside in expand.items():
        layer = next((layer for layer in model.layers if layer.name == name), None)
        if layer is None:
            raise errors.UnmatchedLayer(f"expand: '{model.name}' has no layer named '{name}'.")
        own = {id(w): w.path for w in layer.weights}
        given = [id(w) for inner in inside(layer) for w in inner.weights]
        missing = [path for key, path in own.items() if key not in given]
        twice = [own[key] for key in own if given.count(key) > 1]
        if missing or twice:
            raise errors.UnmatchedLayer(
                f"expand['{name}'] must give each weight of the layer once. Missing: "
                f"{errors.first_few(missing) or 'none'}; more than once: "
                f"{errors.first_few(twice) or 'none'}."
            )
