"""The units of a network: its "layers" in the sense of Yosinski et al. (2014)."""

import dataclasses

import keras

from transfer_keras.surgery import errors, graph


@dataclasses.dataclass(frozen=True)
class Unit:
    """A weighted layer with the pooling, normalisation and dropout that follow it.

    Attributes:
        index: its place from the input, beginning with 1.
        name: of its first layer that has a weight of rank 2 or more.
        layers: the layers of it, in order; one that is called twice stands once.
        output: the `KerasTensor` that ends it, None where the network ends in several.
        parameters: number of scalars in its weights.
    """

    index: int
    name: str
    layers: tuple[keras.Layer, ...]
    output: object
    parameters: int


class Units(list):
    """A list of `Unit` that prints as a table from which a person can choose n."""

    def __str__(self):
        width = max([len(unit.name) for unit in self] + [4])
        total = sum(unit.parameters for unit in self) or 1
        lines = [
            f"{'n':>3}  {'unit':<{width}}  {'layers':>6}  {'parameters':>12}  {'so far':>6}  output"
        ]
        below = 0
        for unit in self:
            below += unit.parameters
            shape = "several" if unit.output is None else tuple(unit.output.shape)
            lines.append(
                f"{unit.index:>3}  {unit.name:<{width}}  {len(unit.layers):>6}  "
                f"{unit.parameters:>12,}  {below / total:>6.1%}  {shape}"
            )
        return "\n".join(lines)


def units(model: keras.Model) -> Units:
    """Splits a network into units at its cut points.

    A new unit begins only where a weight of rank 2 or more comes in. Activations,
    normalisation, pooling, dropout and reshaping belong to the unit before them, leading
    preprocessing to the first.

    Args:
        model: a functional model or a built `Sequential`.

    Returns:
        The units from the input up. Together they hold every layer but the inputs.

    Raises:
        NotRebuildable: if the model has no graph.
        NotACutPoint: if it has no weight of rank 2 or more, so nothing to transfer.
    """
    model = graph.functional(model)
    found: list[tuple[str, list, object]] = []
    leading: list = []
    for nodes, tensor in graph.segments(model):
        weighted = next((op for op in _operations(nodes) if _has_kernel(op)), None)
        if weighted is not None:
            found.append((weighted.name, leading + nodes, tensor))
            leading = []
        elif found:
            name, before, _ = found.pop()
            found.append((name, before + nodes, tensor))
        else:
            leading += nodes
    if not found:
        raise errors.NotACutPoint(
            f"'{model.name}' has no layer with a weight of rank 2 or more, so no unit that "
            "could be transferred."
        )
    result = Units()
    for index, (name, nodes, tensor) in enumerate(found, 1):
        layers = tuple(op for op in _operations(nodes) if isinstance(op, keras.Layer))
        parameters = sum(layer.count_params() for layer in layers)
        result.append(Unit(index, name, layers, tensor, parameters))
    return result


def _operations(nodes) -> list:
    return list({id(node.operation): node.operation for node in nodes}.values())


def _has_kernel(operation) -> bool:
    return any(len(weight.shape) >= 2 for weight in getattr(operation, "weights", ()))
