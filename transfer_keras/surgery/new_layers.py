"""Makes the layers of a new network from those of a donor, copied or fresh."""

from collections.abc import Collection

import keras
import numpy as np

from transfer_keras.surgery import batch_norm as bn
from transfer_keras.surgery import errors, fresh
from transfer_keras.surgery.rebuild import Pairs, copy_own_state

# Whether the statistics stay as they are -> class of the BatchNorm layer.
NORMS = {
    False: keras.layers.BatchNormalization,
    True: bn.FixedStatisticsBatchNormalization,
}


def layer_maker(share: Collection[str], changes: dict[int, dict], fixed: set[int] | None):
    """Gives the function that makes a new layer from one of the donor.

    Args:
        share: names of layers that are used as they are.
        changes: identity of a layer -> entries of its config to replace.
        fixed: identities of the layers whose BatchNorm keeps its statistics; None: those that
            keep them already.
    """

    def make(layer):
        if layer.name in share:
            if layer.trainable and layer.weights:
                raise errors.NotRebuildable(
                    f"share: '{layer.name}' has weights that training would change in the donor "
                    "too. Freeze it in the donor first, or leave it out of `share`."
                )
            return layer
        kind = None
        if fixed is not None and type(layer) in NORMS.values():
            kind = NORMS[id(layer) in fixed]
        return fresh.remake(layer, kind=kind, **changes.get(id(layer), {}))

    return make


def adapted_layers(pairs: Pairs) -> set[int]:
    """Gives the identities of layers whose state came from data and not from training."""
    return {id(old) for old, _ in pairs if hasattr(old, "adapt")}


def copy_weights(pairs: Pairs, copied: set[int]) -> None:
    """Copies the state of the layers in `copied`, and checks that all others are fresh."""
    rebuilt = [(old, new) for old, new in pairs if old is not new]
    for old, new in rebuilt:
        if id(old) not in copied:
            _check_fresh(old, new)
    mismatched = []
    for old, new in rebuilt:
        if id(old) in copied:
            shapes = [[tuple(w.shape) for w in layer.weights] for layer in (old, new)]
            if shapes[0] != shapes[1]:
                mismatched.append(f"'{old.name}' has {shapes[0]}, its copy {shapes[1]}")
                continue
            copy_own_state(old, new)
    if mismatched:
        raise errors.ShapeMismatch(
            f"{len(mismatched)} layers came out of their config with other weights: "
            f"{'; '.join(mismatched)}. Their configs do not say all that made them."
        )


def _check_fresh(old: keras.Layer, new: keras.Layer) -> None:
    """Checks that no weight that was drawn at random equals the donor's."""
    for before, after in zip(old.weights, new.weights, strict=True):
        value = keras.ops.convert_to_numpy(after)
        # A bias, or a kernel of one value, begins the same each time.
        is_random = value.ndim >= 2 and np.unique(value).size > 1
        if is_random and np.array_equal(value, keras.ops.convert_to_numpy(before)):
            raise errors.NotFresh(
                f"'{old.name}' came out with the donor's own {before.name}. Expected new random "
                "values. Either the donor was made with this very seed, so give another; or its "
                "initialiser keeps values or a seed outside its config, so give another one."
            )
