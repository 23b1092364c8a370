"""The optimizers: the paper's SGD, and Adam."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from transfer_keras.config import choices
from transfer_keras.training.learning_rates import SGD, Adam, LearningRates

# The paper's training: the rate falls to a tenth every 100,000 of 450,000 steps.
_DROP_EVERY = 100 / 450


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings with which a group of networks is trained.

    Attributes:
        steps: number of updates.
        batch_size: examples an update, over all devices.
        learning_rate: the highest.
        optimizer: "sgd" has momentum 0.9 and, as Caffe, twice the rate for biases; or "adam".
        schedule: "step" divides the rate by ten after each 100/450 of the steps; "cosine"
            lets it fall to zero.
        weight_decay: factor of the kernels that is added to their gradient before momentum (L2).
        class_weights: one for each class; in the gradient, and only there, the loss of an example
            is multiplied by the weight of its label's class. None: all are one.
        learning_rates: how those of single variables differ; None: all are the same.
        chance_loss: mean cross-entropy of an answer that knows no image, in nats, at which a
            network has not learned; None: that of classes that are equally frequent.
    """

    steps: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    schedule: str = "step"
    weight_decay: float = 0.0
    class_weights: tuple[float, ...] | None = None
    learning_rates: LearningRates | None = None
    chance_loss: float | None = None

    def __post_init__(self):
        for name in ("steps", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive. Received: {getattr(self, name)}")
        for name, expected in (("optimizer", choices.OPTIMIZERS), ("schedule", choices.SCHEDULES)):
            if getattr(self, name) not in expected:
                raise ValueError(f"{name}: expected {expected}. Received: {getattr(self, name)!r}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative. Received: {self.weight_decay}")
        wrong = [w for w in self.class_weights or () if not 0 <= w < math.inf]
        if wrong:
            raise ValueError(f"class_weights: finite, not negative. Received: {wrong[:3]}")
        if self.learning_rates and not self.learning_rates.warm_up < self.steps:
            raise ValueError(
                f"warm_up must leave at least one step. Received: {self.learning_rates.warm_up} of "
                f"{self.steps} steps"
            )

    def make_schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Makes the learning rate by step, as Keras takes it."""
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

    def make_optimizer(self, learning_rate: float | None = None) -> keras.optimizers.Optimizer:
        """Makes a Keras optimizer that has no state yet.

        Args:
            learning_rate: in place of the recipe's schedule; it can be set from step to step.
        """
        schedule, rates = learning_rate or self.make_schedule(), self.learning_rates
        if self.optimizer == "adam":
            return (
                Adam(schedule, learning_rates=rates) if rates else keras.optimizers.Adam(schedule)
            )
        if rates:
            return SGD(schedule, momentum=0.9, learning_rates=rates)
        return keras.optimizers.SGD(schedule, momentum=0.9)

    def freezes_batch_norm(self, step: int) -> bool:
        """Tells whether `learning_rates.frozen_batch_norm` are in inference mode at an update.

        Args:
            step: the update, counted from 1.
        """
        rates = self.learning_rates
        return bool(rates and rates.frozen_batch_norm) and step <= rates.warm_up

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
