"""The training loop.

Our own and not Keras's `fit`, which cannot do multi-worker training on Keras 3
(keras-team/keras issue 20585).
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.errors import UserError
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.interruption import Interrupted, Stop
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import Predictions, Scores, Trained, outcome
from transfer_keras.training.step import make_predict, make_train_step


class Monitor(Protocol):
    """What looks on. Steps count the updates done; mappings are by the networks' names."""

    def begin(self, step: int) -> None:
        """The training begins after this many steps: 0, or those before an interruption."""

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


@dataclasses.dataclass
class _Position:
    """Where a training is, but for its variables.

    Attributes:
        step: updates done.
        since: those of them since the last log.
        tests: [step, {network: [loss, top-1]}] of all tests so far.
        seconds: spent so far.
    """

    step: int = 0
    since: int = 0
    tests: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def train(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    test: tf.data.Dataset,
    *,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    validate_every: int,
    log_every: int,
    monitors: Sequence[Monitor] = (),
    checkpoints: Checkpoints | None = None,
    saved: tuple[Sequence[np.ndarray], dict] | None = None,
    stop: Stop | None = None,
) -> dict[str, Trained]:
    """Trains all networks of a fused model, in place.

    Args:
        model: see `step.make_train_step`.
        batches: number of a batch -> the endless (images, labels) from it on, of
            `recipe.batch_size` examples each.
        test: one pass over the (images, labels) on which the networks are tested.
        recipe: how.
        strategy: where.
        validate_every, log_every: steps between two calls of the monitors; the last step is
            always among them.
        monitors: what looks on.
        checkpoints: where to write to; None: nothing is written.
        saved: what to go on from, as `checkpoints.latest()` gives it; None: the beginning.
        stop: looked at after each step.

    Returns:
        How each network ended. One that diverges does not touch the others.

    Raises:
        Interrupted: if `stop` was requested before the last step; a checkpoint is saved then.
        UserError: if the checkpoint is of another model.
    """
    optimizer = recipe.make_optimizer()
    step_function = make_train_step(model, optimizer, recipe, strategy)
    predict = make_predict(model)
    places = _places(model)
    at, sums = _Position(), tf.zeros((len(places), 2))
    variables = [*model.variables, *optimizer.variables]
    if saved:
        at, sums = _restore(variables, *saved)
    begun = time.monotonic() - at.seconds
    scores: dict[str, Scores] = {}
    predictions: dict[str, Predictions] = {}
    try:
        for monitor in monitors:
            monitor.begin(at.step)
        steps = range(at.step + 1, recipe.steps + 1)
        for step, (images, labels) in zip(steps, batches(at.step), strict=False):
            last = step == recipe.steps
            log = last or step % log_every == 0
            new_sums, norms = step_function(images, labels, tf.constant(log))
            sums, at.since, at.step = sums + new_sums, at.since + 1, step
            if log:
                means = sums.numpy() / (at.since * recipe.batch_size)
                scores = {n: Scores(*map(float, m)) for n, m in zip(places, means, strict=True)}
                gradients = {name: norms.numpy()[place] for name, place in places.items()}
                for monitor in monitors:
                    monitor.training(step, scores, gradients)
                sums, at.since = tf.zeros_like(sums), 0
            if last or step % validate_every == 0:
                predictions = predict(test)
                tested = {name: found.scores for name, found in predictions.items()}
                at.tests.append((step, tested))
                for monitor in monitors:
                    monitor.validation(step, tested)
            stopping = stop is not None and stop.requested
            if checkpoints and not last and (stopping or checkpoints.due):
                at.seconds = time.monotonic() - begun
                arrays = [variable.numpy() for variable in variables]
                checkpoints.save(step, [*arrays, sums.numpy()], dataclasses.asdict(at))
            if stopping and not last:
                raise Interrupted(f"step {step:,} of {recipe.steps:,}")
        trained = {
            name: Trained(
                predictions[name],
                scores[name],
                outcome(scores[name].loss, predictions[name].scores.loss, logits.shape[-1]),
                tuple((step, *tested[name]) for step, tested in at.tests),
                time.monotonic() - begun,
            )
            for name, logits in model.output.items()
        }
        for monitor in monitors:
            monitor.end(recipe.steps, trained)
    except BaseException:
        for monitor in monitors:
            with contextlib.suppress(OSError):  # What stopped the training is told, not this.
                monitor.close()
        raise
    for monitor in monitors:
        monitor.close()
    return trained


def _restore(variables: Sequence, arrays: Sequence[np.ndarray], facts: dict):
    """Puts the arrays into the variables; gives the position and the sums."""
    *values, sums = arrays
    found = [(value.shape, value.dtype.name) for value in values]
    expected = [(tuple(variable.shape), variable.dtype) for variable in variables]
    if found != expected:
        raise UserError(
            f"The checkpoint holds {len(found)} values of other shapes or types than the "
            f"{len(expected)} of these networks: another version of the program wrote it. Remove "
            "the folder `checkpoints` of the workdir to train the group from its beginning."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return _Position(**facts), tf.constant(sums)


def _places(model: keras.Model) -> dict[str, list[int]]:
    """For each network, where its trainable variables stand among the model's."""
    place = {id(variable): i for i, variable in enumerate(model.trainable_variables)}
    return {
        name: [place[id(v)] for v in keras.Model(model.input, logits).trainable_variables]
        for name, logits in model.output.items()
    }
