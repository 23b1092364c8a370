"""Reads the graph of a functional model: its nodes in order, and the places where it can be cut.

Keras keeps the graph in attributes that are not public; this is the only module that reads them.
"""

import inspect
import pathlib
from collections.abc import Collection, Iterator, Mapping

import keras

from transfer_keras.surgery import errors

# What a class overrides to train in its own way, as Keras's guides have it.
_TRAINING = ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics")


def check_model(model) -> None:
    """Refuses what is no model, and a `Sequential` that is not built.

    Raises:
        NotRebuildable: in these cases; the message says what to do.
    """
    if isinstance(model, keras.Sequential) and not model.built:
        raise errors.NotRebuildable(
            "Expected a functional model or a built Sequential. Received: Sequential "
            f"'{model.name}', which is not built. Begin it with `keras.Input(shape)`, or call it "
            "on data."
        )
    if isinstance(model, keras.Model):
        return
    advice = "Give one model."
    if isinstance(model, str | pathlib.PurePath):
        advice = "Load the file: `surgery.load(path)`."
    elif isinstance(model, keras.Layer):
        advice = "Make a model of it: `keras.Sequential([keras.Input(shape), layer])`."
    raise errors.NotRebuildable(f"Expected a model. Received: {describe(model)}. {advice}")


def check_layer_or_model(layer) -> None:
    """Refuses what is neither a layer nor a model.

    Raises:
        NotRebuildable: in this case.
    """
    if not isinstance(layer, keras.Layer):
        raise errors.NotRebuildable(f"Expected a layer or a model. Received: {describe(layer)}.")


def describe(value) -> str:
    """Describes what was received in the place of a model, for messages."""
    if isinstance(value, str | pathlib.PurePath):
        return repr(str(value))
    if isinstance(value, keras.Layer):
        return f"layer '{value.name}' ({type(value).__name__})"
    if isinstance(value, list | tuple | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__


def functional(model: keras.Model) -> keras.Model:
    """Gives a model as a functional one; a built `Sequential` holds one.

    Raises:
        NotRebuildable: if it is no model, or is subclassed or not built, so that it has no graph.
    """
    check_model(model)
    if isinstance(model, keras.Sequential) and model.inputs:
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


def class_of(model: keras.Model) -> type:
    """Gives the class of which a copy of a network is made.

    A class that trains in its own way is kept; what was set on the model itself is not copied. For
    all others it is `keras.Model`.

    Raises:
        NotRebuildable: if it is no model, or not built, or its class trains in its own way and
            cannot be made from inputs and outputs.
    """
    check_model(model)
    kind = type(model)
    own = [name for name in _TRAINING if getattr(kind, name) is not getattr(keras.Model, name)]
    if not own:
        return keras.Model
    parameters = set(inspect.signature(kind).parameters)
    takes_graph = {"args", "kwargs"} <= parameters or {"inputs", "outputs"} <= parameters
    known = {"args", "kwargs", "inputs", "outputs", "name", "trainable"}
    if isinstance(model, keras.Sequential) or not takes_graph or parameters - known:
        raise errors.NotRebuildable(
            f"'{model.name}' ({kind.__name__}) has its own `{own[0]}`, and cannot be made again. "
            "Expected a class whose `__init__` takes (inputs, outputs, name) or (*args, **kwargs). "
            "To go on without its own training, give a plain model: "
            "`keras.Model(model.inputs, model.outputs)`."
        )
    return kind


def nodes(model: keras.Model) -> list:
    """Lists the calls of a network's layers and operations in an order in which they can run.

    Args:
        model: a functional model or a built `Sequential`.

    Returns:
        Keras's nodes, without those of the inputs. A node has `operation` (the layer or
        `keras.ops` that is called), `arguments`, `input_tensors` and `output_tensors`. A layer that
        is called twice has two nodes.

    Raises:
        NotRebuildable: if the model has no graph.
    """
    by_depth = functional(model)._nodes_by_depth
    return [
        node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]
        if not node.is_input
    ]  # fmt: skip


def listed_nodes(model: keras.Model) -> list:
    """Lists the nodes of a functional model in an order that follows how it was written.

    As in `nodes`, the deepest come first. Of one depth, they are ordered as `summary` lists their
    layers, and calls of one layer as they were made.
    """
    places = {id(operation): place for place, operation in enumerate(model.operations)}

    def place(node):
        return places[id(node.operation)], node.operation._inbound_nodes.index(node)

    by_depth = model._nodes_by_depth
    return [
        node for depth in sorted(by_depth, reverse=True)
        for node in sorted(by_depth[depth], key=place)
        if not node.is_input
    ]  # fmt: skip


def calls(model: keras.Model, name: str) -> list:
    """Lists the nodes of a layer or operation, one for each of its calls in the network.

    Args:
        model: a functional model or a built `Sequential`.
        name: of the layer or operation; an input has no call.

    Raises:
        UnknownLayer: if the network has no such layer.
    """
    known = [node for node in nodes(model) if node.operation.name == name]
    if not known:
        raise errors.UnknownLayer(f"'{model.name}' has no layer {name!r}. {_advice(model, name)}")
    return known


def _advice(model: keras.Model, name: str) -> str:
    """Tells where a name that is not among those of a network's layers may come from."""
    for layer in model.layers:
        if any(inner.name == name for inner in flat_layers(layer)[1:]):
            return f"It lies inside '{layer.name}'; `flatten` opens nested models."
    if any(tensor.name == name for tensor in model.inputs):
        return "It is an input. `flatten(model, inputs=...)` puts layers below the network."
    names = [node.operation.name for node in nodes(model)]
    return f"Nearest names: {errors.nearest(str(name), names, 3)}."


def maker(tensor):
    """Gives the layer or operation that a `KerasTensor` comes from."""
    return tensor._keras_history.operation


def making_node(tensor):
    """Gives the call of a layer or operation that a `KerasTensor` comes from."""
    return maker(tensor)._inbound_nodes[tensor._keras_history.node_index]


def noted_masks(model: keras.Model) -> dict[int, set[str]]:
    """Finds the arguments that Keras itself gave to the calls of layers: masks of their inputs.

    Returns:
        Identity of a layer -> names of the arguments, such as "mask", that are the mask of one of
        its inputs in all its calls that have them.
    """
    noted, given = {}, {}
    for node in nodes(model):
        masks = {id(getattr(tensor, "_keras_mask", None)) for tensor in node.input_tensors}
        for name, value in node.arguments.kwargs.items():
            if isinstance(value, keras.KerasTensor):
                found = noted if id(value) in masks else given
                found.setdefault(id(node.operation), set()).add(name)
    return {key: names - given.get(key, set()) for key, names in noted.items()}


def origins(tensor) -> list:
    """Finds the inputs that a `KerasTensor` was made from; none if it is not part of a graph."""
    inputs, visited, pending = [], set(), [tensor] if hasattr(tensor, "_keras_history") else []
    while pending:
        tensor = pending.pop()
        node = making_node(tensor)
        if id(node) in visited:
            continue
        visited.add(id(node))
        if node.is_input:
            inputs.append(tensor)
        pending += reversed(node.input_tensors)
    return inputs


def flat_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Lists a layer and all layers inside it, at any depth.

    Args:
        layer: any layer or model.

    Returns:
        The layer itself first; parents before children, in an order that is the same for every
        copy of the layer.

    Raises:
        NotRebuildable: if it is no layer.
    """
    check_layer_or_model(layer)
    return list(layer._flatten_layers())


def let_flags_spread(model: keras.Model) -> None:
    """Lets `model.trainable = True` reach the layers of a model, on TensorFlow too.

    There Keras ignores an assignment of the object that an attribute holds already (Keras 3.15),
    so that layers that are frozen one by one would stay frozen. The model's flag becomes 1, which
    equals True and is another object. Layers cannot have such a flag: Keras does not load it. So
    layers inside composite layers are not reached.
    """
    if model.trainable and any(not layer.trainable for layer in flat_layers(model)):
        model._trainable = 1


def recorded_arguments(layer) -> dict:
    """Gives the arguments of a layer's `__init__`; none if one of them is not a plain value."""
    recorded = getattr(layer, "_auto_config", None)
    return recorded.config if recorded is not None else {}


def is_graph(layer) -> bool:
    """Tells whether a layer is a model whose graph is all that it computes."""
    own = type(layer).call.__qualname__ if isinstance(layer, keras.Model) else ""
    return own == "Functional.call" and hasattr(layer, "_nodes_by_depth")


def is_leaf(operation) -> bool:
    """Tells whether something is a layer with no layer inside it."""
    return isinstance(operation, keras.Layer) and len(flat_layers(operation)) == 1


def kernels(operation) -> list:
    """Lists the weights of rank 2 or more in a layer and the layers inside it, each once."""
    weights = operation.weights if isinstance(operation, keras.Layer) else []
    return [weight for weight in weights if len(weight.shape) >= 2]


def ancestors(model: keras.Model, tensors) -> list:
    """Lists the nodes that tensors in the graph of a functional model depend on, in order."""
    needed = {id(tensor) for tensor in tensors}
    found = []
    for node in reversed(listed_nodes(model)):
        if not needed.isdisjoint(map(id, node.output_tensors)):
            found.append(node)
            needed.update(map(id, node.input_tensors))
    return found[::-1]


def boundary(model: keras.Model, below: Collection) -> list:
    """Finds the tensors that pass from some nodes of a functional model to all others.

    Args:
        model: functional.
        below: nodes, with all nodes that they depend on.

    Returns:
        The tensors that these nodes or the inputs make, and that other nodes use or that are
        outputs: first the inputs, then in the order of the nodes.
    """
    inside = {id(node) for node in below}
    made = [*model.inputs, *(tensor for node in below for tensor in node.output_tensors)]
    used = {id(tensor) for tensor in model.outputs}
    for node in nodes(model):
        if id(node) not in inside:
            used.update(map(id, node.input_tensors))
    return list({id(tensor): tensor for tensor in made if id(tensor) in used}.values())


def segments(model: keras.Model) -> Iterator[tuple[list, object]]:
    """Splits the graph at its cut points.

    A cut point is a tensor through which every path from the inputs to the outputs goes. A tensor
    is alive from the node that makes it to the last node that uses it. In any order in which the
    nodes can run, a cut point is for a moment the only tensor alive: all tensors before it are its
    ancestors, all after it its descendants. So one walk that follows the tensors alive finds all
    cut points.

    Yields:
        (nodes, tensor): the nodes since the last cut point, in order, and the cut point that ends
        them. The model's output ends the last segment if it is the only one; else None does.
    """
    # How often each tensor is used.
    # A tensor dies with its last use; outputs never die.
    order = nodes(model)
    outputs = {id(tensor) for tensor in model.outputs}
    uses: dict[int, int] = {}
    for node in order:
        for tensor in node.input_tensors:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1

    # The walk.
    # It begins with the inputs alive. A segment ends where a single tensor is alive and the node
    # has just made it.
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
