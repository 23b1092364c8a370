"""One group of one experiment as a task of its own, on a machine of a cluster.

It begins when the bases that it needs are done, writes into the workdir that all machines share,
and goes on from the group's checkpoint where another was cut off.
"""

import pathlib
from collections.abc import Callable, Sequence

from transfer_keras import results
from transfer_keras.config import Experiment, Group, UserError, parse_treatment
from transfer_keras.experiments.data import open_tasks, read_data
from transfer_keras.experiments.devices import describe_devices, use_devices
from transfer_keras.experiments.group_training import train_group
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.probes import train_probes
from transfer_keras.experiments.run import (
    missing_groups,
    name_bad_images,
    treatments_without_probes,
    write_experiment_facts,
)
from transfer_keras.results import hold_lock
from transfer_keras.training import Stop, signals_wait

_LEASE = 180  # Seconds for which a file system may keep the lock of a machine that has died.


def train_group_task(
    experiment: Experiment,
    workdir: pathlib.Path,
    names: Sequence[str],
    *,
    say: Callable[[str], None] = print,
    stop: Stop | None = None,
) -> None:
    """One group of an experiment that was begun, on this machine; its linear probes too.

    Args:
        experiment: whose.
        workdir: of it.
        names: of the group's treatments.
        say: called with a line for the user now and then.
        stop: see `loop.train`.

    Raises:
        UserError: if a base is not done; see also `group_training.train_group`.
    """
    group = Group(tuple(map(parse_treatment, names)))
    if missing := [name for name in bases_before(group) if not results.is_done(workdir, name)]:
        raise UserError(f"{group} needs {', '.join(missing)}, which is not in {workdir}.")
    found = use_devices(experiment)
    say(describe_devices(found, experiment))
    data = read_data(experiment)
    with name_bad_images(data):
        if not all(results.is_done(workdir, name) for name in names):
            train_group(
                experiment, workdir, data, group, found, say=say, stop=stop, patience=_LEASE
            )
        if experiment.probes:
            left = treatments_without_probes(workdir, group.treatments)
            train_probes(experiment, workdir, data, left, stop=stop or Stop())


def train_numbered_task(
    experiments: Sequence[Experiment], folder: pathlib.Path, number: int
) -> None:
    """One group of a study, by its number in the script that `slurm.write_slurm_script` writes.

    Raises:
        UserError: if there is no such group; see also `train_group_task`.
    """
    use_devices(experiments[0])
    tasks = group_tasks(experiments, folder)
    if number >= len(tasks):
        raise UserError(f"--task={number}: the study has {len(tasks)} groups, from 0 on.")
    experiment, workdir, group = tasks[number]
    if not (workdir / results.EXPERIMENT).exists():
        raise UserError(
            f"--task={number}: {workdir} was not made yet. Run the same with --cluster=slurm first."
        )
    with signals_wait() as stop:
        train_group_task(experiment, workdir, group.names, stop=stop)


def group_tasks(experiments: Sequence[Experiment], folder: pathlib.Path) -> list[tuple]:
    """All (experiment, workdir, group) of a study, bases first, whatever is done already."""
    found = [
        (experiment, workdir, group)
        for experiment, workdir in study_workdirs(experiments, folder)
        for group in plan_experiment(experiment, open_tasks(experiment).tasks)
    ]
    return sorted(found, key=lambda task: task[2].treatments[0].donor is not None)


def study_workdirs(
    experiments: Sequence[Experiment], folder: pathlib.Path
) -> list[tuple[Experiment, pathlib.Path]]:
    """Pairs each experiment of a study with its workdir."""
    return [(one, folder.resolve() / one.variant_name) for one in experiments]


def begin_experiment(experiment, workdir: pathlib.Path, flags, say, stack) -> list[Group]:
    """What is left of an experiment, whose workdir is made and held."""
    results.check_workdir(workdir, experiment.identity)
    wanted = experiment.wanted
    done = [t for t in wanted if results.is_done(workdir, t.name)]
    unprobed = treatments_without_probes(workdir, done) if experiment.probes else []
    if len(done) == len(wanted) and not unprobed:
        return []
    data = read_data(experiment)
    workdir.mkdir(parents=True, exist_ok=True)
    stack.enter_context(hold_lock(workdir, say=say))
    write_experiment_facts(experiment, workdir, data.pair, flags(experiment, workdir))
    left = missing_groups(experiment, workdir, data.pair)
    return [*left, *(Group((treatment,)) for treatment in unprobed)]


def bases_before(group: Group) -> list[str]:
    """The bases that have to be done before it."""
    bases = {base.name for t in group.treatments for base in (t.needs, t.base) if base}
    return sorted(bases - set(group.names))
