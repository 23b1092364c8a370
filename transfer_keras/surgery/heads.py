"""Finds the head of a network, and gives it another one."""

import keras

from transfer_keras.surgery import errors, freezing, graph
from transfer_keras.surgery.new_layers import (
    adapted_layers,
    constant_weights,
    copy_weights,
    layer_maker,
    rebuild_with_head,
)
from transfer_keras.surgery.rebuild import check_rebuildable, flat_pairs
from transfer_keras.surgery.units import has_kernel


def swap_head(model: keras.Model, classes: int, *, seed: int, name: str | None = None):
    """Copies a network with a new last weighted layer; all else, flags included, stays the same.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        classes: number of outputs of the new layer.
        seed: decides on the new layer's initial values.
        name: of the new model; None: the old name.

    Returns:
        An uncompiled model that shares nothing with the given one.

    Raises:
        NotRebuildable: if the last weighted layer is neither dense nor a convolution, or a layer
            cannot be made from its config.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> surgery.swap_head(network, 7, seed=0).output.shape
        (None, 7)
    """
    kind, model = graph.class_of(model), graph.functional(model)
    check_rebuildable(model)
    last, key = find_head(model, classes)
    changes = {id(last): {key: classes}}
    new_model, pairs = rebuild_with_head(
        model, layer_maker(None, changes), changes, seed, name=name, kind=kind
    )
    operations = [node.operation for node in graph.nodes(model)]
    from_head_up = {id(operation) for operation in operations[operations.index(last) :]}
    inner_pairs = flat_pairs(pairs)
    below_head = flat_pairs([(old, new) for old, new in pairs if id(old) not in from_head_up])
    copied = {id(old) for old, _ in below_head} | adapted_layers(inner_pairs)

    def again():
        return flat_pairs(
            rebuild_with_head(model, layer_maker(None, changes), changes, seed + 1, kind=kind)[1]
        )

    constant_weights(inner_pairs, copied, again)
    copy_weights(inner_pairs, copied)
    freezing.copy_flags(inner_pairs)
    freezing.set_trainable([new for old, new in pairs if old is last], True)
    graph.let_flags_spread(new_model)
    return new_model


def find_head(donor, outputs: int) -> tuple[keras.Layer, str]:
    """Finds the last weighted layer, and the entry of its config with its number of outputs."""
    if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
        raise ValueError(
            f"A head needs a whole number of outputs, 1 or more. Received: {outputs!r}"
        )
    last = [node.operation for node in graph.nodes(donor) if _is_weighted(node.operation)][-1]
    config = last.get_config()
    key = next((key for key in ("units", "filters") if key in config), None)
    if key is None or len(donor.outputs) > 1:
        raise errors.NotRebuildable(
            "A new head needs one output, and a last weighted layer that has `units` or "
            f"`filters`. Received: {len(donor.outputs)} outputs, last '{last.name}' "
            f"({type(last).__name__}). Make the new head by hand on `lower(model, n)`."
        )
    return last, key


def _is_weighted(operation) -> bool:
    """Tells whether an operation is a layer that holds a weight of rank 2 or more."""
    return isinstance(operation, keras.Layer) and has_kernel(operation)
