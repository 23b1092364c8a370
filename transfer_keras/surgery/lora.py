"""Merges low-rank adapters (LoRA) into the weights that they adapt."""

import keras

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.rebuild import (
    check_ties,
    copy_own_state,
    copy_seed_states,
    flat_pairs,
    rebuild,
)


def merge_lora(model: keras.Model) -> keras.Model:
    """Copies a network with each low-rank adapter (Hu et al. 2021) merged into its kernel.

    The copy gives the same outputs, up to rounding. Its layers are plain ones, and the kernels that
    were frozen under their adapters follow the flags of their layers. All other layers, flags
    included, stay the same.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.

    Returns:
        An uncompiled model that shares nothing with the given one.

    Raises:
        NotRebuildable: if an adapter lies inside a nested model, or a layer cannot be made from its
            config or has tied weights.

    Example:
        >>> network = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.Dense(6, name="one", lora_rank=2)]
        ... )
        >>> len(network.weights), len(surgery.merge_lora(network).weights)
        (4, 2)
    """
    kind, model = graph.class_of(model), graph.functional(model)
    check_ties(model)

    def make(operation):
        merged = {"lora_rank": None, "lora_alpha": None} if has_lora(operation) else {}
        return fresh.renamed(operation, operation.name, **merged)

    copy, pairs = rebuild(model, make, seed=None, kind=kind)
    left = [layer.name for layer in copy.layers if any(map(has_lora, graph.flat_layers(layer)))]
    if left:
        raise errors.NotRebuildable(
            f"Low-rank adapters lie inside {errors.first_few(left)} of '{model.name}', which is "
            "made again with them. Open nested models first: `merge_lora(flatten(model))`."
        )
    pieces = flat_pairs(pairs)
    for old, new in pieces:
        # What a layer saves is merged already.
        copy_own_state(old, new)
    for old, new in pairs:
        copy_seed_states(old, new)
    freezing.copy_flags([pair for pair in pieces if not has_lora(pair[0])])
    for old, new in pieces:
        if has_lora(old):
            freezing.set_flag(new, old.trainable)
    graph.let_flags_spread(copy)
    return copy


def has_lora(layer) -> bool:
    """Tells whether a layer itself has a low-rank adapter."""
    return bool(getattr(layer, "lora_enabled", False))
