"""What units answer to images: statistics, and what likeness to other units is measured by."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from transfer_keras.training.monitors.cka import centred_gram


class Kept(NamedTuple):
    """What is kept of a unit's output for one batch of images; tensors, then arrays.

    Attributes:
        images: how many.
        mean, variance: over all its values.
        lowest, highest: (channels,), over images and positions.
        centred: see `cka.centred_gram`; () where nothing is likened to the unit.
    """

    images: object
    mean: object
    variance: object
    lowest: object
    highest: object
    centred: object


def keep(values: Sequence[tf.Tensor], likened: Sequence[bool]) -> list[Kept]:
    """Of the outputs of units for one batch, (images, ...) each; in the graph.

    Args:
        values: the outputs.
        likened: for each, whether something will be likened to it.
    """
    return [
        _keep(tf.cast(v, tf.float32), wanted) for v, wanted in zip(values, likened, strict=True)
    ]


def _keep(values: tf.Tensor, likened: bool) -> Kept:
    mean, variance = tf.nn.moments(values, axes=list(range(len(values.shape))))
    inner = list(range(len(values.shape) - 1))
    lowest, highest = tf.reduce_min(values, inner), tf.reduce_max(values, inner)
    centred = centred_gram(values) if likened else ()
    return Kept(tf.shape(values)[0], mean, variance, lowest, highest, centred)


class Answers(NamedTuple):
    """What a unit answers to the images of a look.

    Attributes:
        statistics: `activation_mean`, `activation_std` and `dead_fraction`.
        centred: what likeness to it is measured by; see `cka.linear_cka`.
    """

    statistics: Mapping[str, float]
    centred: Sequence[np.ndarray]


def answers(batches: Sequence[Kept]) -> Answers:
    """Of a unit, over batches alike.

    Dead is a channel that has one value for all images at all positions, as after a ReLU that
    never opens; in a feature map that the unit has flattened, each position is one. NaN where a
    value is no number, or for a single image.
    """
    sizes = [int(kept.images) for kept in batches]
    means = np.array([kept.mean for kept in batches], np.float64)
    mean = np.average(means, weights=sizes)
    variances = np.array([kept.variance for kept in batches], np.float64)
    variance = np.average(variances + (means - mean) ** 2, weights=sizes)
    lowest = np.min([kept.lowest for kept in batches], axis=0)
    highest = np.max([kept.highest for kept in batches], axis=0)
    known = np.isfinite(mean) and sum(sizes) > 1
    statistics = {
        "activation_mean": float(mean),
        "activation_std": float(np.sqrt(variance)),
        "dead_fraction": float(np.mean(lowest == highest)) if known else math.nan,
    }
    return Answers(statistics, [kept.centred for kept in batches])
