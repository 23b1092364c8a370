"""Averages features of units to few numbers, to which linear models can be fitted."""

import itertools
import math

import keras

from transfer_keras import surgery

_MOST = 1024


def pool_features(output: keras.KerasTensor, most: int = _MOST) -> keras.Sequential:
    """Makes a network that averages an output to at most `most` features a picture, in float32.

    Feature maps are averaged to a grid of fewer positions where they have too many; tokens, and
    maps whose size is open or that have more channels than `most`, over all positions, so that
    one feature a channel remains. Float32, since sums of many float16 overflow.

    Args:
        output: (None, ..., channels).
        most: number of features.

    Returns:
        output -> float32 (batch, features).
    """
    _, *sizes, channels = output.shape
    side = max(1, math.isqrt(most // channels))
    pools = []
    if len(sizes) == 1:
        pools.append(keras.layers.GlobalAveragePooling1D(dtype="float32"))
    elif len(sizes) == 2 and (side == 1 or None in sizes):
        pools.append(keras.layers.GlobalAveragePooling2D(dtype="float32"))
    elif len(sizes) == 2 and side < max(sizes):
        size = (min(side, sizes[0]), min(side, sizes[1]))
        pools.append(keras.layers.AdaptiveAveragePooling2D(size, dtype="float32"))
    return keras.Sequential([*pools, keras.layers.Flatten(dtype="float32")])


def put_linear_head(model: keras.Model, n: int, classes: int) -> keras.Model:
    """Makes a network of the lower n units and a linear classifier, and leaves the others out.

    Args:
        model: a functional model; the new one shares its layers.
        n: how many units, 1 or more; see `surgery.lower`.
        classes: number of outputs, which are logits in float32.

    Raises:
        NotACutPoint: if no single tensor ends unit n.
    """
    features, taken = surgery.lower(model, n).output, {layer.name for layer in model.layers}

    def free(name: str) -> str:
        names = (f"{name}{'_' * count}" for count in itertools.count())
        return next(name for name in names if name not in taken)

    for number, layer in enumerate(pool_features(features).layers, 1):
        config = layer.get_config() | {"name": free(f"pooled_{number}")}
        features = type(layer).from_config(config)(features)
    outputs = keras.layers.Dense(classes, name=free("linear"), dtype="float32")(features)
    return keras.Model(model.input, outputs, name=f"{model.name}_linear")
