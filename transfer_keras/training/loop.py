"""The training loop.

Our own and not Keras's `fit`, which cannot do multi-worker training on Keras 3
(keras-team/keras issue 20585).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import Predictions, Scores, Trained, outcome
from transfer_keras.training.step import make_predict, make_train_step


class Monitor(Protocol):
    """What looks on. Steps count the updates done; mappings are by the networks' names."""

    def training(
        self, step: int, scores: Mapping[str, Scores], gradients: Mapping[str, np.ndarray]
    ) -> None:
        """Scores over the batches since the last call, and gradient norms of this step.

        A norm is of the loss's gradient by one trainable variable, before weight decay, in the
        order of the network's `trainable_variables`.
        """

    def validation(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores on all test images."""

    def end(self, step: int, trained: Mapping[str, Trained]) -> None:
        """All steps are done."""

    def close(self) -> None:
        """The training has ended, well or not."""


def train(
    model: keras.Model,
    batches: tf.data.Dataset,
    test: tf.data.Dataset,
    *,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    validate_every: int,
    log_every: int,
    monitors: Sequence[Monitor] = (),
) -> dict[str, Trained]:
    """Trains all networks of a fused model, in place.

    Args:
        model: see `step.make_train_step`.
        batches: endless (images, labels) of `recipe.batch_size` examples.
        test: one pass over the (images, labels) on which the networks are tested.
        recipe: how.
        strategy: where.
        validate_every, log_every: steps between two calls of the monitors; the last step is
            always among them.
        monitors: what looks on.

    Returns:
        How each network ended. One that diverges does not touch the others.
    """
    optimizer = recipe.make_optimizer()
    step_function = make_train_step(model, optimizer, recipe, strategy)
    predict = make_predict(model)
    places = _places(model)
    sums, since = 0.0, 0
    scores: dict[str, Scores] = {}
    predictions: dict[str, Predictions] = {}
    try:
        for step, (images, labels) in zip(range(1, recipe.steps + 1), batches, strict=False):
            last = step == recipe.steps
            log = last or step % log_every == 0
            new_sums, norms = step_function(images, labels, tf.constant(log))
            sums, since = sums + new_sums, since + 1
            if log:
                means = sums.numpy() / (since * recipe.batch_size)
                scores = {n: Scores(*map(float, m)) for n, m in zip(places, means, strict=True)}
                gradients = {name: norms.numpy()[place] for name, place in places.items()}
                for monitor in monitors:
                    monitor.training(step, scores, gradients)
                sums, since = 0.0, 0
            if last or step % validate_every == 0:
                predictions = predict(test)
                for monitor in monitors:
                    monitor.validation(step, {n: p.scores for n, p in predictions.items()})
        trained = {
            name: Trained(
                predictions[name],
                scores[name],
                outcome(scores[name].loss, predictions[name].scores.loss, logits.shape[-1]),
            )
            for name, logits in model.output.items()
        }
        for monitor in monitors:
            monitor.end(recipe.steps, trained)
    finally:
        for monitor in monitors:
            monitor.close()
    return trained


def _places(model: keras.Model) -> dict[str, list[int]]:
    """For each network, where its trainable variables stand among the model's."""
    place = {id(variable): i for i, variable in enumerate(model.trainable_variables)}
    return {
        name: [place[id(v)] for v in keras.Model(model.input, logits).trainable_variables]
        for name, logits in model.output.items()
    }
