"""Summaries of the outputs of units: statistics, and what CKA is computed from."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from transfer_keras.training.monitors.cka import centred_gram


class ActivationSummary(NamedTuple):
    """The summary of a unit's output for one batch of images; its fields are tensors or arrays.

    Attributes:
        images: int32, how many.
        mean, variance: float32, over all values.
        lowest, highest: float32 (channels,), over images and positions.
        centred: float64 (images, images), from `cka.centred_gram`; () where the unit is not
            compared.
    """

    images: object
    mean: object
    variance: object
    lowest: object
    highest: object
    centred: object


def summarise_activations(
    values: Sequence[tf.Tensor], compared: Sequence[bool]
) -> list[ActivationSummary]:
    """Summarises the outputs of units for one batch; runs in the graph.

    Args:
        values: the outputs, (images, ..., channels) each.
        compared: whether another unit will be compared to it, for each.
    """
    return [
        _summarise(tf.cast(output, tf.float32), is_compared)
        for output, is_compared in zip(values, compared, strict=True)
    ]


def _summarise(values: tf.Tensor, compared: bool) -> ActivationSummary:
    mean, variance = tf.nn.moments(values, axes=list(range(len(values.shape))))
    inner = list(range(len(values.shape) - 1))
    lowest, highest = tf.reduce_min(values, inner), tf.reduce_max(values, inner)
    centred = centred_gram(values) if compared else ()
    return ActivationSummary(tf.shape(values)[0], mean, variance, lowest, highest, centred)


class UnitActivations(NamedTuple):
    """The summary of a unit's output for all images of a measurement.

    Attributes:
        statistics: `activation_mean`, `activation_std` and `dead_fraction`.
        centred: `ActivationSummary.centred` of each batch, for `cka.linear_cka`.
    """

    statistics: Mapping[str, float]
    centred: Sequence[np.ndarray]


def combine_summaries(batches: Sequence[ActivationSummary]) -> UnitActivations:
    """Combines the summaries of a unit over all batches.

    A channel is dead if it has one value for all images at all positions, as after a ReLU that
    never opens. In a feature map that the unit has flattened, each position is a channel. The
    fraction of dead channels is NaN where a value is not finite, and for a single image.

    Args:
        batches: summaries whose fields are arrays.
    """
    sizes = [int(summary.images) for summary in batches]
    means = np.array([summary.mean for summary in batches], np.float64)
    mean = np.average(means, weights=sizes)
    variances = np.array([summary.variance for summary in batches], np.float64)
    variance = np.average(variances + (means - mean) ** 2, weights=sizes)
    lowest = np.min([summary.lowest for summary in batches], axis=0)
    highest = np.max([summary.highest for summary in batches], axis=0)
    known = np.isfinite(mean) and sum(sizes) > 1
    statistics = {
        "activation_mean": float(mean),
        "activation_std": float(np.sqrt(variance)),
        "dead_fraction": float(np.mean(lowest == highest)) if known else math.nan,
    }
    return UnitActivations(statistics, [summary.centred for summary in batches])
