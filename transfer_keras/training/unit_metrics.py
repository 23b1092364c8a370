"""The measurements of single units that a training takes besides the scores."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class UnitMetrics:
    """What is measured of units, how often, and on which images.

    Attributes:
        every: steps from one measurement to the next. The first is taken before the first step,
            the last after the last.
        tensors: outputs of units of the fused model.
        summarise: makes of the tensors' values for a batch, (batch, ...) each, in inference mode,
            any nest of tensors; it is traced into the graph.
        images: how many test images are used, from the first on (all of them where they are
            fewer); counted in whole batches.
    """

    every: int
    tensors: Sequence[keras.KerasTensor]
    summarise: Callable[[list[tf.Tensor]], object]
    images: int = 1280


class UnitMeasurement(NamedTuple):
    """The result of one measurement.

    Attributes:
        gradient_norms: float32 (trainable variables,), in the model's order: the L2 norm of the
            loss's gradient at this step, before weight decay; None before the first step.
        weights_before: the values of the trainable variables before this step; None before the
            first step.
        activations: what `UnitMetrics.summarise` made of each batch, as arrays.
    """

    gradient_norms: np.ndarray | None
    weights_before: list[np.ndarray] | None
    activations: list
