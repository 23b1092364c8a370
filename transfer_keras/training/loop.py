"""The training loop.

Our own and not Keras's `fit`, which cannot do multi-worker training on Keras 3
(keras-team/keras issue 20585).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import Interrupted
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.early_stopping import EarlyStopping
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.replicas import distribute
from transfer_keras.training.scores import Scores, Trained, outcome
from transfer_keras.training.signals import Stop
from transfer_keras.training.state import State
from transfer_keras.training.step import make_test, make_test_in_parts, make_train_step
from transfer_keras.training.unit_metrics import Look, Watch


class Monitor(Protocol):
    """What looks on. Steps count the updates done; mappings are by the networks' names.

    Of a network that is done before the others of its group, all goes on to be shown: only what
    `end` is given leaves its later tests out.
    """

    def begin(self, step: int) -> None:
        """The training begins after this many steps: 0, or those before an interruption."""

    def training(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores over the batches since the last call."""

    def look(self, step: int, look: Look) -> None:
        """What `watch` asks for."""

    def validation(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores on all test images."""

    def end(self, step: int, trained: Mapping[str, Trained]) -> None:
        """All steps are done, or all networks; each has the weights that count for it."""


def train(
    model: keras.Model,
    batches: Callable[[int, tf.distribute.InputContext], tf.data.Dataset],
    test: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    *,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    validate_every: int,
    log_every: int,
    jit_compile: bool = False,
    watch: Watch | None = None,
    monitors: Sequence[Monitor] = (),
    checkpoints: Checkpoints | None = None,
    saved: tuple[Sequence[np.ndarray], dict] | None = None,
    stop: Stop | None = None,
    patience: int | None = None,
) -> dict[str, Trained]:
    """Trains all networks of a fused model, in place.

    Args:
        model: see `step.make_train_step`.
        batches: number of a batch -> the endless (images, labels) from it on, of
            `recipe.batch_size` examples each; those rows of each that are a process's by its
            input context.
        test: one pass over the (images, labels) on which the networks are tested; those rows of
            each batch that are a process's, where a row that only fills up has the label -1.
        recipe: how.
        strategy: where; the model was made in its scope.
        validate_every, log_every: steps between two calls of the monitors; the last step is
            always among them.
        jit_compile: see `step.make_train_step`.
        watch: what the monitors are shown besides the scores. Nothing of it touches a weight.
        monitors: what looks on.
        checkpoints: where to write to; None: nothing is written.
        saved: what to go on from, as `checkpoints.latest()` gives it; None: the beginning.
        stop: looked at after each step.
        patience: so many tests in a row in which a network's loss does not fall below its lowest,
            and it is done: see `EarlyStopping`. The training ends when all are, or after all
            steps, and each network then has the weights of its best test. None: of the last step.

    Returns:
        How each network ended. One that diverges does not touch the others.

    Raises:
        Interrupted: if `stop` was requested before the last step; a checkpoint is saved then.
        UserError: if the checkpoint is of another model, or of another kind of training.
    """
    with strategy.scope():
        optimizer = recipe.make_optimizer()
    step_function = make_train_step(model, optimizer, recipe, strategy, jit_compile=jit_compile)
    run_test = _tests(model, test, strategy, watch)
    stopping = EarlyStopping(model, patience)
    state = State(model, optimizer, stopping, recipe.batch_size)
    if saved:
        state.restore(*saved)

    def tell(what: str, *facts) -> None:
        for monitor in monitors:
            getattr(monitor, what)(*facts)

    tell("begin", state.step)
    if watch and not state.step:
        _, measured = run_test(scores=False, activations=True)
        tell("look", 0, Look(None, None, measured))
    begin = state.step
    stream = distribute(strategy, lambda context: batches(begin, context))
    for step, (images, labels) in zip(range(begin + 1, recipe.steps + 1), stream, strict=False):
        last = step == recipe.steps
        testing = last or step % validate_every == 0
        may_end = last or (testing and stopping.may_end)
        measuring = watch is not None and (may_end or step % watch.every == 0)
        before = [v.numpy().copy() for v in model.trainable_variables] if measuring else None
        watched, still = tf.constant(measuring), recipe.holds_still(step)
        sums, norms = step_function(images, labels, watched, still)
        state.count(sums)
        logging = last or step % log_every == 0
        if logging:
            tell("training", step, state.log())
        predictions, measured = run_test(scores=testing, activations=measuring)
        if testing:
            stopping.test(step, predictions, state.scores())
            last = last or stopping.over
        if last and not logging:
            tell("training", step, state.log())
        if measuring and (last or step % watch.every == 0):
            tell("look", step, Look(norms.numpy(), before, measured))
        if testing:
            tested = {name: found.scores for name, found in predictions.items()}
            state.tests.append((step, tested))
            tell("validation", step, tested)
        interrupted = not last and stop is not None and stop.requested
        if checkpoints and not last and (interrupted or checkpoints.due):
            state.save(checkpoints)
        if interrupted:
            raise Interrupted(f"step {step:,} of {recipe.steps:,}")
        if last:
            break
    stopping.put_back()
    trained = _trained(model, stopping, state)
    tell("end", state.step, trained)
    return trained


def _trained(model: keras.Model, stopping: EarlyStopping, state: State) -> dict[str, Trained]:
    """What counts for each network."""
    trained = {}
    for name, logits in model.output.items():
        standing, predictions = stopping.standings[name], stopping.predictions[name]
        trained[name] = Trained(
            predictions,
            standing.scores,
            outcome(standing.scores.loss, predictions.scores.loss, logits.shape[-1]),
            tuple((step, *of[name]) for step, of in state.tests if step <= standing.tested),
            state.seconds,
            standing.step,
        )
    return trained


def _tests(model, test, strategy, watch) -> Callable:
    """(scores, activations) -> what `step.make_test` gives; the scores on all devices."""
    run = make_test(model, watch)
    if strategy.num_replicas_in_sync == 1:
        return functools.partial(run, test(tf.distribute.InputContext()))
    whole, in_parts = test(tf.distribute.InputContext()), make_test_in_parts(model, strategy)
    parts = distribute(strategy, test)

    def both(*, scores: bool, activations: bool):
        _, measured = run(whole, scores=False, activations=activations)
        return in_parts(parts) if scores else {}, measured

    return both
