"""One group of one experiment as a task of its own, on a machine of a cluster.

It begins when the bases that it needs are done, writes into the workdir that all machines share,
and goes on from the group's checkpoint where another was cut off.
"""

import contextlib
import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from transfer_keras.config import Experiment, Group, UserError
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.data import open_tasks, read_data
from transfer_keras.experiments.devices import describe_devices, use_devices
from transfer_keras.experiments.group_training import train_group
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.probes import train_probes, treatments_without_probes
from transfer_keras.experiments.run import (
    begin_run,
    check_finished,
    missing_groups,
    name_bad_images,
)
from transfer_keras.experiments.sweep import FlagsOf, workdir_in
from transfer_keras.results import Workdir
from transfer_keras.training import Stop, defer_signals

_LEASE = 180  # Seconds for which a file system may keep the lock of a machine that has died.


class GroupTask(NamedTuple):
    """A group of an experiment, and where its results go."""

    experiment: Experiment
    workdir: Workdir
    group: Group

    def __str__(self):
        return f"{self.experiment.variant}: {self.group}"

    @property
    def bases_before(self) -> list[str]:
        """Names what has to be done before it: bases, and networks that others begin with."""
        treatments, experiment = self.group.treatments, self.experiment
        before = {base for t in treatments for base in (t.needs, t.base) if base}
        before |= {begun for t in treatments if (begun := experiment.begins_with(t))}
        before &= {*experiment.all_treatments}  # A donor is there, and scratch may be left out.
        return sorted({t.name for t in before} - set(self.group.names))


def train_group_task(
    task: GroupTask, *, log: Callable[[str], None] = print, stop: Stop | None = None
) -> None:
    """Trains one group of an experiment that was begun, on this machine; its linear probes too.

    Args:
        task: which.
        log: called with a line for the user now and then.
        stop: see `training.Resume`.

    Raises:
        UserError: if a base is not done; see also `train_group`.
    """
    experiment, workdir, group = task
    if missing := [name for name in task.bases_before if not workdir.is_done(name)]:
        raise UserError(f"{group} needs {', '.join(missing)}, which is not in {workdir}.")
    devices = use_devices(experiment.training, experiment.execution)
    log(describe_devices(devices, experiment.training))
    data = read_data(experiment)
    run = Run(experiment, workdir, data, devices, log, stop or Stop())
    with name_bad_images(data):
        if workdir.missing(group.treatments):
            train_group(run, group, timeout=_LEASE)
        if experiment.execution.probes:
            train_probes(run, treatments_without_probes(workdir, group.treatments))


def train_numbered_task(
    experiments: Sequence[Experiment], folder: pathlib.Path, number: int
) -> None:
    """Trains one group of a study, by its number in the script that `write_slurm_script` writes.

    Raises:
        UserError: if there is no such group; see also `train_group_task`.
    """
    use_devices(experiments[0].training, experiments[0].execution)
    tasks = group_tasks(experiments, folder)
    if number >= len(tasks):
        raise UserError(f"--task={number}: the study has {len(tasks)} groups, from 0 on.")
    workdir = tasks[number].workdir
    if not workdir.has_facts:
        raise UserError(
            f"--task={number}: {workdir} was not made yet. Run the same with --cluster=slurm first."
        )
    with defer_signals() as stop:
        train_group_task(tasks[number], stop=stop)


def group_tasks(experiments: Sequence[Experiment], folder: pathlib.Path) -> list[GroupTask]:
    """Lists all groups of a study wave by wave, whatever is done already."""
    return list(itertools.chain.from_iterable(task_waves(experiments, folder)))


def task_waves(experiments: Sequence[Experiment], folder: pathlib.Path) -> list[list[GroupTask]]:
    """Lists all groups of a study in waves, each of which needs only what those before it leave."""
    remaining = [
        GroupTask(experiment, workdir_in(folder.resolve(), experiment), group)
        for experiment in experiments
        for group in plan_experiment(experiment, open_tasks(experiment).tasks)
    ]
    waves = []
    while remaining:
        missing = {(task.workdir.path, name) for task in remaining for name in task.group.names}

        def waits(task: GroupTask, missing=missing) -> bool:
            return any((task.workdir.path, name) in missing for name in task.bases_before)

        waves.append([task for task in remaining if not waits(task)])
        remaining = [task for task in remaining if waits(task)]
    return waves


def begin_experiment(
    experiment: Experiment,
    folder: pathlib.Path,
    flags: FlagsOf,
    log: Callable[[str], None],
    locks: contextlib.ExitStack,
) -> list[GroupTask]:
    """Makes the workdir of an experiment and lists what is missing in it.

    Args:
        experiment: of a study.
        folder: of the study, at the same place on all machines.
        flags: see `run_sweep`.
        log: called with a line for the user now and then.
        locks: holds the workdir until it is closed.
    """
    workdir = workdir_in(folder.resolve(), experiment)
    workdir.check(experiment.identity)
    treatments = experiment.all_treatments
    without_probes = []
    if experiment.execution.probes:
        without_probes = treatments_without_probes(workdir, treatments)
    if not workdir.missing(treatments) and not without_probes:
        return []
    workdir.check_places(treatments)
    check_finished(experiment, workdir)
    data = read_data(experiment)
    workdir.path.mkdir(parents=True, exist_ok=True)
    locks.enter_context(workdir.lock(log=log))
    run = Run(experiment, workdir, data, devices=None, log=log)
    begin_run(run, flags(experiment, workdir.path))
    groups = [*missing_groups(run), *(Group((treatment,)) for treatment in without_probes)]
    return [GroupTask(experiment, workdir, group) for group in groups]
