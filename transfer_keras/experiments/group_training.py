"""Trains one group of an experiment, and leaves each of its networks on disk."""

import contextlib
import functools
import math
import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence

import keras
import tensorflow as tf

from transfer_keras import results, surgery
from transfer_keras.config import Experiment, Group, Treatment, UserError, parse_treatment
from transfer_keras.experiments import data, recipes
from transfer_keras.experiments.devices import Devices
from transfer_keras.experiments.group_networks import make_networks, mean_image, pixels_of_task
from transfer_keras.experiments.tensorboard import write_result
from transfer_keras.experiments.unit_metrics import watch_units
from transfer_keras.results import hold_lock
from transfer_keras.training import (
    Checkpoints,
    Events,
    Monitor,
    Progress,
    Scalars,
    Stop,
    Trained,
    Watch,
    filters,
    loop,
)

_TEST_BATCH = 256  # Of the networks made here; donors may be of any size.
_LOGS_PER_RUN = 100


def train_group(
    experiment: Experiment,
    workdir: pathlib.Path,
    data: data.Data,
    group: Group,
    devices: Devices,
    *,
    say: Callable[[str], None] = print,
    stop: Stop | None = None,
    monitors: Sequence[Monitor] = (),
    patience: float = 0,
) -> None:
    """Makes the networks of a group, trains them together, and leaves each on disk.

    Args:
        experiment: how.
        workdir: where their donors are, and where they go.
        data: from `data.read_data`.
        group: of treatments whose donors are done.
        devices: where; this is the chief of their workers.
        say: called with a line for the user now and then.
        stop: see `loop.train`.
        monitors: see `experiment.run`.
        patience: seconds for which another process may still hold the group.

    Raises:
        Interrupted: see `loop.train`.
        UserError: if another process trains it.
    """
    folder = results.begin_group(workdir, group.names)
    with hold_lock(folder, say=lambda _: None, patience=patience):
        _train(experiment, workdir, data, group, devices, say, stop, monitors)
    results.remove_group(workdir, group.names)


def _train(experiment, workdir, data, group: Group, devices: Devices, say, stop, monitors) -> None:
    """`train` by the process that holds the group."""
    waiting = [t for t in group.treatments if not results.is_done(workdir, t.name)]
    if not waiting:  # Another process was here first.
        return
    folder = results.group_folder(workdir, group.names)
    checkpoints = Checkpoints(folder, every=experiment.checkpoint_every, warn=say)
    saved = checkpoints.latest()
    if saved:
        say(f"Going on with {group} from its checkpoint.")
    else:
        for treatment in waiting:  # What a run that was cut off has left.
            shutil.rmtree(workdir / treatment.name, ignore_errors=True)
    for task in {experiment.pixels_of(t) for t in group.treatments if not experiment.donor}:
        pixels_of_task(experiment, workdir, data, task)
    step = saved[1]["step"] if saved else 0
    devices.share([group.names, step])  # From here on the other workers do the same.
    fused, frozen, references = make_networks(
        experiment, workdir, data, group.treatments, devices.strategy
    )
    with contextlib.ExitStack() as stack:
        begin = step + 1 if saved else 0
        runs = {t.name: stack.enter_context(Events(workdir / t.name, begin)) for t in waiting}
        progress = stack.enter_context(Progress(str(group), experiment.steps))
        watch, ours = None, [progress, Scalars(runs)]
        if experiment.metrics_every:
            every = experiment.metrics_every
            test = data.test[group.target].evaluation(batch_size=_test_batch(experiment))
            cuts = {t.name: experiment.cut(t) for t in group.treatments}
            watch, units = watch_units(every, fused, runs, references, test, cuts)
            ours.append(units)
        del references  # What was wanted of them is in the monitor.
        loop_of_group = _loop(experiment, workdir, data, group.treatments, devices, fused)
        trained = loop_of_group(
            watch=watch,
            monitors=[*ours, *monitors],
            checkpoints=checkpoints,
            saved=saved,
            stop=stop,
        )
        classes = data.pair.tasks[group.target].class_names
        for treatment in waiting:
            name = treatment.name
            network = surgery.extract(fused, name)
            surgery.assert_unchanged(network, frozen[name])
            row = _row(treatment, network, trained[name], len(group.treatments))
            _leave(workdir, row, network, trained[name])
            write_result(experiment, workdir, runs[name], row, classes)
            results.write_row(workdir, row)  # Last: where it is, all is.


def follow_group(
    experiment: Experiment,
    workdir: pathlib.Path,
    data: data.Data,
    names: Sequence[str],
    step: int,
    devices: Devices,
    stop: Stop,
) -> None:
    """The part of a worker that is not the chief in `train`: it writes nothing.

    Args:
        experiment, workdir, data, devices: as the chief's.
        names: of the group's treatments.
        step: the updates that were done when the chief began.
        stop: see `loop.train`.

    Raises:
        Interrupted: see `loop.train`.
        UserError: if what the chief has written is not here.
    """
    treatments = tuple(map(parse_treatment, names))
    saved = Checkpoints(results.group_folder(workdir, names), every=math.inf, warn=print).latest()
    here = tuple(names) in results.groups_begun(workdir)
    if not here or (saved[1]["step"] if saved else 0) != step:
        raise UserError(
            f"--workdir={workdir}: what the first machine wrote there cannot be seen from this "
            "one. Give a folder that all of them share."
        )
    fused, _, _ = make_networks(experiment, workdir, data, treatments, devices.strategy)
    watch = None
    if experiment.metrics_every:  # Gradients are summed up over all.
        watch = Watch(experiment.metrics_every, [], lambda values: None)
    _loop(experiment, workdir, data, treatments, devices, fused)(
        watch=watch, saved=saved, stop=stop
    )


def _loop(
    experiment: Experiment,
    workdir: pathlib.Path,
    data: data.Data,
    treatments: Sequence[Treatment],
    devices: Devices,
    fused: keras.Model,
) -> Callable[..., dict[str, Trained]]:
    """`loop.train` with what every worker gives it."""
    target = treatments[0].target
    mean = mean_image(experiment, workdir, data, treatments)

    def test(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return data.test[target].evaluation(batch_size=_test_batch(experiment), context=context)

    def batches(start: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
        return data.train[target].training(
            batch_size=experiment.batch_size,
            seed=experiment.seed,
            start=start,
            mean=mean,
            context=context,
        )

    return functools.partial(
        loop.train,
        fused,
        batches=batches,
        test=test,
        recipe=recipes.recipe(experiment, fused, treatments, data.train[target].labels),
        strategy=devices.strategy,
        validate_every=experiment.validate_every,
        log_every=math.ceil(experiment.steps / _LOGS_PER_RUN),
        jit_compile=experiment.jit_compile,
        patience=experiment.early_stopping,
    )


def _test_batch(experiment: Experiment) -> int:
    return experiment.batch_size if experiment.donor else _TEST_BATCH


def _leave(workdir: pathlib.Path, row: results.Row, network: keras.Model, trained: Trained) -> None:
    """Writes all of a network but its row."""
    with results.whole(results.network_path(workdir, row.treatment)) as partial:
        network.save(partial)
    kernel = next(iter(surgery.units(network)[0].kernels), None)
    if kernel is not None and filters.is_shown(kernel.shape):
        with results.whole(results.filters_path(workdir, row.treatment)) as partial:
            picture = filters.grid(keras.ops.convert_to_numpy(kernel))
            partial.write_bytes(tf.io.encode_png(picture).numpy())
    results.write_predictions(workdir, row.treatment, trained.predictions._asdict())


def _row(treatment: Treatment, network: keras.Model, trained: Trained, group: int) -> results.Row:
    def scalars(weights: Iterable) -> int:
        return sum(int(tf.size(w.value)) for w in weights)

    loss, top1 = trained.predictions.scores
    return results.Row(
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
        group=group,
        seconds=trained.seconds,
        parameters=scalars(network.weights),
        trainable_parameters=scalars(network.trainable_weights),
        validation=tuple((step, _finite(nats), right) for step, nats, right in trained.tests),
    )


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
