"""Runs one experiment. Read this first.

Two tasks are made of one dataset; a base is trained on each; each treatment takes the lower
units of a base, frozen or fine-tuned, and trains the rest anew on its target; every network
is tested on the same images as the base of its target.
"""

import contextlib
import importlib.metadata
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import tensorflow as tf

from transfer_keras import results
from transfer_keras.config import (
    Experiment,
    Group,
    Interrupted,
    Treatment,
    UserError,
    parse_treatment,
)
from transfer_keras.datasets import TaskPair
from transfer_keras.experiments import data
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.devices import (
    Devices,
    describe_devices,
    report_lost_workers,
    use_devices,
)
from transfer_keras.experiments.group_training import follow_group, train_group
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.probes import train_probes
from transfer_keras.experiments.tensorboard import write_curve, write_experiment_page
from transfer_keras.results import check_lock, hold_lock
from transfer_keras.training import Monitor, signals_wait


def run_experiment(
    experiment: Experiment,
    workdir: pathlib.Path,
    *,
    say: Callable[[str], None] = print,
    flags: str = "",
    monitors: Sequence[Monitor] = (),
    deadline: float | None = None,
) -> tuple[Treatment, ...]:
    """Trains what is not in the workdir yet.

    Args:
        experiment: what is wanted.
        workdir: a new folder, or one of the same experiment; see `results` for what it holds.
        say: called with a line for the user now and then.
        flags: what repeats the run, to be kept beside the results.
        monitors: what looks on besides TensorBoard and the progress bar.
        deadline: a moment of `time.monotonic()`, after which it stops as after a signal.

    Returns:
        All treatments that are wanted and the bases that they need, in the order of the plan;
        the row of each is on disk. Nothing, at a worker that is not the chief.

    Raises:
        UserError: if the data cannot be had or do not suffice, or the workdir belongs to
            another experiment.
        Interrupted: after a signal, or the deadline.
        WorkerLost: if another worker has ended.
    """
    found = use_devices(experiment)
    with report_lost_workers(found):
        if not found.is_chief:
            _follow(experiment, workdir, found)
            return ()
        done = _lead(experiment, workdir, found, say, flags, monitors, deadline)
        found.share(None)
    return done


def _lead(
    experiment, workdir: pathlib.Path, found: Devices, say, flags: str, monitors, deadline
) -> tuple[Treatment, ...]:
    """`run` by the process that writes."""
    results.check_workdir(workdir, experiment.identity)
    wanted = experiment.wanted
    if _report_done(experiment, workdir, wanted, say):
        _tidy(experiment, workdir, say)
        return wanted
    check_lock(workdir)
    say(describe_devices(found, experiment))
    data = read_data(experiment)
    if skipped := data.pair.skipped:
        say(f"{len(skipped)} pictures left out (named in {workdir}/experiment.json).")
    workdir.mkdir(parents=True, exist_ok=True)
    with hold_lock(workdir, say=say):
        write_experiment_facts(experiment, workdir, data.pair, flags)
        with signals_wait(deadline) as stop, name_bad_images(data), report_lost_workers(found):
            for group in missing_groups(experiment, workdir, data.pair):
                if stop.requested:
                    raise Interrupted(f"the end of a group, before {group}")
                train_group(
                    experiment, workdir, data, group, found, say=say, stop=stop, monitors=monitors
                )
                write_curve(experiment, workdir)
            write_curve(experiment, workdir)  # If the run that ended it was killed before.
            if experiment.probes:
                train_probes(
                    experiment, workdir, data, treatments_without_probes(workdir, wanted), stop=stop
                )
    return wanted


def _follow(experiment: Experiment, workdir: pathlib.Path, found: Devices) -> None:
    """`run` by the other workers."""
    data = None
    with signals_wait() as stop:
        while order := found.share(None):
            data = data or read_data(experiment)
            with name_bad_images(data), report_lost_workers(found):
                follow_group(experiment, workdir, data, *order, found, stop)


@contextlib.contextmanager
def name_bad_images(data: data.Data) -> Iterator[None]:
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
    probed = not (experiment.probes and treatments_without_probes(workdir, wanted))
    return probed and len(done) == len(wanted)


def treatments_without_probes(
    workdir: pathlib.Path, treatments: Iterable[Treatment]
) -> list[Treatment]:
    """Those that are done and have no linear probes."""
    return [
        t
        for t in treatments
        if results.is_done(workdir, t.name) and results.read_row(workdir, t.name).probes is None
    ]


def _tidy(experiment: Experiment, workdir: pathlib.Path, say) -> None:
    """Does what a run that was killed at its very end has left undone, if that can be done now."""
    with contextlib.suppress(UserError, OSError), hold_lock(workdir, say=say):
        results.remove_finished_groups(workdir)
        write_curve(experiment, workdir)


def missing_groups(experiment: Experiment, workdir: pathlib.Path, pair: TaskPair) -> list[Group]:
    """What is left to train, bases first; what was begun comes before others, whole: so are its
    checkpoints."""
    planned = plan_experiment(experiment, pair.tasks)
    left = {
        t for group in planned for t in group.treatments if not results.is_done(workdir, t.name)
    }
    begun = []
    for names in results.groups_begun(workdir):
        group = Group(tuple(map(parse_treatment, names)))
        waiting = {t for t in group.treatments if not results.is_done(workdir, t.name)}
        if waiting and waiting <= left:
            begun.append(group)
            left -= waiting
    parts = [Group(tuple(t for t in group.treatments if t in left)) for group in planned]
    groups = [*begun, *(group for group in parts if group.treatments)]
    return sorted(groups, key=lambda group: group.treatments[0].donor is not None)  # Bases first.


def write_experiment_facts(
    experiment: Experiment, workdir: pathlib.Path, pair: TaskPair, flags: str
) -> None:
    """Writes what an experiment is into its workdir, which is held by this process.

    Args:
        experiment: what it is.
        workdir: an existing folder.
        pair: its tasks, whose pictures were read.
        flags: see `run`.

    Raises:
        UserError: if the workdir's results were made with other data.
    """
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
    write_experiment_page(experiment, workdir, pair.tasks, versions)
    results.write_text(workdir / "run.flags", flags)
    results.remove_finished_groups(workdir)
