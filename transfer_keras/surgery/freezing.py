"""Freezes layers, and proves that what was frozen did not change."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.batch_norm import FixedStatisticsBatchNormalization
from transfer_keras.surgery.spectral_norm import moves_while_frozen
from transfer_keras.surgery.weights import own_weight_pairs, own_weights


def set_trainable(layers: Iterable[keras.Layer], value: bool) -> None:
    """Sets the flag of layers and of every layer inside them, the same on every backend.

    On TensorFlow, setting a flag to the value that it already has leaves the layers inside as
    they were; so each flag is set to the opposite first.

    Args:
        layers: any layers or models.
        value: True to train them, False to freeze them.

    Raises:
        NotRebuildable: if something is no layer.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> surgery.set_trainable([network.get_layer("one")], False)
        >>> [layer.name for layer in network.layers if layer.trainable]
        ['two']
    """
    if isinstance(layers, keras.Layer):
        raise errors.NotRebuildable(
            f"Expected a list of layers. Received: {graph.describe(layers)}. Give [layer], or "
            "`model.layers`."
        )
    for layer in layers:
        for inner in graph.flat_layers(layer):
            set_flag(inner, value)


def set_flag(layer: keras.Layer, value: bool) -> None:
    """Sets the flag of a layer and of the layers inside it, even if it had that value already."""
    layer.trainable = not value
    layer.trainable = value


def copy_flags(pairs: Sequence[tuple[keras.Layer, keras.Layer]]) -> None:
    """Gives the second of each pair the flag of the first; parents must come before children."""
    for old, new in pairs:
        set_flag(new, old.trainable)
    for old, new in pairs:
        for source, target in own_weight_pairs(old, new):
            # A single weight can be frozen by itself.
            if target.trainable != source.trainable:
                target.trainable = source.trainable


def snapshot(model: keras.Model, *, frozen_only: bool = True) -> dict[str, str]:
    """Computes digests of weights, BatchNorm statistics included.

    The seeds of dropout are not weights and have no digest.

    Args:
        model: any built model.
        frozen_only: whether only frozen weights are digested: those of layers whose `trainable`
            is False, and the statistics of `FixedStatisticsBatchNormalization`.

    Returns:
        "layer/index of the inner layer/index of the weight:its name" -> SHA-256 of dtype, shape
        and bytes.

    Raises:
        NotRebuildable: if it is no model, or not built.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, name="one", trainable=False),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> list(surgery.snapshot(network))
        ['one/0/0:kernel', 'one/0/1:bias']
        >>> len(surgery.snapshot(network, frozen_only=False))
        4
    """
    graph.check_model(model)
    return digest_weights(model, frozen_only)


def digest_weights(model: keras.Model, frozen_only: bool) -> dict[str, str]:
    """Computes what `snapshot` gives; of a model that is not built yet, none."""
    digests = {}
    for layer in model.layers:
        for index, inner in enumerate(graph.flat_layers(layer)):
            for place, weight in enumerate(own_weights(inner)):
                if frozen_only and not _is_frozen(inner, weight):
                    continue
                digests[f"{layer.name}/{index}/{place}:{weight.name}"] = digest(weight)
    return digests


def assert_unchanged(model: keras.Model, before: Mapping[str, str]) -> None:
    """Compares the model with an earlier `snapshot` of it.

    Args:
        model: any built model.
        before: from `snapshot`, of this model or of one that it is a copy of.

    Raises:
        FrozenWeightChanged: if a weight of the snapshot differs or is missing; the message names
            every such weight.

    Example:
        >>> network = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.Dense(3, name="one", trainable=False)], name="net"
        ... )
        >>> before = surgery.snapshot(network)
        >>> surgery.assert_unchanged(network, before)
        >>> _ = network.get_layer("one").bias.assign([1, 2, 3])
        >>> surgery.assert_unchanged(network, before)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        transfer_keras...FrozenWeightChanged: 1 of 2 frozen weights of 'net' changed: ...
    """
    now = snapshot(model, frozen_only=False)
    changed = [name for name, digest in before.items() if now.get(name) != digest]
    if changed:
        raise errors.FrozenWeightChanged(
            f"{len(changed)} of {len(before)} frozen weights of '{model.name}' changed: "
            f"{', '.join(changed)}. Expected: bit-identical. {_cause(model, changed)}"
        )


def _cause(model: keras.Model, changed: Sequence[str]) -> str:
    """Says why frozen weights may have changed."""
    names = {name.partition("/")[0] for name in changed}
    moving = [
        inner.name
        for layer in model.layers
        for inner in graph.flat_layers(layer)
        if layer.name in names and moves_while_frozen(inner)
    ]
    if moving:
        return (
            f"{errors.first_few(moving)}: SpectralNormalization changes its kernel in training "
            "though it is frozen. `transplant` puts one in its place that does not."
        )
    return (
        "A flag was set after the training step had been built, or something assigned to them, "
        "such as a layer that updates its own weights when it is called."
    )


def _is_frozen(layer: keras.Layer, weight) -> bool:
    """Tells whether training must not change a weight of this layer."""
    fixed = isinstance(layer, FixedStatisticsBatchNormalization)
    return not layer.trainable or (fixed and not weight.trainable)


def digest(array) -> str:
    """Computes the SHA-256 of an array's dtype, shape and bytes, as hexadecimal digits."""
    value = np.ascontiguousarray(keras.ops.convert_to_numpy(array))
    return hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()
