"""Finds the part of a network that gives the same values for a picture all through a training."""

import hashlib
import json
from collections.abc import Collection

import keras

from transfer_keras.surgery import freezing, fresh, graph
from transfer_keras.surgery.spectral_norm import moves_while_frozen

_DROPOUT = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout)


def changes_in_training(operation) -> bool:
    """Tells whether the values that a layer or operation makes can change while a model trains.

    They do where something is trained, drawn at random, or updated in each call.

    Args:
        operation: a layer, with all layers inside it, or an operation of `keras.ops`.
    """
    if not isinstance(operation, keras.Layer):
        return False
    # The states of seeds are variables and no weights.
    is_random = len(operation.variables) > len(operation.weights)
    own = (keras.layers.BatchNormalization, keras.layers.SpectralNormalization)
    updates = any(
        moves_while_frozen(layer) or (isinstance(layer, own) and layer.trainable)
        for layer in graph.flat_layers(operation)
    )
    return bool(is_random or updates or operation.trainable_variables)


def configs_without_dropout(model: keras.Model, lower: Collection[int]) -> dict[int, dict]:
    """Gives what changes in the configs of layers that drop or add noise, so that they do nothing.

    Args:
        model: functional.
        lower: the identities of layers; others are left as they are.

    Returns:
        Identity of a layer of the model -> entries of its config. Layers inside others are not
        among them.
    """
    layers = [layer for layer in model.layers if id(layer) in lower]
    changes = {id(layer): {"rate": 0.0} for layer in layers if isinstance(layer, _DROPOUT)}
    noise = [layer for layer in layers if isinstance(layer, keras.layers.GaussianNoise)]
    return changes | {id(layer): {"stddev": 0.0} for layer in noise}


def digest_state(operation) -> tuple:
    """Computes digests of all that a layer holds, weights and what it saves besides.

    Args:
        operation: a layer, with all layers inside it, or an operation, which holds nothing.

    Returns:
        Of each layer inside, the pairs (name, SHA-256).
    """
    digests = []
    for layer in graph.flat_layers(operation) if isinstance(operation, keras.Layer) else ():
        store: dict = {}
        layer.save_own_variables(store)
        digests.append(tuple((key, freezing.digest(value)) for key, value in store.items()))
    return tuple(digests)


def frozen_boundary(model: keras.Model) -> list[keras.KerasTensor]:
    """Finds the tensors at which the frozen part of a model ends.

    The frozen part is all that depends on nothing but the model's input: its values for a picture
    are the same at every step of a training. They can be computed once and kept:
    `keras.Model(boundary, model.output)` is the rest of the model, with the same layers.

    Args:
        model: functional, of one input.

    Returns:
        The last tensors of the frozen part, in the order of the graph: those from which something
        goes into the rest, or that are outputs. The input itself is among them if the rest uses it.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one", trainable=False),
        ...     keras.layers.Dropout(0.5),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> [tensor.shape for tensor in surgery.frozen_boundary(network)]
        [(None, 6)]
    """
    model = graph.functional(model)
    frozen = {id(tensor): tensor for tensor in model.inputs}
    used = {id(tensor) for tensor in model.outputs}
    for node in graph.nodes(model):
        is_frozen = all(id(tensor) in frozen for tensor in node.input_tensors)
        if is_frozen and not changes_in_training(node.operation):
            frozen |= {id(tensor): tensor for tensor in node.output_tensors}
        else:
            used |= {id(tensor) for tensor in node.input_tensors}
    return [tensor for key, tensor in frozen.items() if key in used]


def digest_function(model: keras.Model) -> str:
    """Computes a digest of what a model computes: its layers, their weights and their wiring.

    The names of layers do not count, nor the seeds of their initialisers. Two models with the same
    digest compute the same.

    Args:
        model: functional.

    Returns:
        SHA-256, in hexadecimal digits.

    Raises:
        NotRebuildable: if the model has no graph.
        TypeError: if the config of a layer cannot be written as JSON.
    """
    model = graph.functional(model)
    total, places = hashlib.sha256(), {}

    def place(value):
        if isinstance(value, keras.KerasTensor):
            return f"tensor {places[id(value)]}"
        return freezing.digest(value) if hasattr(value, "shape") else value

    def add(*facts) -> None:
        total.update(repr(facts).encode())

    for tensor in model.inputs:
        places[id(tensor)] = len(places)
        add(tensor.shape, tensor.dtype)
    calls: dict[int, int] = {}
    for node in graph.nodes(model):
        operation = node.operation
        # A layer that is called again is the same one.
        call = calls.setdefault(id(operation), len(calls))
        config = fresh.without_seeds(keras.saving.serialize_keras_object(operation)["config"])
        arguments = node.arguments
        add(
            call,
            type(operation).__module__,
            type(operation).__name__,
            json.dumps({**config, "name": None}, sort_keys=True),
            keras.tree.map_structure(place, (arguments.args, arguments.kwargs)),
        )
        add(digest_state(operation))
        for tensor in node.output_tensors:
            places[id(tensor)] = len(places)
    add([places[id(tensor)] for tensor in model.outputs])
    return total.hexdigest()
