"""Copies a network of which a layer or the input is another, and checks that the weights fit."""

from collections.abc import Callable, Collection

import keras
import numpy as np

from transfer_keras.surgery import errors, freezing, graph
from transfer_keras.surgery.rebuild import (
    check_rebuildable,
    copied,
    copy_own_state,
    copy_seed_states,
    flat_pairs,
    rebuild,
)
from transfer_keras.surgery.weights import own_weight_pairs

# From (layer of the network, weight of it or of a layer inside it, the new weight) to the value
# of the new weight; None: the old weight's own value.
Adapt = Callable[[keras.Layer, keras.Variable, keras.Variable], np.ndarray | None]


def copy_changed(
    model: keras.Model,
    make: Callable,
    *,
    advice: Callable[[keras.Layer], str],
    call: Callable = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    inputs=None,
    own: Collection[int] = (),
    adapt: Adapt = lambda layer, old, new: None,
) -> keras.Model:
    """Copies a network with changes: its graph, weights, flags and the states of dropout seeds.

    Args:
        model: a functional model or a built `Sequential`.
        make: function from a layer or operation of the model to the new one.
        advice: function from a layer that does not fit to the end of the error's message.
        call: function that calls a new layer, from (layer, *args, **kwargs) to the outputs.
        inputs: tensors to build upon, one for each of the model's; None: new inputs.
        own: identities of new layers that keep their own weights and flags.
        adapt: gives the value of a weight that changes with its layer's input.

    Raises:
        NotRebuildable: if a layer cannot be made again from its config, or has tied weights or
            LoRA; if the model's class trains in its own way and cannot be made again.
        ShapeMismatch: if a layer cannot take its new input, or its weights would have other
            shapes; the message names the first such layer.
    """
    kind, model = graph.class_of(model), graph.functional(model)
    check_rebuildable(model)
    originals: dict[int, object] = {}
    # Identity of a new weight -> its value.
    adapted: dict[int, np.ndarray] = {}

    def make_known(operation):
        new = make(operation)
        originals[id(new)] = operation
        return new

    def call_checked(new, *args, **kwargs):
        old = originals[id(new)]
        try:
            outputs = call(new, *args, **kwargs)
        except errors.SurgeryError:
            raise
        except Exception as error:
            # Each backend has classes of its own for shapes that do not fit.
            raise refused(new, (args, kwargs), error, advice(old)) from error
        if isinstance(old, keras.Layer) and id(new) not in own:
            adapted.update(_adapted_weights(old, new, adapt, advice))
        return outputs

    copy, pairs = rebuild(model, make_known, seed=None, call=call_checked, inputs=inputs, kind=kind)
    pairs = [(old, new) for old, new in pairs if id(new) not in own]
    pieces = flat_pairs(pairs)
    for old, new in pieces:
        _copy_state(old, new, adapted)
    for old, new in pairs:
        copy_seed_states(old, new)
    freezing.copy_flags(pieces)
    graph.let_flags_spread(copy)
    return copy


def refused(layer, arguments, error: Exception, advice: str) -> errors.ShapeMismatch:
    """Makes the error of a layer or operation that cannot take its input."""
    tensors = [x for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]
    shapes = " and ".join(str(tuple(x.shape)) for x in tensors)
    return errors.ShapeMismatch(
        f"'{layer.name}' ({type(layer).__name__}) cannot take an input of shape {shapes}: "
        f"{errors.one_line(error)} {advice}"
    )


def _adapted_weights(
    old: keras.Layer, new: keras.Layer, adapt: Adapt, advice: Callable[[keras.Layer], str]
) -> dict[int, np.ndarray]:
    """Gives the values of the weights that change, and checks that all others keep their shapes.

    Weights of layers inside the layer are among them.
    """
    adapted = {}
    for pair in flat_pairs([(old, new)]):
        for before, after in own_weight_pairs(*pair):
            value = adapt(old, before, after)
            if value is not None:
                adapted[id(after)] = value
            elif before.shape != after.shape:
                raise errors.ShapeMismatch(
                    f"The weights of '{old.name}' ({type(old).__name__}) depend on its input: "
                    f"{before.name} has shape {tuple(before.shape)} and would need "
                    f"{tuple(after.shape)}. {advice(old)}"
                )
    return adapted


def _copy_state(old: keras.Layer, new: keras.Layer, adapted: dict[int, np.ndarray]) -> None:
    """Copies the state of one layer, without that of the layers inside it."""
    pairs = own_weight_pairs(old, new)
    if not any(id(after) in adapted for _, after in pairs):
        copy_own_state(old, new)
        return
    for before, after in pairs:
        value = adapted.get(id(after))
        after.assign(copied(before) if value is None else value)
    if hasattr(new, "finalize_state"):
        # A normalisation that was adapted to data computes its constants from its weights.
        new.finalize_state()
