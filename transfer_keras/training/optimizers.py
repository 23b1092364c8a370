"""The optimisers: the paper's SGD, and Adam."""

import dataclasses
import itertools
from collections.abc import Sequence

import keras
import tensorflow as tf

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("step", "cosine")

# The paper's training: the rate falls to a tenth every 100,000 of 450,000 steps.
_DROP_EVERY = 100 / 450


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a group of networks is trained.

    Attributes:
        steps: number of updates.
        batch_size: examples an update, over all devices.
        learning_rate: the highest.
        optimizer: "sgd" has momentum 0.9 and, as Caffe, twice the rate for biases; "adam".
        schedule: "step" divides the rate by ten after each 100/450 of the steps; "cosine"
            lets it fall to zero.
        weight_decay: of kernels, added to their gradient before momentum (L2).
    """

    steps: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    schedule: str = "step"
    weight_decay: float = 0.0

    def __post_init__(self):
        for name in ("steps", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive. Received: {getattr(self, name)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer: expected {OPTIMIZERS}. Received: {self.optimizer!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: expected {SCHEDULES}. Received: {self.schedule!r}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative. Received: {self.weight_decay}")

    def make_schedule(self):
        """Learning rate by step, as Keras takes it."""
        if self.schedule == "cosine":
            return keras.optimizers.schedules.CosineDecay(self.learning_rate, self.steps)
        drops = itertools.takewhile(
            lambda step: step < self.steps,
            (round(self.steps * _DROP_EVERY * k) for k in itertools.count(1)),
        )
        boundaries = [max(drop, 1) for drop in drops]
        rates = [self.learning_rate * 0.1**k for k in range(len(boundaries) + 1)]
        # Keras changes the rate after its boundary, Caffe at it.
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            [boundary - 1 for boundary in boundaries], rates
        )

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """A Keras optimiser that has no state yet."""
        if self.optimizer == "adam":
            return keras.optimizers.Adam(self.make_schedule())
        return keras.optimizers.SGD(self.make_schedule(), momentum=0.9)

    def adjust(self, gradients: Sequence, variables: Sequence) -> list:
        """Adds weight decay to the kernels' gradients and, with SGD, doubles the biases'.

        With SGD and momentum, twice the gradient is the same as twice the learning rate.

        Args:
            gradients: of the loss, one a variable.
            variables: the Keras variables; those of rank 2 or more count as kernels.
        """
        adjusted = []
        for gradient, variable in zip(gradients, variables, strict=True):
            if len(variable.shape) >= 2:
                if self.weight_decay:
                    gradient = gradient + self.weight_decay * tf.convert_to_tensor(variable)
            elif self.optimizer == "sgd":
                gradient = 2.0 * gradient
            adjusted.append(gradient)
        return adjusted
