"""Trains one group of an experiment, and leaves each of its networks on disk."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import TARGETS, Group, Treatment, UserError, parse_treatment
from transfer_keras.experiments import tensorboard
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.fitted_heads import fit_heads
from transfer_keras.experiments.group_networks import make_networks
from transfer_keras.experiments.recipes import make_recipe
from transfer_keras.experiments.streams import make_streams, test_stream
from transfer_keras.experiments.unit_metrics import make_unit_metrics
from transfer_keras.files import write_whole
from transfer_keras.results import Row, Workdir, hold_lock
from transfer_keras.training import (
    Checkpoints,
    Events,
    Monitor,
    Progress,
    Resume,
    Scalars,
    Schedule,
    Scores,
    Trained,
    Training,
    UnitMetrics,
    draw_filters,
    is_image_kernel,
    outcome,
    train_side_by_side,
)

_LOGS_PER_RUN = 100


def train_group(run: Run, group: Group, *, timeout: float = 0) -> None:
    """Makes the networks of a group, trains them together, and leaves each on disk.

    Args:
        run: of the chief of all workers.
        group: of treatments whose donors are done.
        timeout: seconds for which another process may still hold the group.

    Raises:
        Interrupted: see `training.train_networks`.
        UserError: if another process trains it.
    """
    train_groups(run, [group], timeout=timeout)


def train_groups(run: Run, groups: Sequence[Group], *, timeout: float = 0) -> None:
    """Trains groups side by side; see `train_group` and `training.train_side_by_side`."""
    with contextlib.ExitStack() as locks:
        for group in groups:
            folder = run.workdir.begin_group(group.names)
            locks.enter_context(hold_lock(folder, log=lambda line: None, timeout=timeout))
        # Another process may have been here first.
        missing = [group for group in groups if run.workdir.missing(group.treatments)]
        if missing:
            _train_held_groups(run, missing)
    for group in groups:
        run.workdir.remove_group(group.names)


class _BegunGroup(NamedTuple):
    """A group before its first step.

    Attributes:
        missing: its treatments that are not done.
        fused, frozen: see `GroupNetworks`.
        fitted: name -> scores of its network, where heads are fitted and not trained.
        events: name of each missing treatment -> its run in TensorBoard.
        make_training: monitors -> the training of all of its networks.
        monitors: all that looks on, but for the progress bar.
    """

    missing: Sequence[Treatment]
    fused: keras.Model
    frozen: Mapping[str, Mapping[str, str]]
    fitted: Mapping[str, Scores]
    events: Mapping[str, Events]
    make_training: Callable[..., Training]
    monitors: Sequence[Monitor]


def _train_held_groups(run: Run, groups: Sequence[Group]) -> None:
    """Trains groups that this process holds."""
    title = ", ".join(map(str, groups))
    steps = max(run.experiment.for_group(g.treatments).training.steps for g in groups)
    with contextlib.ExitStack() as stack:
        begun = [_begin_group(run, group, stack) for group in groups]
        progress = stack.enter_context(Progress(title, steps))
        results = train_side_by_side(
            [group.make_training(monitors=[progress, *group.monitors]) for group in begun]
        )
        together = sum(len(group.treatments) for group in groups)
        for group, trained in zip(begun, results, strict=True):
            _save_networks(run, group, trained, together)


def _begin_group(run: Run, group: Group, stack: contextlib.ExitStack) -> _BegunGroup:
    """Makes the networks of a group and all that looks on; what has to be closed is on a stack."""
    # What an earlier process has left: a checkpoint to go on from, or parts of networks that
    # count for nothing. What each network needs is written before the other workers are told
    # that they may begin; from then on they do the same as this one.
    missing = run.workdir.missing(group.treatments)
    folder = run.workdir.group_folder(group.names)
    checkpoint_every = run.experiment.execution.checkpoint_every
    checkpoints = Checkpoints(folder, every=checkpoint_every, warn=run.log)
    saved = checkpoints.latest()
    if saved:
        run.log(f"Going on with {group} from its checkpoint.")
    else:
        for treatment in missing:
            run.workdir.clear_treatment(treatment.name)
    run.source.prepare(group.treatments)
    step = saved[1]["step"] if saved else 0
    run.devices.share([group.names, step])

    # The training itself, with all that looks on. Networks that are done already are trained
    # again with the others, as their checkpoint has them, and are not written again.
    networks = make_networks(run, group.treatments)
    begin = step + 1 if saved else 0
    events = {t.name: stack.enter_context(Events(run.workdir / t.name, begin)) for t in missing}
    monitors, unit_metrics = [Scalars(events)], None
    if run.experiment.execution.metrics_every:
        test = test_stream(run, group.target, tf.distribute.InputContext())
        unit_metrics, unit_monitor = make_unit_metrics(run, networks, events, test)
        monitors.append(unit_monitor)
    fused, frozen = networks.fused, networks.frozen
    fitted = _fit_heads(run, group.treatments, fused)
    del networks  # What was wanted of the donors is in the monitor.
    make_training = functools.partial(
        _training_of(run, group, fused, unit_metrics),
        resume=Resume(checkpoints, saved, run.stop),
    )
    monitors = [*monitors, *run.monitors]
    return _BegunGroup(missing, fused, frozen, fitted, events, make_training, monitors)


def _save_networks(
    run: Run, group: _BegunGroup, trained: dict[str, Trained], together: int
) -> None:
    """Takes each network out of a group, checks it, and writes it and its row.

    Args:
        run: see `train_group`.
        group: whose networks are trained.
        trained: name -> result.
        together: number of networks that were trained side by side.
    """
    for name, scores in group.fitted.items():
        trained[name] = _judge(trained[name], scores, group.fused.output[name].shape[-1])
    for treatment in group.missing:
        name = treatment.name
        network = surgery.extract(group.fused, name)
        surgery.assert_unchanged(network, group.frozen[name])
        row = _make_row(run, treatment, network, trained[name], together)
        _save_network(run.workdir, row, network, trained[name])
        tensorboard.write_result(run, group.events[name], row)
        run.workdir.write_row(row)  # Last: where it is, all is.


def train_group_as_worker(run: Run, names: Sequence[str], step: int) -> None:
    """Does the part of a worker that is not the chief in `train_group`: it writes nothing.

    Args:
        run: of this worker.
        names: of the group's treatments.
        step: the updates that were done when the chief began.

    Raises:
        Interrupted: see `training.train_networks`.
        UserError: if what the chief has written cannot be seen here.
    """
    treatments = tuple(map(parse_treatment, names))
    folder = run.workdir.group_folder(names)
    saved = Checkpoints(folder, every=math.inf, warn=run.log).latest()
    is_visible = tuple(names) in run.workdir.groups
    if not is_visible or (saved[1]["step"] if saved else 0) != step:
        raise UserError(
            f"--workdir={run.workdir}: what the first machine wrote there cannot be seen from this "
            "one. Give a folder that all of them share."
        )
    fused = make_networks(run, treatments).fused
    _fit_heads(run, treatments, fused)
    unit_metrics = None
    if every := run.experiment.execution.metrics_every:  # Gradients are summed up over all.
        unit_metrics = UnitMetrics(every, [], lambda values: None)
    make_training = _training_of(run, Group(treatments), fused, unit_metrics)
    train_side_by_side([make_training(resume=Resume(saved=saved, stop=run.stop))])


def _fit_heads(
    run: Run, treatments: Sequence[Treatment], fused: keras.Model
) -> Mapping[str, Scores]:
    """Fits the heads of a group that is not trained, and gives their scores; else none."""
    fits = all(map(run.experiment.fits_head, treatments))
    return fit_heads(run, treatments, fused) if fits else {}


def _judge(trained: Trained, fitted: Scores, classes: int) -> Trained:
    """Gives what was fitted the scores of all that it was fitted to, not of one batch."""
    test_loss = trained.predictions.scores.loss
    ended = outcome(fitted.loss, test_loss, trained.chance_loss, classes)
    return trained._replace(scores=fitted, outcome=ended)


def _training_of(
    run: Run,
    group: Group,
    fused: keras.Model,
    unit_metrics: UnitMetrics | None,
) -> Callable[..., Training]:
    """Gives `training.Training` what every worker gives it."""
    labels = run.data.train[group.target].labels
    experiment = run.experiment.for_group(group.treatments)
    if experiment is not run.experiment:
        run = dataclasses.replace(run, experiment=experiment)
    training = experiment.training
    if unit_metrics and run.data.held_back:  # Which follows the test pictures.
        images = min(unit_metrics.images, len(run.data.test[group.target]))
        unit_metrics = dataclasses.replace(unit_metrics, images=images)
    return functools.partial(
        Training,
        fused,
        make_recipe(run.experiment, fused, group.treatments, labels),
        make_streams(run, group, fused),
        Schedule(
            validate_every=training.validate_every,
            log_every=math.ceil(training.steps / _LOGS_PER_RUN),
            unit_metrics=unit_metrics,
            patience=training.early_stopping,
            jit_compile=training.jit_compile,
        ),
    )


def _save_network(workdir: Workdir, row: Row, network: keras.Model, trained: Trained) -> None:
    """Writes all of a network but its row."""
    with write_whole(workdir.network_path(row.treatment)) as partial:
        surgery.save(network, partial)
    kernel = next(iter(surgery.units(network)[0].kernels), None)
    if kernel is not None and is_image_kernel(kernel.shape):
        with write_whole(workdir.filters_path(row.treatment)) as partial:
            picture = draw_filters(keras.ops.convert_to_numpy(kernel))
            partial.write_bytes(tf.io.encode_png(picture).numpy())
    workdir.write_predictions(row.treatment, trained.predictions._asdict(), row.loss)


def _make_row(
    run: Run, treatment: Treatment, network: keras.Model, trained: Trained, group: int
) -> Row:
    """Makes the row of a network; `group` networks were trained together."""
    is_given = treatment.donor in TARGETS and treatment.needs.name in run.experiment.given_bases

    def scalars(weights: Iterable) -> int:
        return sum(int(tf.size(w.value)) for w in weights)

    loss, top1 = trained.predictions.scores
    return Row(
        treatment=treatment.name,
        donor=treatment.donor,
        n=treatment.n,
        target=treatment.target,
        mode=treatment.mode,
        top1=top1,
        loss=_finite(loss),
        outcome=trained.outcome,
        training_loss=_finite(trained.scores.loss),
        test_images=len(trained.predictions.label),
        classes=network.output.shape[-1],
        steps=trained.tests[-1][0],
        best_step=trained.step,
        chance_loss=trained.chance_loss,
        group=group,
        seconds=trained.seconds,
        parameters=scalars(network.weights),
        trainable_parameters=scalars(network.trainable_weights),
        validation=tuple((step, _finite(nats), right) for step, nats, right in trained.tests),
        fitted=is_given and run.experiment.fits_head(treatment),
        units=len(run.experiment.architecture.units),
    )


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
