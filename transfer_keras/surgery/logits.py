"""Removes the softmax or sigmoid at the end of a network, or the logarithm of one."""

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.endings import (
    Probabilities,
    core_changes,
    endings,
    find_probabilities,
    gives_probabilities,
    only_reshapes,
)
from transfer_keras.surgery.flatten import flatten
from transfer_keras.surgery.rebuild import duplicate


def logits(model: keras.Model) -> keras.Model:
    """Copies a network without the softmax or sigmoid that makes its outputs probabilities.

    A layer or an operation of `keras.ops` at the end that computes softmax or sigmoid is removed,
    and so is the logarithm of either. A last dense layer or convolution that applies it itself
    becomes linear, inside a `TimeDistributed` too. It does not matter how the function is spelled:
    functions that are not Keras's own, a layer given as an activation, a `Lambda`, or several
    operations in a row are recognised by their values at random arrays. Layers that only reshape
    may follow, and stay. Of several outputs each loses its own; of two such layers in a row the
    last is removed. If the last layer is a nested model, the network is opened first (see
    `flatten`).

    Args:
        model: a functional model or a built `Sequential`; it is not changed.

    Returns:
        An uncompiled model that shares nothing with the given one. It takes the same inputs and
        gives logits of the same shape and dtype. A network that ends in neither softmax nor
        sigmoid comes back as an equal copy.

    Raises:
        NotRebuildable: if a layer cannot be made again from its config, the probabilities are used
            inside the network too, or an output looks like probabilities (values of 0 to 1, or
            their logarithms) but comes from another function.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(3, name="head"),
        ...     keras.layers.Softmax(name="probabilities"),
        ... ])
        >>> [layer.name for layer in surgery.logits(network).layers[1:]]
        ['head']
        >>> network = keras.Sequential([
        ...     keras.Input((8,)), keras.layers.Dense(3, activation=keras.ops.softmax)
        ... ])
        >>> surgery.logits(network).layers[-1].activation is keras.activations.linear
        True
    """
    kind, model = graph.class_of(model), graph.functional(model)
    nested = _nested_ends(model)
    if nested:
        opened = flatten(model)
        if any(end not in opened.layers for end in nested):
            return logits(opened)
    found = [find_probabilities(model, output) for output in model.outputs]
    found = [probabilities for probabilities in found if probabilities]
    for probabilities in found:
        _check(model, probabilities)
    linear = {id(x.layer) for x in found if x.layer}
    # Identity of a removed layer or operation -> dtype to give.
    removed = {id(node.operation): None for x in found for node in x.nodes}
    removed |= {id(x.nodes[-1].operation): x.tensor.dtype for x in found if x.nodes}
    dtypes = {}

    def make(operation):
        if id(operation) in removed:
            new = keras.layers.Identity(name=operation.name)
            dtypes[id(new)] = removed[id(operation)]
            return new
        changes = {}
        if id(operation) in linear:
            changes = core_changes(operation, activation="linear")
        return fresh.renamed(operation, operation.name, **changes)

    def call(new, *args, **kwargs):
        if id(new) not in dtypes:
            return new(*args, **kwargs)
        return pass_on(args, kwargs, dtypes[id(new)])

    return duplicate(model, make, call=call, kind=kind)


def pass_on(args: tuple, kwargs: dict, dtype: str | None):
    """Gives the first tensor that a call takes, in the dtype of what is left out.

    In mixed precision it is often the softmax that changes to float32.
    """
    tensor = next(x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor))
    return tensor if dtype in (None, tensor.dtype) else keras.ops.cast(tensor, dtype)


def _nested_ends(model: keras.Model) -> list[keras.Model]:
    """Lists the nested models that must be opened to find what the network ends in."""
    nested = []
    for output in model.outputs:
        *_, ending = endings(model, output, _is_weightless)
        is_last = all(only_reshapes(node.operation) for node in ending.nodes)
        makers = [graph.maker(tensor) for tensor in ending.starts]
        nested += [
            layer
            for layer in makers
            if isinstance(layer, keras.Model) and (is_last or gives_probabilities(layer))
        ]
    return nested


def _is_weightless(operation) -> bool:
    if not isinstance(operation, keras.Layer):
        return True
    return not (operation.weights or isinstance(operation, keras.Model))


def _check(model: keras.Model, found: Probabilities) -> None:
    """Refuses probabilities that cannot be told, or that are used inside the network too."""
    if found.kind.name == "unknown":
        operation = found.nodes[-1].operation if found.nodes else found.layer
        raise errors.NotRebuildable(
            f"'{model.name}' ends in '{operation.name}' ({type(operation).__name__}), which "
            f"{found.kind.reason}. Expected softmax, sigmoid or the logarithm of one of them at "
            "the end, or no probabilities. Build a model up to its logits by hand: "
            "`keras.Model(model.input, logits)`, with the tensor that the function takes."
        )
    order = graph.nodes(model)
    users = {id(node) for node in found.nodes + found.after}
    own = {id(tensor) for node in found.nodes + found.after for tensor in node.output_tensors}
    operations = [node.operation for node in found.nodes]
    if found.layer:
        own.add(id(found.start))
        operations.append(found.layer)
    used_elsewhere = any(
        id(tensor) in own
        for node in order
        if id(node) not in users
        for tensor in node.input_tensors
    )
    calls = sum(any(node.operation is x for x in operations) for node in order)
    ends = sum(id(tensor) in own for tensor in model.outputs)
    if used_elsewhere or calls > len(operations) or ends > 1:
        raise errors.NotRebuildable(
            f"The probabilities of '{found.name}' are used more than once in '{model.name}', so "
            "they cannot be left off. Build a model up to its logits by hand."
        )
