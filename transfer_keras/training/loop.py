"""The training loop.

It is our own and not Keras's `fit`, which cannot do multi-worker training on Keras 3
(keras-team/keras issue 20585).
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import Interrupted
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.early_stopping import EarlyStopping
from transfer_keras.training.hooks import Monitor, call_hook
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.replicas import distribute
from transfer_keras.training.scores import Predictions, Trained, outcome
from transfer_keras.training.signals import Stop
from transfer_keras.training.state import TrainingState
from transfer_keras.training.step import join_updates, make_train_step
from transfer_keras.training.testing import make_test
from transfer_keras.training.unit_metrics import UnitMeasurement, UnitMetrics


@dataclasses.dataclass(frozen=True)
class Streams:
    """The examples of a training, and the devices that they go to.

    Attributes:
        batches: (number of the first batch, input context) -> the endless (images, labels) from
            that batch on, `Recipe.batch_size` examples each. A process gets its rows of each batch
            by its input context.
        test: input context -> one pass over the (images, labels) on which the networks are
            tested. A process gets its rows of each batch; a row that only fills a batch has the
            label -1.
        strategy: holds the devices; the model was made in its scope.
        tensors: tensors of the model, whose values both streams have in place of the images, as a
            tuple; what is above them must not need the input. None: they have images.
        seconds: that were spent on making the values; they count as training.
        held_back: number of training examples at the end of `test` that are not trained on; early
            stopping looks at them alone, and they are in no result. 0: it looks at the test.
    """

    batches: Callable[[int, tf.distribute.InputContext], tf.data.Dataset]
    test: Callable[[tf.distribute.InputContext], tf.data.Dataset]
    strategy: tf.distribute.Strategy
    tensors: Sequence[keras.KerasTensor] | None = None
    seconds: float = 0.0
    held_back: int = 0


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What happens in a training besides the updates, and when.

    Attributes:
        validate_every: steps from one test to the next; the last step is always tested.
        log_every: steps from one log of the training scores to the next; the last step always
            has one.
        unit_metrics: what is measured of units, and when; None: nothing. It changes no weight.
        patience: a network is done when its test loss, or that of the examples that are held back,
            has not fallen below its lowest for so many tests in a row. The training ends when all
            are done, or after all steps, and each network then has the weights of its best test.
            None: of the last step.
        jit_compile: whether XLA compiles the forward and the backward pass.
    """

    validate_every: int
    log_every: int
    unit_metrics: UnitMetrics | None = None
    patience: int | None = None
    jit_compile: bool = False


@dataclasses.dataclass(frozen=True)
class Resume:
    """How a training can be interrupted, and from where it goes on.

    Attributes:
        checkpoints: where they are written; None: nowhere.
        saved: what `Checkpoints.latest` gave, from which the training goes on; None: it begins at
            its first step.
        stop: is read after each step; None: nothing requests a stop.
    """

    checkpoints: Checkpoints | None = None
    saved: tuple[Sequence[np.ndarray], dict] | None = None
    stop: Stop | None = None


_NO_RESUME = Resume()


def train_networks(
    model: keras.Model,
    recipe: Recipe,
    streams: Streams,
    schedule: Schedule,
    *,
    resume: Resume = _NO_RESUME,
    monitors: Sequence[Monitor] = (),
) -> dict[str, Trained]:
    """Trains all networks of a fused model, in place.

    Args:
        model: images, float32 -> {name: logits}, as `surgery.fuse` makes it.
        recipe: the number of steps, the optimizer and its settings.
        streams: the examples and the devices.
        schedule: when the networks are tested and measured, and when they are done.
        resume: checkpoints and requests to stop; by default there are none.
        monitors: are called at the hooks that they have.

    Returns:
        The result of each network, by name. One that diverges does not affect the others.

    Raises:
        Interrupted: if a stop was requested before the last step; a checkpoint is saved first.
        ValueError: if class weights or learning rates do not fit the model.
        UserError: if the checkpoint is of another model, or of another kind of training.
    """
    training = Training(model, recipe, streams, schedule, resume=resume, monitors=monitors)
    (trained,) = train_side_by_side([training])
    return trained


def train_side_by_side(trainings: Sequence["Training"]) -> list[dict[str, Trained]]:
    """Trains several fused models, each on its own examples, one update of each in one graph.

    The updates share nothing, so each model comes out as if it was trained alone. What one leaves
    idle of a device, the others use.

    Args:
        trainings: that were not begun yet, of one strategy. They may have different numbers of
            steps, and end or go on at different ones.

    Returns:
        The results of each, as `train_networks` gives them.

    Raises:
        Interrupted: see `train_networks`; a checkpoint of each that is not done is saved first.
    """
    for training in trainings:
        training.begin()
    steps = {training: training.steps() for training in trainings}
    updates: dict[tuple[Training, ...], Callable] = {}
    while steps:
        at_work = tuple(steps)
        if at_work not in updates:
            updates[at_work] = join_updates([training.update for training in at_work])
        due, batches = zip(*[next(steps[training]) for training in at_work], strict=True)
        measure = [tf.constant(each.measure) for each in due]
        frozen = tuple(each.frozen_batch_norm for each in due)
        updated = updates[at_work](batches, measure, frozen)
        for training, each, (sums, norms) in zip(at_work, due, updated, strict=True):
            if training.finish_step(each, sums, norms):
                del steps[training]
        is_stopped = any(training.stop_requested for training in steps)
        for training in steps:
            training.save_if_due(is_stopped)
        if is_stopped:
            raise Interrupted(str(next(iter(steps))))
    return [training.end() for training in trainings]


class _Due(NamedTuple):
    """What is due at a step.

    Attributes:
        step: its number, from 1.
        is_last: whether it is the last of all; early stopping may find another one.
        log, test: whether scores are logged and networks tested.
        measure: whether units are measured, and whether that is due or only in case the step
            turns out to be the last.
        frozen_batch_norm: see `Recipe.freezes_batch_norm`.
        weights_before: copies of the trainable variables; None unless `measure`.
    """

    step: int
    is_last: bool
    log: bool
    test: bool
    measure: bool
    measurement_due: bool
    frozen_batch_norm: bool
    weights_before: list[np.ndarray] | None


class Training:
    """One training from its first step to its results, in five chapters.

    Args:
        model, recipe, streams, schedule, resume, monitors: see `train_networks`.

    Attributes:
        update: see `step.make_train_step`.

    Raises:
        ValueError, UserError: see `train_networks`.
    """

    # 1. Preparation.
    # Optimizer, train step, test, early stopping and state are made for the model.
    # A checkpoint then overwrites the values of all of them.

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        streams: Streams,
        schedule: Schedule,
        *,
        resume: Resume = _NO_RESUME,
        monitors: Sequence[Monitor] = (),
    ):
        self._model, self._recipe, self._streams = model, recipe, streams
        self._schedule, self._resume, self._monitors = schedule, resume, monitors
        strategy = streams.strategy
        with strategy.scope():
            optimizer = recipe.make_optimizer()
        inputs = None if streams.tensors is None else list(streams.tensors)
        self.update = make_train_step(
            model, optimizer, recipe, strategy, inputs=inputs, jit_compile=schedule.jit_compile
        )
        self._test = make_test(model, streams.test, strategy, schedule.unit_metrics, inputs=inputs)
        self._stopping = EarlyStopping(model, schedule.patience)
        self._state = TrainingState(
            model, optimizer, self._stopping, recipe.batch_size, streams.seconds
        )
        if resume.saved:
            self._state.restore(*resume.saved)

    # 2. The beginning.
    # Units are measured before the first step, but not again where a training goes on.
    # The stream begins at the batch that follows the steps done.

    def begin(self) -> None:
        """Tells the monitors that the training begins, and takes the first measurement."""
        self._call("on_train_begin", self._state.step)
        if self._schedule.unit_metrics and not self._state.step:
            _, activations = self._test(scores=False, activations=True)
            self._call("on_unit_metrics", 0, UnitMeasurement(None, None, activations))

    def steps(self) -> Iterator[tuple[_Due, tuple]]:
        """Yields what is due at each step that remains, found directly before it, and its batch."""
        done = self._state.step
        stream = distribute(
            self._streams.strategy, lambda context: self._streams.batches(done, context)
        )
        for step, batch in zip(range(done + 1, self._recipe.steps + 1), stream, strict=False):
            yield self._due_at(step), batch

    # 3. One step: what is due is known before the update, and done after it, in the same order.
    # With early stopping only the test shows whether a step is the last.
    # Where it may be, units are measured in advance; monitors get the result only if it is.

    def _due_at(self, step: int) -> _Due:
        """Tells what is due at a step, before its update."""
        schedule, units = self._schedule, self._schedule.unit_metrics
        is_last = step == self._recipe.steps
        test = is_last or step % schedule.validate_every == 0
        measurement_due = units is not None and (is_last or step % units.every == 0)
        measure = measurement_due or (units is not None and test and self._stopping.may_end)
        return _Due(
            step,
            is_last,
            log=is_last or step % schedule.log_every == 0,
            test=test,
            measure=measure,
            measurement_due=measurement_due,
            frozen_batch_norm=self._recipe.freezes_batch_norm(step),
            weights_before=self._copy_weights() if measure else None,
        )

    def finish_step(self, due: _Due, sums: tf.Tensor, norms: tf.Tensor) -> bool:
        """Does what is due after the update of a step, and calls the hooks.

        Args:
            due: from `steps`.
            sums, norms: what the update gave.

        Returns:
            Whether it was the last.
        """
        step, is_last = due.step, due.is_last
        self._state.count(sums)
        if due.log:
            self._call("on_log", step, self._state.log())
        predictions, activations = self._test(scores=due.test, activations=due.measure)
        if due.test:
            predictions, losses = self._without_held_back(predictions)
            self._stopping.test(step, predictions, self._state.scores(), losses)
            is_last = is_last or self._stopping.all_done
        if is_last and not due.log:
            self._call("on_log", step, self._state.log())
        if due.measurement_due or (due.measure and is_last):
            measurement = UnitMeasurement(norms.numpy(), due.weights_before, activations)
            self._call("on_unit_metrics", step, measurement)
        if due.test:
            scores = {name: of_network.scores for name, of_network in predictions.items()}
            self._state.tests.append((step, scores))
            self._call("on_test_end", step, scores)
        return is_last

    def _without_held_back(
        self, predictions: Mapping[str, Predictions]
    ) -> tuple[Mapping[str, Predictions], dict[str, float] | None]:
        """Divides what a test predicts: of the test examples, and the losses of the others."""
        if not (count := self._streams.held_back):
            return predictions, None
        losses = {n: each.part(slice(-count, None)).scores.loss for n, each in predictions.items()}
        return {n: each.part(slice(-count)) for n, each in predictions.items()}, losses

    def _copy_weights(self) -> list[np.ndarray]:
        """Copies the values of the trainable variables."""
        return [variable.numpy().copy() for variable in self._model.trainable_variables]

    def _call(self, hook: str, *arguments: object) -> None:
        """Calls a hook of all monitors."""
        call_hook(self._monitors, hook, *arguments)

    # 4. Interruption.
    # A checkpoint is written when its time has come, or when a stop is requested.
    # The last step needs none: the results follow it.

    @property
    def stop_requested(self) -> bool:
        """Tells whether a stop is requested."""
        return self._resume.stop is not None and self._resume.stop.requested

    def save_if_due(self, is_stopped: bool) -> None:
        """Writes a checkpoint if it is time for one, or the training is stopped."""
        checkpoints = self._resume.checkpoints
        if checkpoints and (is_stopped or checkpoints.due):
            self._state.save(checkpoints)

    def __str__(self):
        return f"step {self._state.step:,} of {self._recipe.steps:,}"

    # 5. The end.
    # With patience each network gets the weights of its best test, else it keeps its last ones.
    # Tests after a network was done are left out of its result.

    def end(self) -> dict[str, Trained]:
        """Gives each network its final weights, and tells the monitors the results."""
        self._stopping.restore_best_weights()
        trained = {
            name: self._result(name, logits.shape[-1])
            for name, logits in self._model.output.items()
        }
        self._call("on_train_end", self._state.step, trained)
        return trained

    def _result(self, name: str, classes: int) -> Trained:
        """Collects the result of one network."""
        state, predictions = self._stopping.states[name], self._stopping.predictions[name]
        chance = self._recipe.chance_loss
        chance = math.log(classes) if chance is None else chance
        return Trained(
            predictions,
            state.scores,
            outcome(state.scores.loss, predictions.scores.loss, chance, classes),
            tuple(
                (step, *scores[name]) for step, scores in self._state.tests if step <= state.tested
            ),
            self._state.seconds,
            state.step,
            chance,
        )
