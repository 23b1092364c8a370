"""One flat model out of many that take the same input, and each of them out of it again."""

import re
from collections.abc import Mapping

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.freezing import copy_flags
from transfer_keras.surgery.rebuild import (
    check_rebuildable,
    copy_own_state,
    copy_seed_states,
    flat_pairs,
    rebuild,
)

# Between a network's name and a layer's: Keras allows no slash in the name of a layer, PyTorch no
# dot, TensorFlow no plus sign.
_SEPARATOR = "--"


def fuse(models: Mapping[str, keras.Model]) -> keras.Model:
    """One flat graph of several networks, with one input and one output a name.

    The networks stay disjoint, so the gradient of the sum of their losses is each one's own.
    Weights, flags and the states of dropout seeds are copied.

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
    outputs = {}
    for name, model in models.items():
        prefix = f"{len(outputs)}-{re.sub(r'[^A-Za-z0-9]', '_', name)}{_SEPARATOR}"
        prefixed = {x.name: prefix + x.name for x in model.operations}
        outputs[name] = _copy(model, prefixed, shared).outputs[0]
    return keras.Model(shared, outputs, name="fused")


def extract(fused: keras.Model, name: str) -> keras.Model:
    """One network out of a model that `fuse` made: it stands alone, saves and reloads.

    Args:
        fused: a model made by `fuse`, trained or not.
        name: one of the names that it was made with.

    Returns:
        A new model with its own copies of the weights and flags, layers under their old names.

    Raises:
        KeyError: if there is no such name.
    """
    outputs = fused.output
    if not isinstance(outputs, dict) or name not in outputs:
        known = sorted(outputs) if isinstance(outputs, dict) else "none: not a fused model"
        raise KeyError(f"No network named {name!r} in '{fused.name}'. Expected one of {known}")
    part = keras.Model(fused.input, outputs[name], name=name)
    renamed = {x.name: x.name.split(_SEPARATOR, 1)[-1] for x in part.operations}
    return _copy(part, renamed, None)


def _copy(model: keras.Model, renamed: Mapping[str, str], inputs) -> keras.Model:
    """An exact copy under other layer names, on a given input tensor where there is one."""
    check_rebuildable(model)
    copy, pairs = rebuild(
        model,
        lambda operation: fresh.renamed(operation, renamed[operation.name]),
        seed=None,  # Every value is written over.
        inputs=inputs,
    )
    pieces = flat_pairs(pairs)
    for old, new in pieces:
        copy_own_state(old, new)
    for old, new in pairs:
        copy_seed_states(old, new)
    copy_flags(pieces)
    return copy


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
