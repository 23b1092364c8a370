"""Divides a network into units: its "layers" in the sense of Yosinski et al. (2014)."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import keras

from transfer_keras.surgery import errors, graph, tables
from transfer_keras.surgery.boundaries import several_segments

Blocks = str | Callable[[keras.Layer], str | None]
Expand = Mapping[str, Callable[[keras.Layer], Sequence[keras.Layer]]]
Cuts = Literal["single", "several"]
CUTS = ("single", "several")


_HEADER = ("n", "unit", "layers", "parameters", "so far", "output")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A weighted layer with the pooling, normalisation and dropout that follow it.

    Attributes:
        index: its place from the input, beginning with 1.
        name: the name of its first layer that has a weight of rank 2 or more; with blocks, the
            name of the block.
        layers: its layers, in order. A layer that is called several times is listed once in all
            units, in the one with its first call.
        output: the `KerasTensor` that ends it; None if no single tensor does. With
            `cuts="several"`, a tuple of tensors where several end it.
        parameters: number of scalars in its weights; a weight counts once in all units.
        calls: all layers that are called in it, in order, each once: `layers`, and those of lower
            units that are called again.
    """

    index: int
    name: str
    layers: tuple[keras.Layer, ...]
    output: object
    parameters: int
    calls: tuple[keras.Layer, ...] = ()

    @property
    def kernels(self) -> list:
        """Lists the weights of rank 2 or more, in order, each once."""
        weights = {id(w): w for layer in self.layers for w in layer.weights if len(w.shape) >= 2}
        return list(weights.values())

    def __repr__(self):
        """Says in a line what it is."""
        return (
            f"<Unit {self.index} '{self.name}': {len(self.layers)} layers, {self.parameters:,} "
            f"parameters, output {_shapes(self.output)}>"
        )


class Units(list[Unit]):
    """A list of `Unit` that prints as a table from which a person can choose n."""

    def __getitem__(self, place):
        """Gives one unit, or several, which print as a table too."""
        found = super().__getitem__(place)
        return Units(found) if isinstance(place, slice) else found

    def __repr__(self):
        """Draws the table, a row for each unit, and the sums."""
        return tables.as_text(_HEADER, self._rows(), self._total(), right="acde")

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Draws the table for a notebook."""
        return tables.as_html(_HEADER, self._rows(), self._total())

    def _rows(self) -> list[tuple]:
        total = sum(unit.parameters for unit in self) or 1
        rows, below = [], 0
        for unit in self:
            below += unit.parameters
            rows.append(
                (
                    *(unit.index, unit.name, len(unit.layers), f"{unit.parameters:,}"),
                    *(f"{below / total:.1%}", _shapes(unit.output)),
                )
            )
        return rows

    def _total(self) -> str:
        counts = {
            "unit": len(self),
            "layer": sum(len(unit.layers) for unit in self),
            "parameter": sum(unit.parameters for unit in self),
        }
        return ", ".join(f"{n:,} {what}{'s' * (n != 1)}" for what, n in counts.items())


def _shapes(output) -> str:
    """Writes the shapes of what ends a unit."""
    if output is None:
        return "no single tensor"
    tensors = output if isinstance(output, tuple) else (output,)
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


def units(
    model: keras.Model,
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> Units:
    """Splits a network into units at its cut points.

    A cut point is a tensor through which every path from the inputs to the outputs goes. A new
    unit begins only where a weight of rank 2 or more comes in. Activations, normalisation,
    pooling, dropout and reshaping belong to the unit before them, leading preprocessing to the
    first.

    A residual connection, a mask, a second input or an output halfway leaves no cut point beside
    it. With `cuts="several"` each weighted layer begins a unit, in the order in which `summary`
    lists them, and several tensors may pass from one unit to the next. The boundary between two
    weighted layers lies where the fewest tensors are alive, and at the last such place. So it is
    the cut point where there is one, and the boundaries of `cuts="single"` are among those of
    `cuts="several"`.

    A layer that is called several times belongs to the unit with its first call. A second call
    begins no unit. With `cuts="several"` all its calls that depend on no later layer lie together.

    Args:
        model: a functional model or a built `Sequential`.
        blocks: merges units into blocks: a regular expression, whose match in a layer's name is
            the name of the block; or a function from a layer to that name.
        expand: name of a composite layer -> function that gives the layers inside it, in order.
            These then count as layers of the network. They can be copied, frozen and made fresh,
            but the network cannot be cut in two between them.
        cuts: "single": units end where one tensor carries all; "several": where any number of
            tensors do.

    Returns:
        The units from the input up. Together they hold every layer but the inputs.

    Raises:
        NotRebuildable: if the model has no graph.
        NotACutPoint: if it has no weight of rank 2 or more, so that it has no unit.
        UnmatchedLayer: if a weighted layer matches no block, one unit holds layers of two, a
            block is not in one piece, or `expand` does not give each weight once.
        UnknownLayer: if `expand` names a layer that the model does not have.
        ValueError: if `cuts` is neither "single" nor "several".

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
    check_cuts(cuts)
    segments = graph.segments(model) if cuts == "single" else several_segments(model)
    merged = _merge_weightless(_pieces(model, segments, expand or {}))
    if not merged:
        raise errors.NotACutPoint(
            f"'{model.name}' has no layer with a weight of rank 2 or more, so no unit that "
            "could be transferred."
        )
    if blocks is not None:
        merged = _merge_blocks(merged, blocks)
    return Units(
        Unit(
            index,
            piece.name,
            tuple(piece.layers),
            piece.output,
            piece.parameters,
            tuple({id(layer): layer for layer in piece.calls}.values()),
        )
        for index, piece in enumerate(merged, 1)
    )


def check_cuts(cuts: str) -> None:
    """Checks that a kind of cut is known."""
    if cuts not in CUTS:
        raise ValueError(f"cuts must be one of {CUTS}. Received: {cuts!r}")


@dataclasses.dataclass
class _Piece:
    """A run of layers; several are merged into a unit.

    Attributes:
        layers: those that no earlier piece has, in order.
        calls: all layers that are called in it.
        kernels: those of `layers` that bring in a weight of rank 2 or more.
        parameters: number of scalars in the weights that it brings in.
        output: what ends it, as in `Unit`.
        block: name of the block that it belongs to.
    """

    layers: list = dataclasses.field(default_factory=list)
    calls: list = dataclasses.field(default_factory=list)
    kernels: list = dataclasses.field(default_factory=list)
    parameters: int = 0
    output: object = None
    block: str | None = None

    @property
    def name(self) -> str:
        """Names the piece as the unit that it becomes."""
        return self.block or self.kernels[0].name

    def call(self, layer: keras.Layer, known: set[int]) -> None:
        """Adds a call of a layer.

        Args:
            layer: of the network, or inside an opened one.
            known: identities of the layers and weights of this piece and those before it, which
                count there; what is new is added.
        """
        self.calls.append(layer)
        if id(layer) in known:
            return
        new = [weight for weight in layer.weights if id(weight) not in known]
        known.update([id(layer), *map(id, new)])
        self.layers.append(layer)
        self.kernels += [layer] if any(len(weight.shape) >= 2 for weight in new) else []
        self.parameters += sum(math.prod(weight.shape) for weight in new)

    def __add__(self, other: "_Piece") -> "_Piece":
        return _Piece(
            self.layers + other.layers,
            self.calls + other.calls,
            self.kernels + other.kernels,
            self.parameters + other.parameters,
            other.output,
            self.block or other.block,
        )


def has_kernel(layer) -> bool:
    """Tells whether a layer, or a layer inside it, holds a weight of rank 2 or more.

    Raises:
        NotRebuildable: if it is no layer.
    """
    graph.check_layer_or_model(layer)
    return bool(graph.kernels(layer))


def _pieces(model, segments: Iterable[tuple[list, object]], expand: Expand) -> list[_Piece]:
    """Makes one piece of each segment, or several if a composite layer in it is opened."""
    pieces: list[_Piece] = []
    known: set[int] = set()
    # Identity of an opened layer -> its calls so far.
    opened: dict[int, list] = {}
    for nodes, output in segments:
        pieces.append(_Piece())
        for node in nodes:
            layer = node.operation
            if not isinstance(layer, keras.Layer):
                continue
            if layer.name not in expand:
                pieces[-1].call(layer, known)
                continue
            for inner in expand[layer.name](layer):
                if id(layer) not in opened:
                    pieces.append(_Piece())
                    pieces[-1].call(inner, known)
                elif _follows(model, node, opened[id(layer)]):
                    pieces[-1].call(inner, known)
            opened.setdefault(id(layer), []).append(node)
        pieces[-1].output = output
    return pieces


def _follows(model, node, others: list) -> bool:
    """Tells whether a node depends on one of others; if not, they may run in any order."""
    before = {id(x) for x in graph.ancestors(model, node.input_tensors)}
    return any(id(other) in before for other in others)


def _merge_weightless(pieces: list[_Piece]) -> list[_Piece]:
    """Merges pieces without kernel into the piece before them, leading ones into the first."""
    merged: list[_Piece] = []
    leading = _Piece()
    for piece in pieces:
        if piece.kernels:
            merged.append(leading + piece)
            leading = _Piece()
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
            raise errors.UnknownLayer(f"expand: '{model.name}' has no layer named '{name}'.")
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
