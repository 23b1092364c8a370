"""What is looked at in training besides the scores."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is measured now and then, and on which images.

    Attributes:
        every: steps from one look to the next; the first is before the first step, the last after
            the last.
        tensors: of the fused model.
        measure: their values for a batch, (batch, ...) each, in inference mode -> what is kept of
            them, any nest of tensors; traced into the graph.
        images: on how many images, the first of the test images (all of them where they are
            fewer); counted in whole batches.
    """

    every: int
    tensors: Sequence[keras.KerasTensor]
    measure: Callable[[list[tf.Tensor]], object]
    images: int = 1280


class Look(NamedTuple):
    """What one look finds.

    Attributes:
        gradients: float32 (trainable variables,), in the model's order, the L2 norm of the loss's
            gradient at this step, before weight decay; None before the first step.
        before: the values of the trainable variables before this step; None before the first.
        activations: what `Watch.measure` kept of each batch, as arrays.
    """

    gradients: np.ndarray | None
    before: list[np.ndarray] | None
    activations: list
