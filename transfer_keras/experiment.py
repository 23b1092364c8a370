"""Runs one experiment. Read this first.

Two tasks are made of one dataset; a base is trained on each; each treatment takes the lower
units of a base, frozen or fine-tuned, and trains the rest anew on its target; every network
is tested on the same images as the base of its target.
"""

import contextlib
import importlib.metadata
import math
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import tensorflow as tf

from transfer_keras import (
    dashboard,
    group_models,
    grouping,
    lock,
    probes,
    results,
    surgery,
    task_data,
    watching,
)
from transfer_keras.datasets.task_pair import TaskPair
from transfer_keras.errors import UserError
from transfer_keras.monitors import filters
from transfer_keras.monitors.events import Events
from transfer_keras.monitors.progress import Progress
from transfer_keras.monitors.scalars import Scalars
from transfer_keras.plan import Group, with_bases
from transfer_keras.settings import Experiment
from transfer_keras.training import loop
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.interruption import Interrupted, Stop, signals_wait
from transfer_keras.training.loop import Monitor
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import Trained
from transfer_keras.treatments import Treatment, parse

_TEST_BATCH = 256
_LOGS_PER_RUN = 100


def run(
    experiment: Experiment,
    workdir: pathlib.Path,
    *,
    say: Callable[[str], None] = print,
    flags: str = "",
    monitors: Sequence[Monitor] = (),
) -> tuple[Treatment, ...]:
    """Trains what is not in the workdir yet.

    Args:
        experiment: what is wanted.
        workdir: a new folder, or one of the same experiment; see `results` for what it holds.
        say: called with a line for the user now and then.
        flags: what repeats the run, to be kept beside the results.
        monitors: what looks on besides TensorBoard and the progress bar.

    Returns:
        All treatments that are wanted and the bases that they need, in the order of the plan;
        the row of each is on disk.

    Raises:
        UserError: if the data cannot be had or do not suffice, or the workdir belongs to
            another experiment.
    """
    results.check_workdir(workdir, experiment.identity)
    wanted = with_bases(experiment.treatments)
    if _report_done(experiment, workdir, wanted, say):
        _tidy(experiment, workdir, say)
        return wanted
    lock.check(workdir)
    data = task_data.read(experiment)
    if skipped := data.pair.skipped:
        say(f"{len(skipped)} pictures left out (named in {workdir}/experiment.json).")
    workdir.mkdir(parents=True, exist_ok=True)
    with lock.hold(workdir, say=say):
        _begin(experiment, workdir, data.pair)
        results.write_text(workdir / "run.flags", flags)
        results.remove_finished_groups(workdir)
        with signals_wait() as stop, _faults_told(data):
            for group in _groups(experiment, workdir, data.pair):
                if stop.requested:
                    raise Interrupted(f"the end of a group, before {group}")
                train_group(experiment, workdir, data, group, say=say, stop=stop, monitors=monitors)
                dashboard.curve(experiment, workdir)
            dashboard.curve(experiment, workdir)  # If the run that ended it was killed before.
            if experiment.probes:
                probes.run(experiment, workdir, data, _unprobed(workdir, wanted), stop=stop)
    return wanted


@contextlib.contextmanager
def _faults_told(data: task_data.Data) -> Iterator[None]:
    """Where pictures come from disk, one that cannot be decoded is met in the middle."""
    try:
        yield
    except tf.errors.OpError:
        for examples in (data.train, data.test):
            data.pair.refuse_faults(examples)
        raise


def _report_done(experiment, workdir: pathlib.Path, wanted: Sequence[Treatment], say) -> bool:
    """Says what is on disk already; whether that is all."""
    done = [t.name for t in wanted if results.is_done(workdir, t.name)]
    if done:
        say(f"On disk already, not trained again: {', '.join(done)}")
    probed = not (experiment.probes and _unprobed(workdir, wanted))
    return probed and len(done) == len(wanted)


def _unprobed(workdir: pathlib.Path, treatments: Iterable[Treatment]) -> list[Treatment]:
    """Those that are done and have no linear probes."""
    return [
        t
        for t in treatments
        if results.is_done(workdir, t.name) and results.read_row(workdir, t.name).probes is None
    ]


def _tidy(experiment: Experiment, workdir: pathlib.Path, say) -> None:
    """Does what a run that was killed at its very end has left undone, if that can be done now."""
    with contextlib.suppress(UserError, OSError), lock.hold(workdir, say=say):
        results.remove_finished_groups(workdir)
        dashboard.curve(experiment, workdir)


def _groups(experiment: Experiment, workdir: pathlib.Path, pair: TaskPair) -> list[Group]:
    """What is left to train. A group that was begun comes first, whole: so are its checkpoints."""
    planned = grouping.groups(experiment, pair.tasks)
    left = {
        t for group in planned for t in group.treatments if not results.is_done(workdir, t.name)
    }
    begun = []
    for names in results.groups_begun(workdir):
        group = Group(tuple(map(parse, names)))
        waiting = {t for t in group.treatments if not results.is_done(workdir, t.name)}
        if waiting and waiting <= left:
            begun.append(group)
            left -= waiting
    parts = [Group(tuple(t for t in group.treatments if t in left)) for group in planned]
    groups = [*begun, *(group for group in parts if group.treatments)]
    return sorted(groups, key=lambda group: group.treatments[0].donor is not None)  # Bases first.


def _begin(experiment: Experiment, workdir: pathlib.Path, pair: TaskPair) -> None:
    versions = {
        name: importlib.metadata.version(name)
        for name in ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    }
    classes = {name: task.class_names for name, task in pair.tasks.items()}
    results.write_experiment(
        workdir,
        experiment.identity,
        data={"dataset": pair.identity, **classes, "skipped_images": pair.skipped},
        versions=versions,
    )
    dashboard.begin(experiment, workdir, pair.tasks, versions)


def train_group(
    experiment: Experiment,
    workdir: pathlib.Path,
    data: task_data.Data,
    group: Group,
    *,
    say: Callable[[str], None] = print,
    stop: Stop | None = None,
    monitors: Sequence[Monitor] = (),
) -> None:
    """Makes the networks of a group, trains them together, and leaves each on disk.

    Args:
        experiment: how.
        workdir: where their donors are, and where they go.
        data: from `task_data.read`.
        group: of treatments whose donors are done.
        say: called with a line for the user now and then.
        stop: see `loop.train`.
        monitors: see `run`.

    Raises:
        Interrupted: see `loop.train`.
    """
    waiting = [t for t in group.treatments if not results.is_done(workdir, t.name)]
    folder = results.begin_group(workdir, group.names)
    checkpoints = Checkpoints(folder, every=experiment.checkpoint_every, warn=say)
    saved = checkpoints.latest()
    if saved:
        say(f"Going on with {group} from its checkpoint.")
    else:
        for treatment in waiting:  # What a run that was cut off has left.
            shutil.rmtree(workdir / treatment.name, ignore_errors=True)
    fused, frozen, references = group_models.make(experiment, workdir, data, group.treatments)
    pictures = data.train[group.target]
    mean = group_models.mean_image(experiment, workdir, data, group.treatments)
    test = data.test[group.target].evaluation(batch_size=_TEST_BATCH)
    begin = saved[1]["step"] + 1 if saved else 0
    with contextlib.ExitStack() as stack:
        runs = {t.name: stack.enter_context(Events(workdir / t.name, begin)) for t in waiting}
        progress = stack.enter_context(Progress(str(group), experiment.steps))
        watch, ours = None, [progress, Scalars(runs)]
        if experiment.metrics_every:
            every = experiment.metrics_every
            watch, units = watching.watch(every, fused, runs, references, test)
            ours.append(units)
        del references  # What was wanted of them is in the monitor.
        trained = loop.train(
            fused,
            lambda start: pictures.training(
                batch_size=experiment.batch_size, seed=experiment.seed, start=start, mean=mean
            ),
            test,
            recipe=_recipe(experiment),
            strategy=tf.distribute.get_strategy(),
            validate_every=experiment.validate_every,
            log_every=math.ceil(experiment.steps / _LOGS_PER_RUN),
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
            dashboard.result(experiment, workdir, runs[name], row, classes)
            results.write_row(workdir, row)  # Last: where it is, all is.
    results.remove_finished_groups(workdir)


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


def _recipe(experiment: Experiment) -> Recipe:
    return Recipe(
        steps=experiment.steps,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        weight_decay=experiment.weight_decay,
    )


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
        group=group,
        seconds=trained.seconds,
        parameters=scalars(network.weights),
        trainable_parameters=scalars(network.trainable_weights),
        validation=tuple((step, _finite(nats), right) for step, nats, right in trained.tests),
    )


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
