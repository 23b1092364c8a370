"""Averages features of units to few numbers, of which linear models can be fitted."""

import math

import keras


def pool_features(output: keras.KerasTensor, most: int) -> keras.Sequential:
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
