"""The graph of a functional model: its nodes in order, and the places where it can be cut.

Keras keeps the graph in attributes that have no public name; this is the only module that
reads them.
"""

from collections.abc import Iterator

import keras

from transfer_keras.surgery import errors


def functional(model: keras.Model) -> keras.Model:
    """The model as a functional one; a built `Sequential` is one inside.

    Raises:
        NotRebuildable: for a subclassed or unbuilt model, which has no graph.
    """
    if isinstance(model, keras.Sequential) and model.built and model.inputs:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "_nodes_by_depth"):
        raise errors.NotRebuildable(
            "Expected a functional model or a built Sequential, whose layers form a graph. "
            f"Received: {type(model).__name__} named '{model.name}'. Wrap it: "
            "`keras.Model(inputs, model(inputs))` makes the whole of it one layer."
        )
    if type(model).call.__qualname__ != "Functional.call":
        raise errors.NotRebuildable(
            f"'{model.name}' ({type(model).__name__}) has a `call` of its own, which its graph "
            "does not show. Expected a plain functional model."
        )
    return model


def nodes(model: keras.Model) -> list:
    """Calls of layers and operations in an order in which they can run, without the inputs."""
    by_depth = functional(model)._nodes_by_depth
    return [
        node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]
        if not node.is_input
    ]  # fmt: skip


def maker(tensor):
    """The layer or operation that a `KerasTensor` comes from."""
    return tensor._keras_history.operation


def origins(tensor) -> list:
    """The inputs that a `KerasTensor` was made from; none for what is not part of a graph."""
    found, seen, waiting = [], set(), [tensor] if hasattr(tensor, "_keras_history") else []
    while waiting:
        tensor = waiting.pop()
        history = tensor._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.is_input:
            found.append(tensor)
        waiting += reversed(node.input_tensors)
    return found


def flat_layers(layer: keras.Layer) -> list[keras.Layer]:
    """The layer and all layers inside it, parents before children, in a fixed order."""
    return list(layer._flatten_layers())


def is_leaf(operation) -> bool:
    """Whether it is a layer with no layer inside it."""
    return isinstance(operation, keras.Layer) and len(flat_layers(operation)) == 1


def segments(model: keras.Model) -> Iterator[tuple[list, object]]:
    """Splits the graph at its cut points.

    A cut point is a tensor through which every path from the inputs to the outputs goes. In
    any order in which the nodes can run, it is the only tensor alive at its moment: all that
    comes before it are its ancestors, all that comes after its descendants. So one walk that
    counts the tensors alive finds them all.

    Yields:
        (nodes, tensor): the nodes since the last cut point and the cut point that ends them,
        in order; the model's output ends the last if it is single.
    """
    order = nodes(model)
    outputs = {id(tensor) for tensor in model.outputs}
    uses: dict[int, int] = {}
    for node in order:
        for tensor in node.input_tensors:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    alive = {id(tensor) for tensor in model.inputs if id(tensor) in uses}
    alive |= {id(tensor) for tensor in model.inputs} & outputs
    segment = []
    for node in order:
        segment.append(node)
        for tensor in node.input_tensors:
            uses[id(tensor)] -= 1
            if not uses[id(tensor)] and id(tensor) not in outputs:
                alive.discard(id(tensor))
        made = {id(t): t for t in node.output_tensors if id(t) in outputs or uses.get(id(t))}
        alive |= made.keys()
        if len(alive) == 1 and made:
            yield segment, next(iter(made.values()))
            segment = []
    if segment:
        yield segment, None
