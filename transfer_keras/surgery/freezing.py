"""Freezing layers, and the proof that what was frozen did not move."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.batch_norm import FixedStatisticsBatchNormalization


def set_trainable(layers: Iterable[keras.Layer], value: bool) -> None:
    """Sets the flag of the layers and of every layer inside them, the same on every backend.

    On TensorFlow, setting a flag to the value that it already has leaves the layers inside as
    they were; so each is set to the opposite first.
    """
    for layer in layers:
        for inner in graph.flat_layers(layer):
            set_flag(inner, value)


def set_flag(layer: keras.Layer, value: bool) -> None:
    """Sets the flag of a layer; those inside it follow, even if it had that value already."""
    layer.trainable = not value
    layer.trainable = value


def copy_flags(pairs: Sequence[tuple[keras.Layer, keras.Layer]]) -> None:
    """Gives the second of each pair the flag of the first; parents before children."""
    for old, new in pairs:
        set_flag(new, old.trainable)
    for old, new in pairs:
        for source, target in zip(old.weights, new.weights, strict=True):
            if target.trainable != source.trainable:  # One weight was frozen by itself.
                target.trainable = source.trainable


def snapshot(model: keras.Model, *, frozen_only: bool = True) -> dict[str, str]:
    """Digests of weights, BatchNorm statistics included; seeds of dropout are no weights.

    Args:
        model: any built model.
        frozen_only: of the layers whose `trainable` is False only, else of all.

    Returns:
        "layer/index of the inner layer/weight" -> SHA-256 of dtype, shape and bytes.
    """
    digests = {}
    for layer in model.layers:
        for index, inner in enumerate(graph.flat_layers(layer)):
            for place, weight in enumerate(_own_weights(inner)):
                if frozen_only and not _is_still(inner, weight):
                    continue
                digests[f"{layer.name}/{index}/{place}:{weight.name}"] = digest(weight)
    return digests


def assert_unchanged(model: keras.Model, before: Mapping[str, str]) -> None:
    """Compares the model with an earlier `snapshot` of it.

    Raises:
        FrozenWeightChanged: naming every weight of the snapshot that differs or is gone.
    """
    now = snapshot(model, frozen_only=False)
    moved = [name for name, digest in before.items() if now.get(name) != digest]
    if moved:
        raise errors.FrozenWeightChanged(
            f"{len(moved)} of {len(before)} frozen weights of '{model.name}' changed: "
            f"{', '.join(moved)}. Expected: bit-identical. A flag was set after the training "
            "step had been built, or something assigned to them."
        )


def _is_still(layer: keras.Layer, weight) -> bool:
    """Whether training may not move a weight of this layer."""
    fixed = isinstance(layer, FixedStatisticsBatchNormalization)
    return not layer.trainable or (fixed and not weight.trainable)


def _own_weights(layer: keras.Layer) -> list:
    inside = {id(w) for child in graph.flat_layers(layer)[1:] for w in child.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def digest(array) -> str:
    """SHA-256 of an array's dtype, shape and bytes."""
    value = np.ascontiguousarray(keras.ops.convert_to_numpy(array))
    return hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()
