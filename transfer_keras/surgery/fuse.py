"""One flat model out of many that take the same input, and each of them out of it again."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping

import keras

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.rebuild import duplicate
from transfer_keras.surgery.units import Units, units

# Between a network's name and a layer's: Keras allows no slash in the name of a layer, PyTorch no
# dot, TensorFlow no plus sign.
_SEPARATOR = "--"


def fuse(models: Mapping[str, keras.Model]) -> keras.Model:
    """One flat graph of several networks, with one input and one output a name.

    What is trained stays disjoint, so the gradient of the sum of their losses is each one's own.
    Weights, flags and the states of dropout seeds are copied. Layers of the same name, config
    and weights that see the same tensor, have nothing to train and nothing random, are one layer
    in the fused model: the lower part of a frozen donor runs once for all networks that have it.
    It bears the name of the first of them. A layer is not shared if its network calls it twice
    or if Keras cannot serialise its config, nor is one with a vocabulary.

    Args:
        models: functional models of one output each that take inputs of one shape and dtype.

    Returns:
        An uncompiled model: the common input -> {name: that network's output}.

    Raises:
        ShapeMismatch: if the models take different inputs.
    """
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
    first = next(iter(models.values())).inputs[0]
    shared = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first.name)
    outputs, calls = {}, {}
    for name, model in models.items():
        prefix = f"{len(outputs)}-{_plain(name)}{_SEPARATOR}"
        prefixed = {x.name: prefix + x.name for x in model.operations}
        outputs[name] = _copy(model, prefixed, shared, calls).outputs[0]
    return keras.Model(shared, outputs, name="fused")


def extract(fused: keras.Model, name: str) -> keras.Model:
    """One network out of a model that `fuse` made: it stands alone, saves and reloads.

    Args:
        fused: a model made by `fuse`, trained or not.
        name: one of the names that it was made with.

    Returns:
        A new model with its own copies of the weights and flags, layers under their old names;
        its own name is the given one, "_" for what is neither letter nor digit.

    Raises:
        KeyError: if there is no such name.
    """
    part = _part(fused, name)
    renamed = {x.name: _own_name(x.name) for x in part.operations}
    return _copy(part, renamed)


def fused_units(fused: keras.Model, name: str) -> Units:
    """The units of one network inside a model that `fuse` made.

    Args:
        fused: a model made by `fuse`, trained or not.
        name: one of the names that it was made with.

    Returns:
        As `units` gives them, with the fused model's layers and tensors, and the network's own
        names for the units. Networks that share a layer have the same layer here.

    Raises:
        KeyError: if there is no such name.
    """
    found = units(_part(fused, name))
    return Units(dataclasses.replace(unit, name=_own_name(unit.name)) for unit in found)


def _part(fused: keras.Model, name: str) -> keras.Model:
    """One network with the layers of the fused model."""
    outputs = fused.output
    if not isinstance(outputs, dict) or name not in outputs:
        known = sorted(outputs) if isinstance(outputs, dict) else "none: not a fused model"
        raise KeyError(f"No network named {name!r} in '{fused.name}'. Expected one of {known}")
    return keras.Model(fused.input, outputs[name], name=_plain(name))


def _plain(name: str) -> str:
    """As TensorFlow takes it for the name of what it compiles, in `predict` and `fit`."""
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def _own_name(layer_name: str) -> str:
    return layer_name.split(_SEPARATOR, 1)[-1]


def _copy(model: keras.Model, renamed: Mapping[str, str], inputs=None, calls=None) -> keras.Model:
    """An exact copy under other layer names.

    Args:
        model: functional.
        renamed: a new name for each of its layers and operations.
        inputs: a tensor to build upon; None: new inputs.
        calls: calls made before that may serve again, to which the copy's are added; None:
            nothing is shared.
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
        key = (*identity, _described(args, kwargs))
        if key not in calls:
            calls[key] = new(*args, **kwargs), (args, kwargs)  # Kept, so that no id serves twice.
        return calls[key][0]

    return duplicate(model, make, call=call, inputs=inputs)


def _identity(operation) -> tuple | None:
    """Equal for layers and operations that do the same; None for what no two networks share."""
    is_layer = isinstance(operation, keras.Layer)
    layers = graph.flat_layers(operation) if is_layer else []
    if is_layer:
        random = len(operation.variables) > len(operation.weights)  # The states of its seeds.
        norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
        if (
            random
            or any(norm.trainable for norm in norms)  # Its statistics move in training.
            or operation.trainable_variables
            or any(hasattr(x, "save_assets") for x in layers)
        ):
            return None
    try:
        config = keras.saving.serialize_keras_object(fresh.without_seeds(operation.get_config()))
        text = json.dumps(config, sort_keys=True)
    except (TypeError, ValueError):
        return None
    state = []
    for layer in layers:
        store: dict = {}
        layer.save_own_variables(store)
        state.append((layer.trainable, *((k, freezing.digest(v)) for k, v in store.items())))
    return type(operation), text, tuple(state)


def _described(args, kwargs) -> str:
    """Arguments of a call, tensors of the graph by their identity."""

    def leaf(value):
        if isinstance(value, keras.KerasTensor):
            return f"tensor {id(value)}"
        return freezing.digest(value) if hasattr(value, "shape") else value

    return repr(keras.tree.map_structure(leaf, (args, kwargs)))


def _check_inputs(models: Mapping[str, keras.Model]) -> None:
    found = {
        name: [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]
        for name, model in models.items()
    }
    expected = next(iter(found.values()))
    wrong = {name: inputs for name, inputs in found.items() if inputs != expected}
    if wrong or len(expected) != 1:
        raise errors.ShapeMismatch(
            f"Networks that are fused must take one input of the same shape and dtype. "
            f"Expected: {expected}. Received: {wrong or expected}"
        )
