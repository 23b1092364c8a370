"""Trains one group of an experiment, and leaves each of its networks on disk."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

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
    Progress,
    Resume,
    Scalars,
    Schedule,
    Scores,
    Trained,
    UnitMetrics,
    draw_filters,
    is_image_kernel,
    outcome,
    train_networks,
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
    folder = run.workdir.begin_group(group.names)
    with hold_lock(folder, log=lambda line: None, timeout=timeout):
        _train_held_group(run, group)
    run.workdir.remove_group(group.names)


def _train_held_group(run: Run, group: Group) -> None:
    """Trains a group that this process holds."""
    missing = run.workdir.missing(group.treatments)
    if not missing:  # Another process was here first.
        return

    # What an earlier process has left: a checkpoint to go on from, or parts of networks that
    # count for nothing. What each network needs is written before the other workers are told
    # that they may begin; from then on they do the same as this one.
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
    with contextlib.ExitStack() as stack:
        events = {t.name: stack.enter_context(Events(run.workdir / t.name, begin)) for t in missing}
        monitors, unit_metrics = [Scalars(events)], None
        if run.experiment.execution.metrics_every:
            test = test_stream(run, group.target, tf.distribute.InputContext())
            unit_metrics, unit_monitor = make_unit_metrics(run, networks, events, test)
            monitors.append(unit_monitor)
        fused, frozen = networks.fused, networks.frozen
        fitted = _fit_heads(run, group.treatments, fused)
        del networks  # What was wanted of the donors is in the monitor.
        train = _training_of(run, group, fused, unit_metrics)
        steps = run.experiment.for_group(group.treatments).training.steps
        progress = stack.enter_context(Progress(str(group), steps))
        trained = train(
            resume=Resume(checkpoints, saved, run.stop),
            monitors=[progress, *monitors, *run.monitors],
        )
        for name, scores in fitted.items():
            trained[name] = _judge(trained[name], scores, fused.output[name].shape[-1])
        _save_networks(run, missing, fused, frozen, trained, events, len(group.treatments))


def _save_networks(
    run: Run,
    treatments: Sequence[Treatment],
    fused: keras.Model,
    frozen: Mapping[str, Mapping[str, str]],
    trained: Mapping[str, Trained],
    events: Mapping[str, Events],
    group_size: int,
) -> None:
    """Takes each network out of the group, checks it, and writes it and its row."""
    for treatment in treatments:
        name = treatment.name
        network = surgery.extract(fused, name)
        surgery.assert_unchanged(network, frozen[name])
        row = _make_row(run, treatment, network, trained[name], group_size)
        _save_network(run.workdir, row, network, trained[name])
        tensorboard.write_result(run, events[name], row)
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
    train = _training_of(run, Group(treatments), fused, unit_metrics)
    train(resume=Resume(saved=saved, stop=run.stop))


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
) -> Callable[..., dict[str, Trained]]:
    """Gives `training.train_networks` what every worker gives it."""
    labels = run.data.train[group.target].labels
    experiment = run.experiment.for_group(group.treatments)
    if experiment is not run.experiment:
        run = dataclasses.replace(run, experiment=experiment)
    training = experiment.training
    if unit_metrics and run.data.held_back:  # Which follows the test pictures.
        images = min(unit_metrics.images, len(run.data.test[group.target]))
        unit_metrics = dataclasses.replace(unit_metrics, images=images)
    return functools.partial(
        train_networks,
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
