"""A short search for a learning rate: successive halving, from the same weights with each rate."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.training.learning_rates import LearningRates
from transfer_keras.training.loop import Streams
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.replicas import distribute
from transfer_keras.training.scores import Scores
from transfer_keras.training.step import make_train_step
from transfer_keras.training.testing import make_test


class Trial(NamedTuple):
    """One training of all networks with one rate.

    Attributes:
        rate: the highest.
        steps: of the training.
        scores: name of a network -> its scores on the test examples, by the class weights of the
            recipe.
        decayed: whether it had the other factors.
        image_losses: float (images,), the loss of each test image, of which `loss` is the mean.
    """

    rate: float
    steps: int
    scores: Mapping[str, Scores]
    decayed: bool
    image_losses: np.ndarray

    @property
    def loss(self) -> float:
        """Gives the mean loss of the networks; infinity where one is no number."""
        mean = sum(scores.loss for scores in self.scores.values()) / len(self.scores)
        return mean if math.isfinite(mean) else math.inf

    def is_surely_better(self, other: "Trial") -> bool:
        """Tells whether its loss is lower by more than the standard error over the images."""
        if not math.isfinite(other.loss):
            return self.loss < other.loss
        differences = other.image_losses - self.image_losses
        error = differences.std(ddof=1) / math.sqrt(len(differences))
        return other.loss - self.loss > error


def search_rates(
    model: keras.Model,
    recipe: Recipe,
    streams: Streams,
    rates: Sequence[float],
    rungs: Sequence[int],
    *,
    usual: float | None = None,
    searched: Callable[[keras.Variable], bool] = lambda variable: True,
    decayed: Sequence[float] | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[], None] = lambda: None,
) -> list[Trial]:
    """Trains with each rate for a few steps, with the better half for more, and so on.

    It is traced once for all rates. Each training begins with the weights that the model has, and
    its rate falls to zero as a cosine (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm
    Identification and Hyperparameter Optimization").

    Args:
        model: images, float32 -> {name: logits}, as `surgery.fuse` makes it. At the end it has the
            weights of the training with the lowest loss of the last rung.
        recipe: of the trainings, but for their steps and their schedule.
        streams: the examples to train on, and those by which rates are compared.
        rates: to compare.
        rungs: the steps of each rung; after each, the half with the lower loss goes on.
        usual: one of them, which goes on in any case.
        searched: tells of a trainable variable whether it is trained with the rate that is
            compared; others have the recipe's.
        decayed: factors of the rates of the trainable variables in place of the recipe's, with
            which the best rate is tried last, for the steps of the last rung; None: not tried.
        stop: asked after each step; the training that is under way then counts for nothing.
        on_step: called after each step.

    Returns:
        All trainings, in order.

    Raises:
        ValueError: if no rate or no rung is given.
    """
    if not rates or not rungs or min(rungs) < 1:
        raise ValueError(f"Expected rates and steps. Received: {rates}, {rungs}")
    training = _RepeatedTraining(model, recipe, streams, searched)
    trials: list[Trial] = []
    best = [variable.numpy() for variable in model.variables]
    of_rung: list[Trial] = []

    def run(rate: float, steps: int, factors: Sequence[float] | None = None) -> None:
        nonlocal best
        trial = training.run(rate, steps, factors, stop, on_step)
        if trial is None:
            return
        if all(trial.loss < other.loss for other in of_rung):
            best = [variable.numpy() for variable in model.variables]
        of_rung.append(trial)

    for steps in rungs:
        of_rung = []
        for rate in rates:
            if not stop():
                run(rate, steps)
        trials += of_rung
        of_rung.sort(key=lambda trial: trial.loss)
        better = math.ceil(len(of_rung) / 2)
        rates = [t.rate for k, t in enumerate(of_rung) if k < better or t.rate == usual]
    if decayed is not None and of_rung and not stop():
        run(of_rung[0].rate, rungs[-1], decayed)
        trials += [trial for trial in of_rung if trial.decayed]
    _assign(model.variables, best)
    return trials


class _RepeatedTraining:
    """A training that is run again and again from the same weights, with other rates."""

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        streams: Streams,
        searched: Callable[[keras.Variable], bool],
    ):
        self._model, self._streams = model, streams
        strategy, variables = streams.strategy, model.trainable_variables
        rates = recipe.learning_rates
        self._usual = rates.factors if rates else [1.0] * len(variables)
        with strategy.scope():
            self._factors = [
                keras.Variable(factor, trainable=False) if searched(variable) else factor
                for variable, factor in zip(variables, self._usual, strict=True)
            ]
            settable = LearningRates(self._factors, [False] * len(variables), warm_up=0)
            self._recipe = dataclasses.replace(recipe, learning_rates=settable)
            self._optimizer = self._recipe.make_optimizer(recipe.learning_rate)
        inputs = None if streams.tensors is None else list(streams.tensors)
        self._update = make_train_step(
            model, self._optimizer, self._recipe, strategy, inputs=inputs
        )
        self._test = make_test(model, streams.test, strategy, None, inputs=inputs)
        self._state = [*model.variables, *self._optimizer.variables]
        self._begins_with = [variable.numpy() for variable in self._state]

    def run(
        self,
        rate: float,
        steps: int,
        factors: Sequence[float] | None,
        stop: Callable[[], bool],
        on_step: Callable[[], None],
    ) -> Trial | None:
        """Trains from the beginning with a rate, and tests; None if it was stopped."""
        strategy, highest = self._streams.strategy, self._recipe.learning_rate
        _assign(self._state, self._begins_with)
        for factor, usual in zip(self._factors, factors or self._usual, strict=True):
            if isinstance(factor, keras.Variable):
                factor.assign(usual * rate / highest)
        stream = distribute(strategy, lambda context: self._streams.batches(0, context))
        for step, (images, labels) in zip(range(steps), stream, strict=False):
            self._optimizer.learning_rate.assign(
                highest * 0.5 * (1 + math.cos(math.pi * step / steps))
            )
            self._update(images, labels, tf.constant(False))
            on_step()
            if stop():
                return None
        predictions, _ = self._test(scores=True, activations=False)
        weights = self._recipe.class_weights
        scores, losses = {}, []
        for name, each in predictions.items():
            scores[name] = each.weighted(weights) if weights else each.scores
            of_image = np.asarray(weights)[each.label] if weights else np.ones(len(each.label))
            losses.append(each.loss * of_image / of_image.mean())
        return Trial(rate, steps, scores, factors is not None, np.mean(losses, axis=0))


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
