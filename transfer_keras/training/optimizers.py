"""The optimisers: the paper's SGD, and Adam."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from transfer_keras.training import learning_rates as by_variable
from transfer_keras.training.learning_rates import Rates

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
        class_weights: one for each class: by that of its label the loss of an example is
            multiplied in the gradient, and only there. None: all are one.
        rates: by variable; None: the same for all.
    """

    steps: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    schedule: str = "step"
    weight_decay: float = 0.0
    class_weights: tuple[float, ...] | None = None
    rates: Rates | None = None

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
        wrong = [w for w in self.class_weights or () if not 0 <= w < math.inf]
        if wrong:
            raise ValueError(f"class_weights: finite, not negative. Received: {wrong[:3]}")
        if self.rates and not self.rates.warm_up < self.steps:
            raise ValueError(
                f"warm_up must leave at least one step. Received: {self.rates.warm_up} of "
                f"{self.steps} steps"
            )

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
        kinds, settings = keras.optimizers, {}
        if self.rates:
            kinds, settings = by_variable, {"rates": self.rates}
        if self.optimizer == "adam":
            return kinds.Adam(self.make_schedule(), **settings)
        return kinds.SGD(self.make_schedule(), momentum=0.9, **settings)

    def holds_still(self, step: int) -> bool:
        """Whether `rates.still` are in inference mode at this update, counted from 1."""
        return bool(self.rates and self.rates.still) and step <= self.rates.warm_up

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
