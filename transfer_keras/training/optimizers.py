"""The optimizers: the paper's SGD, Adam, and AdamW."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from transfer_keras.config import choices
from transfer_keras.training.learning_rates import (
    SGD,
    Adam,
    AdamW,
    AdamWByVariable,
    LearningRates,
    is_kernel,
)
from transfer_keras.training.schedules import make_schedule


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings with which a group of networks is trained.

    Attributes:
        steps: number of updates.
        batch_size: examples an update, over all devices.
        learning_rate: the highest.
        optimizer: "sgd" has momentum 0.9 and, as Caffe, twice the rate for biases, and for all
            else of rank 1; "adam"; or "adamw" (Loshchilov and Hutter 2019).
        schedule: "step" or "cosine"; see `schedules.make_schedule`.
        weight_decay: of the kernels alone. With "adamw" each step takes the learning rate times so
            much off them; else so much of them is added to their gradient before momentum (L2).
        learning_rate_warm_up: steps in which the rate rises from 0 to `learning_rate`.
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
    learning_rate_warm_up: int = 0
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
        if not 0 <= self.learning_rate_warm_up < self.steps:
            raise ValueError(
                "learning_rate_warm_up must leave at least one step. Received: "
                f"{self.learning_rate_warm_up} of {self.steps} steps"
            )
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
        return make_schedule(
            self.schedule, self.learning_rate, self.steps, self.learning_rate_warm_up
        )

    def make_optimizer(self, learning_rate: float | None = None) -> keras.optimizers.Optimizer:
        """Makes a Keras optimizer that has no state yet.

        Args:
            learning_rate: in place of the recipe's schedule; it can be set from step to step.
        """
        schedule, rates = learning_rate or self.make_schedule(), self.learning_rates
        if self.optimizer == choices.ADAMW:
            if rates:
                decay = self.weight_decay
                return AdamWByVariable(schedule, weight_decay=decay, learning_rates=rates)
            return AdamW(schedule, weight_decay=self.weight_decay)
        if self.optimizer == choices.ADAM:
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

        With SGD and momentum, twice the gradient is the same as twice the learning rate. The decay
        of AdamW is none of the gradient.

        Args:
            gradients: of the loss, one a variable.
            variables: the Keras variables; see `learning_rates.is_kernel`.
        """
        adds_decay = self.weight_decay and self.optimizer != choices.ADAMW
        adjusted = []
        for gradient, variable in zip(gradients, variables, strict=True):
            if len(variable.shape) >= 2:
                if adds_decay and is_kernel(variable):
                    gradient = gradient + self.weight_decay * tf.convert_to_tensor(variable)
            elif self.optimizer == choices.SGD:
                gradient = 2.0 * gradient
            adjusted.append(gradient)
        return adjusted
