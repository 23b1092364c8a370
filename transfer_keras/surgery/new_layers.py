"""Makes the layers of a new network from those of a donor, copied or fresh."""

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

import keras
import numpy as np

from transfer_keras.surgery import batch_norm as bn
from transfer_keras.surgery import errors, fresh
from transfer_keras.surgery.rebuild import Pairs, copy_states
from transfer_keras.surgery.spectral_norm import (
    FreezableSpectralNormalization,
    moves_while_frozen,
)
from transfer_keras.surgery.weights import own_weight_pairs

# Whether the statistics stay as they are -> class of the BatchNorm layer.
_NORMS = {
    False: keras.layers.BatchNormalization,
    True: bn.FixedStatisticsBatchNormalization,
}


def layer_maker(
    share: Collection[str] | None,
    changes: Mapping[int, dict],
    kinds: Mapping[int, type] = MappingProxyType({}),
):
    """Gives the function that makes a new layer from one of the donor.

    Args:
        share: names of layers that are used as they are; None: the caller cannot share any.
        changes: identity of a layer -> entries of its config to replace.
        kinds: identity of a layer -> class of the new one, where it is another.
    """

    def make(layer):
        if layer.name in (share or ()):
            if layer.trainable and layer.weights:
                raise errors.NotRebuildable(
                    f"share: '{layer.name}' has weights that training would change in the donor "
                    "too. Freeze it in the donor first, or leave it out of `share`."
                )
            return layer
        kind, changed = kinds.get(id(layer)), changes.get(id(layer), {})
        return fresh.remake(layer, kind=kind, may_share=share is not None, **changed)

    return make


def replaced_classes(
    layers: Iterable[keras.Layer], keep_statistics: Collection[int], frozen: Collection[int]
) -> dict[int, type]:
    """Gives the classes of new layers that differ from those of the donor.

    Args:
        layers: the layers of the donor.
        keep_statistics: identities of the layers whose BatchNorm keeps its statistics in training.
        frozen: identities of the layers that are not trained.

    Returns:
        Identity of a layer -> class of the new one.
    """
    kinds: dict[int, type] = {}
    for layer in layers:
        if type(layer) in _NORMS.values():
            kinds[id(layer)] = _NORMS[id(layer) in keep_statistics]
        elif id(layer) in frozen and type(layer) is keras.layers.SpectralNormalization:
            kinds[id(layer)] = FreezableSpectralNormalization
    return kinds


def check_replaced(pairs: Pairs, keep_statistics: Collection[int], frozen: Collection[int]) -> None:
    """Checks that each layer that must not change by itself is of a class that does not.

    Raises:
        NotRebuildable: if one lies inside another layer or is of a class of its own.
    """
    plain, fixed = _NORMS[False], _NORMS[True]
    for old, new in pairs:
        moves = isinstance(new, plain) and not isinstance(new, fixed)
        asked = "batch_norm='statistics_frozen'" if id(old) in keep_statistics and moves else ""
        if id(old) in frozen and moves_while_frozen(new):
            asked = "mode='frozen'"
        if asked:
            way = "batch_norm='frozen'" if "batch" in asked else "a smaller n, or fine-tune it"
            raise errors.NotRebuildable(
                f"{asked}: '{old.name}' ({type(old).__name__}) lies inside another layer or is a "
                "class of its own, so it cannot be replaced by one that keeps its values in "
                "training. Expected plain BatchNormalization and SpectralNormalization layers of "
                f"the network itself. Give {way}."
            )


def adapted_layers(pairs: Pairs) -> set[int]:
    """Gives the identities of layers whose state came from data and not from training."""
    return {id(old) for old, _ in pairs if hasattr(old, "adapt")}


def copy_weights(pairs: Pairs, copied: Collection[int], again: Callable) -> set[int]:
    """Copies the state of the layers in `copied`, and checks that all others are fresh.

    Args:
        pairs: pairs of layers, those inside others included.
        copied: identities of the layers of the donor that are copied.
        again: function that makes the same pairs with another seed; it is called only if a weight
            equals the donor's.

    Returns:
        Identities of the new weights of rank 2 or more that equal the donor's, since they are given
        the same values whatever the seed.

    Raises:
        NotFresh: if another seed gives such a weight other values, or its initialiser has a seed
            that is not in the layer's config.
        ShapeMismatch: if a layer came out of its config with other weights.
    """
    constant = _constant_weights(pairs, copied, again)
    copy_states([(old, new) for old, new in pairs if old is not new and id(old) in copied])
    return constant


def _constant_weights(pairs: Pairs, copied: Collection[int], again: Callable) -> set[int]:
    """Checks that what is not copied is fresh, and finds what is the same; see `copy_weights`."""
    fresh_pairs = [(old, new) for old, new in pairs if old is not new and id(old) not in copied]
    equal = {id(b) for pair in fresh_pairs for a, b in own_weight_pairs(*pair) if _is_equal(a, b)}
    if not equal:
        return set()
    for (old, new), (_, other) in zip(pairs, again(), strict=True):
        for weight, third in own_weight_pairs(new, other):
            if id(weight) in equal and (not _same(weight, third) or _has_hidden_seed(new)):
                raise errors.NotFresh(
                    f"'{old.name}' came out with the donor's own {weight.name}. "
                    "Expected new random values. Either the donor was made with this very seed, so "
                    "give another; or its initialiser has a seed that is not in the layer's "
                    "config, so give another one."
                )
    return equal


def _is_equal(old, new) -> bool:
    """Tells whether a new weight could be random and equals the donor's.

    A bias, or a kernel of one value, begins the same each time.
    """
    could_be_random = len(new.shape) >= 2 and np.unique(keras.ops.convert_to_numpy(new)).size > 1
    return could_be_random and _same(old, new)


def _same(first, second) -> bool:
    return np.array_equal(*map(keras.ops.convert_to_numpy, (first, second)))


def _has_hidden_seed(layer: keras.Layer) -> bool:
    """Tells whether a layer holds an initialiser with a seed, though none is left in its config."""
    held = [value for value in vars(layer).values() if isinstance(value, keras.Initializer)]
    return any(initializer.get_config().get("seed") is not None for initializer in held)
