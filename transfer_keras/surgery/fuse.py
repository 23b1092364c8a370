"""Fuses networks that take the same input into one flat model, and extracts them again."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping

import keras

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.configs import config_of
from transfer_keras.surgery.frozen_part import changes_in_training, digest_state
from transfer_keras.surgery.rebuild import duplicate
from transfer_keras.surgery.units import Units, units

# Stands between the name of a network and that of a layer. Keras allows no slash in the name of a
# layer, PyTorch no dot, TensorFlow no plus sign.
_SEPARATOR = "--"


def fuse(models: Mapping[str, keras.Model]) -> keras.Model:
    """Fuses several networks into one flat graph, with one input and one output for each name.

    Networks share nothing that is trained, so the gradient of the sum of their losses is, for each
    weight, the gradient of its own network's loss. Weights, flags and the states of dropout seeds
    are copied. The lower part of a frozen donor runs once for all networks that have it: layers
    become one layer of the fused model if they have the same name, config and weights, see the
    same tensor, and have nothing to train and nothing random. That layer is named after the first
    network. A layer is not shared if its network calls it twice, if Keras cannot serialise its
    config, or if it has a vocabulary.

    Args:
        models: name -> functional model or built `Sequential`, of one output each; they take
            inputs of one shape and dtype. They are not changed.

    Returns:
        An uncompiled model from the common input to {name: that network's output}.

    Raises:
        ValueError: if a name is empty or has a slash.
        ShapeMismatch: if the models take different inputs, or have several outputs.
        NotRebuildable: if a layer cannot be made again from its config, or has tied weights, LoRA
            or quantisation.

    Example:
        >>> donor = keras.Sequential([
        ...     keras.Input((8,), name="pixels"),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> networks = {
        ...     name: surgery.transplant(donor, 1, head=head, seed=head).model
        ...     for name, head in {"a": 4, "b": 5}.items()
        ... }
        >>> fused = surgery.fuse(networks)
        >>> {name: output.shape for name, output in fused.output.items()}
        {'a': (None, 4), 'b': (None, 5)}
        >>> [layer.name for layer in fused.layers]
        ['pixels', '0-a--one', '0-a--two', '1-b--two']
    """
    # What is fused.
    # Each name becomes part of the names of layers, where a slash is forbidden. Each network has
    # one output, and all take the same input.
    if not isinstance(models, Mapping):
        raise errors.NotRebuildable(
            f"Expected several models by their names: {{name: model}}. Received: "
            f"{graph.describe(models)}."
        )
    own = [name for name, model in models.items() if graph.class_of(model) is not keras.Model]
    if own:
        raise errors.NotRebuildable(
            f"{', '.join(map(repr, own))}: the network trains in its own way "
            f"({type(models[own[0]]).__name__}), and a fused model trains all in one. Give plain "
            "models: `keras.Model(model.inputs, model.outputs)`."
        )
    models = {name: graph.functional(model) for name, model in models.items()}
    for name in models:
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"A network's name is a string without a slash. Received: {name!r}")
    if not models or any(len(model.outputs) != 1 for model in models.values()):
        outputs = {name: len(model.outputs) for name, model in models.items()}
        raise errors.ShapeMismatch(
            f"Expected one network or more, of one output each. Received: {outputs} outputs."
        )
    _check_inputs(models)

    # One input for all.
    # It is made like the first network's and has its name. All networks are built upon it, so
    # layers of several networks can see the same tensor.
    first = next(iter(models.values())).inputs[0]
    shared_input = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first.name)

    # One copy of each network.
    # Its layers get a prefix with its number and name, since names must be unique. `calls` holds
    # the calls made so far: a frozen layer that was called on the same tensor is not copied again.
    outputs, calls = {}, {}
    for name, model in models.items():
        prefix = f"{len(outputs)}-{_plain_name(name)}{_SEPARATOR}"
        prefixed = {x.name: prefix + x.name for x in model.operations}
        outputs[name] = _copy(model, prefixed, shared_input, calls).outputs[0]
    return keras.Model(shared_input, outputs, name="fused")


def extract(fused: keras.Model, name: str) -> keras.Model:
    """Copies one network out of a model that `fuse` made; the copy can be saved and reloaded.

    Args:
        fused: a model made by `fuse`, trained or not; it is not changed.
        name: one of the names that it was made with.

    Returns:
        An uncompiled model with its own copies of the weights and flags. Its layers have their
        old names. Its own name is the given one, with "_" for each character that is neither
        letter nor digit.

    Raises:
        KeyError: if there is no such name.

    Example:
        >>> networks = {
        ...     name: keras.Sequential(
        ...         [keras.Input((8,)), keras.layers.Dense(units, name="head")]
        ...     )
        ...     for name, units in {"a": 4, "b": 5}.items()
        ... }
        >>> network = surgery.extract(surgery.fuse(networks), "b")
        >>> network.name, network.output.shape
        ('b', (None, 5))
        >>> [layer.name for layer in network.layers[1:]]
        ['head']
    """
    network = _network_inside(fused, name)
    renamed = {x.name: _own_name(x.name) for x in network.operations}
    return _copy(network, renamed)


def fused_units(fused: keras.Model, name: str) -> Units:
    """Finds the units of one network inside a model that `fuse` made.

    Args:
        fused: a model made by `fuse`, trained or not.
        name: one of the names that it was made with.

    Returns:
        The units as `units` gives them, with the layers and tensors of the fused model, and the
        network's own names for the units. A layer that networks share is in the units of each.

    Raises:
        KeyError: if there is no such name.
    """
    inside = units(_network_inside(fused, name))
    return Units(dataclasses.replace(unit, name=_own_name(unit.name)) for unit in inside)


def _network_inside(fused: keras.Model, name: str) -> keras.Model:
    """Gives one network, made of the layers of the fused model."""
    graph.check_model(fused)
    outputs = fused.output
    if not isinstance(outputs, dict) or name not in outputs:
        known = sorted(outputs) if isinstance(outputs, dict) else "none: not a fused model"
        raise KeyError(f"No network named {name!r} in '{fused.name}'. Expected one of {known}")
    return keras.Model(fused.input, outputs[name], name=_plain_name(name))


def _plain_name(name: str) -> str:
    """Replaces the characters that TensorFlow refuses in the name of a function it compiles."""
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def _own_name(layer_name: str) -> str:
    """Removes the prefix of a network from the name of a layer or unit."""
    return layer_name.split(_SEPARATOR, 1)[-1]


def _copy(model: keras.Model, renamed: Mapping[str, str], inputs=None, calls=None) -> keras.Model:
    """Copies a model, its layers under other names.

    Args:
        model: functional.
        renamed: name of each of its layers and operations -> new name.
        inputs: a tensor to build upon; None: new inputs.
        calls: calls that were made for other models, and whose results may be used again; those
            made here are added. None: nothing is shared.
    """
    counts = Counter(id(node.operation) for node in graph.nodes(model))
    originals = {}

    def make(operation):
        new = fresh.renamed(operation, renamed[operation.name])
        originals[id(new)] = operation
        return new

    def call(new, *args, **kwargs):
        old = originals[id(new)]
        identity = _identity(old) if calls is not None and counts[id(old)] == 1 else None
        if identity is None:
            return new(*args, **kwargs)
        key = (*identity, _describe_arguments(args, kwargs))
        if key not in calls:
            # The key names tensors by their `id`, so the arguments are held: no other object can
            # get the same one.
            calls[key] = new(*args, **kwargs), (args, kwargs)
        return calls[key][0]

    return duplicate(model, make, call=call, inputs=inputs)


def _identity(operation) -> tuple | None:
    """Gives a key that is equal for layers and operations that do the same.

    It is None for those that two networks must not share: layers that are trained, that draw
    random numbers, or that hold more than weights.
    """
    is_layer = isinstance(operation, keras.Layer)
    layers = graph.flat_layers(operation) if is_layer else []
    has_assets = any(hasattr(layer, "save_assets") for layer in layers)
    if has_assets or changes_in_training(operation):
        return None
    try:
        config = keras.saving.serialize_keras_object(fresh.without_seeds(config_of(operation)))
        text = json.dumps(config, sort_keys=True)
    except (TypeError, ValueError):
        return None
    flags = tuple(layer.trainable for layer in layers)
    return type(operation), text, flags, digest_state(operation)


def _describe_arguments(args, kwargs) -> str:
    """Writes the arguments of a call as text, tensors of the graph by their identity."""

    def leaf(value):
        if isinstance(value, keras.KerasTensor):
            return f"tensor {id(value)}"
        return freezing.digest(value) if hasattr(value, "shape") else value

    return repr(keras.tree.map_structure(leaf, (args, kwargs)))


def _check_inputs(models: Mapping[str, keras.Model]) -> None:
    received = {
        name: [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]
        for name, model in models.items()
    }
    expected = next(iter(received.values()))
    differing = {name: inputs for name, inputs in received.items() if inputs != expected}
    if differing or len(expected) != 1:
        raise errors.ShapeMismatch(
            f"Networks that are fused must take one input of the same shape and dtype. "
            f"Expected: {expected}. Received: {differing or expected}"
        )
