"""Copies a network of which a layer is another, and checks that the weights of all others fit."""

from collections.abc import Callable, Collection

import keras

from transfer_keras.surgery import errors, freezing, graph
from transfer_keras.surgery.rebuild import (
    check_rebuildable,
    copy_own_state,
    copy_seed_states,
    flat_pairs,
    rebuild,
)
from transfer_keras.surgery.weights import own_weight_pairs


def copy_changed(
    model: keras.Model,
    make: Callable,
    *,
    advice: str,
    call: Callable = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    own: Collection[int] = (),
) -> keras.Model:
    """Copies a network with changes: its graph, weights, flags and the states of dropout seeds.

    Args:
        model: a functional model or a built `Sequential`.
        make: function from a layer or operation of the model to the new one.
        advice: end of the message about a layer that does not fit.
        call: function that calls a new layer, from (layer, *args, **kwargs) to the outputs.
        own: identities of new layers that keep their own weights and flags.

    Raises:
        NotRebuildable: if a layer cannot be made again from its config, or has tied weights or
            LoRA; if the model's class trains in its own way and cannot be made again.
        ShapeMismatch: if a layer cannot take its new input, or its weights would have other
            shapes; the message names the first such layer.
    """
    kind, model = graph.class_of(model), graph.functional(model)
    check_rebuildable(model)
    originals: dict[int, object] = {}

    def make_known(operation):
        new = make(operation)
        originals[id(new)] = operation
        return new

    def call_checked(new, *args, **kwargs):
        try:
            outputs = call(new, *args, **kwargs)
        except errors.SurgeryError:
            raise
        except Exception as error:
            # Each backend has classes of its own for shapes that do not fit.
            raise refused(new, (args, kwargs), error, advice) from error
        if isinstance(new, keras.Layer) and id(new) not in own:
            _check_shapes(originals[id(new)], new, advice)
        return outputs

    copy, pairs = rebuild(model, make_known, seed=None, call=call_checked, kind=kind)
    pairs = [(old, new) for old, new in pairs if id(new) not in own]
    pieces = flat_pairs(pairs)
    for old, new in pieces:
        copy_own_state(old, new)
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


def _check_shapes(old: keras.Layer, new: keras.Layer, advice: str) -> None:
    """Checks that all weights of a layer keep their shapes, those of layers inside it too."""
    for pair in flat_pairs([(old, new)]):
        for before, after in own_weight_pairs(*pair):
            if before.shape != after.shape:
                raise errors.ShapeMismatch(
                    f"The weights of '{old.name}' ({type(old).__name__}) depend on its input: "
                    f"{before.name} has shape {tuple(before.shape)} and would need "
                    f"{tuple(after.shape)}. {advice}"
                )
