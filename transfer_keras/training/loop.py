"""The training loop.

Our own and not Keras's `fit`, which cannot do multi-worker training on Keras 3
(keras-team/keras issue 20585).
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.errors import UserError
from transfer_keras.parts import WHOLE, Part
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.interruption import Interrupted, Stop
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.replicas import distribute
from transfer_keras.training.scores import Predictions, Scores, Trained, outcome
from transfer_keras.training.step import make_test, make_test_in_parts, make_train_step
from transfer_keras.training.watch import Look, Watch


class Monitor(Protocol):
    """What looks on. Steps count the updates done; mappings are by the networks' names."""

    def begin(self, step: int) -> None:
        """The training begins after this many steps: 0, or those before an interruption."""

    def training(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores over the batches since the last call."""

    def look(self, step: int, look: Look) -> None:
        """What `watch` asks for."""

    def validation(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores on all test images."""

    def end(self, step: int, trained: Mapping[str, Trained]) -> None:
        """All steps are done."""


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
    batches: Callable[[int, Part], tf.data.Dataset],
    test: Callable[[Part], tf.data.Dataset],
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
) -> dict[str, Trained]:
    """Trains all networks of a fused model, in place.

    Args:
        model: see `step.make_train_step`.
        batches: number of a batch -> the endless (images, labels) from it on, of
            `recipe.batch_size` examples each; those rows of each that are a process's part.
        test: one pass over the (images, labels) on which the networks are tested; those rows of
            each batch that are a process's part, where a row that only fills up has the label -1.
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

    Returns:
        How each network ended. One that diverges does not touch the others.

    Raises:
        Interrupted: if `stop` was requested before the last step; a checkpoint is saved then.
        UserError: if the checkpoint is of another model.
    """
    with strategy.scope():
        optimizer = recipe.make_optimizer()
    step_function = make_train_step(model, optimizer, recipe, strategy, jit_compile=jit_compile)
    run_test = _tests(model, test, strategy, watch)
    names = list(model.output)
    at, sums = _Position(), tf.zeros((len(names), 2), keras.config.floatx())
    variables = [*model.variables, *optimizer.variables]
    if saved:
        at, sums = _restore(variables, *saved)
    begun = time.monotonic() - at.seconds
    scores: dict[str, Scores] = {}
    predictions: dict[str, Predictions] = {}

    def tell(what: str, *facts) -> None:
        for monitor in monitors:
            getattr(monitor, what)(*facts)

    tell("begin", at.step)
    if watch and not at.step:
        _, measured = run_test(scores=False, activations=True)
        tell("look", 0, Look(None, None, measured))
    steps = range(at.step + 1, recipe.steps + 1)
    begin = at.step
    stream = distribute(strategy, lambda part: batches(begin, part))
    for step, (images, labels) in zip(steps, stream, strict=False):
        last = step == recipe.steps
        looking = watch is not None and (last or step % watch.every == 0)
        testing = last or step % validate_every == 0
        before = [v.numpy().copy() for v in model.trainable_variables] if looking else None
        new_sums, norms = step_function(images, labels, tf.constant(looking))
        sums, at.since, at.step = sums + new_sums, at.since + 1, step
        if last or step % log_every == 0:
            means = sums.numpy() / (at.since * recipe.batch_size)
            scores = {n: Scores(*map(float, m)) for n, m in zip(names, means, strict=True)}
            tell("training", step, scores)
            sums, at.since = tf.zeros_like(sums), 0
        if looking or testing:
            found, measured = run_test(scores=testing, activations=looking)
        if looking:
            tell("look", step, Look(norms.numpy(), before, measured))
        if testing:
            predictions = found
            tested = {name: found[name].scores for name in names}
            at.tests.append((step, tested))
            tell("validation", step, tested)
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
    tell("end", recipe.steps, trained)
    return trained


def _tests(model, test, strategy, watch) -> Callable:
    """(scores, activations) -> what `step.make_test` gives; the scores on all devices."""
    run = make_test(model, watch)
    if strategy.num_replicas_in_sync == 1:
        return functools.partial(run, test(WHOLE))
    whole, in_parts = test(WHOLE), make_test_in_parts(model, strategy)
    parts = distribute(strategy, test)

    def both(*, scores: bool, activations: bool):
        _, measured = run(whole, scores=False, activations=activations)
        return in_parts(parts) if scores else {}, measured

    return both


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
