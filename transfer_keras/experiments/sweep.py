"""Runs a study: many experiments, each with a workdir of its own below one folder."""

import pathlib
import time
from collections.abc import Callable, Sequence

import keras

from transfer_keras.config import Experiment, Group, align_columns, duration
from transfer_keras.experiments.data import open_tasks, read_data
from transfer_keras.experiments.devices import use_devices
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.kept_features import may_keep_features
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.timing import count_test_passes, shorten, time_training
from transfer_keras.results import Workdir

_MEASURED_STEPS = 12
_COLUMNS = ("experiment", "networks", "passes", "to train", "time")

FlagsOf = Callable[[Experiment, pathlib.Path], str]


def run_sweep(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: FlagsOf,
    log: Callable[[str], None] = print,
) -> bool:
    """Trains what is not on disk yet, one experiment after the other.

    Args:
        experiments: of one study.
        folder: of the study; each has a workdir there.
        flags: an experiment and its workdir -> what repeats it alone.
        log: called with a line for the user now and then.

    Returns:
        Whether this process is the one that writes, of those that train together.

    Raises:
        UserError: see `run_experiment`; what can be known of all is told before any is trained.
    """
    devices = use_devices(experiments[0].training, experiments[0].execution)
    if devices.is_chief:
        check_sweep_data(experiments, folder)
        folder.mkdir(parents=True, exist_ok=True)
    begun, trained = time.monotonic(), 0
    for number, experiment in enumerate(experiments, 1):
        workdir = workdir_in(folder, experiment)
        to_train = _count_missing(experiment, folder)
        line = f"\nExperiment {number} of {len(experiments)}: {experiment.variant}."
        if trained and to_train:
            remaining = sum(_count_missing(each, folder) for each in experiments)
            seconds = (time.monotonic() - begun) / trained * remaining
            line += f" {remaining} networks are left, about {duration(seconds)}."
        log(line)
        run_experiment(experiment, workdir, log=log, flags=flags(experiment, workdir.path))
        trained += to_train
        keras.utils.clear_session()
    return devices.is_chief


def workdir_in(folder: pathlib.Path, experiment: Experiment) -> Workdir:
    """Gives the workdir of an experiment in the folder of its study."""
    return Workdir(folder / experiment.variant_name)


def check_sweep_data(experiments: Sequence[Experiment], folder: pathlib.Path) -> None:
    """Reads the data of each split with the fewest and the most examples a class.

    Raises:
        UserError: if those of any experiment cannot be had or do not suffice.
    """
    for experiment in experiments:
        open_tasks(experiment)
    by_split: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if experiment.data.examples_per_class and _count_missing(experiment, folder):
            by_split.setdefault(experiment.data.split, []).append(experiment)
    for reduced in by_split.values():
        reduced.sort(key=lambda experiment: experiment.data.examples_per_class)
        for experiment in dict.fromkeys((reduced[0], reduced[-1])):
            read_data(experiment)


def _count_missing(experiment: Experiment, folder: pathlib.Path) -> int:
    """Counts what is not on disk yet of what an experiment trains."""
    return len(workdir_in(folder, experiment).missing(experiment.all_treatments))


def estimate_sweep(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    log: Callable[[str], None] = print,
) -> None:
    """Logs what a study takes; where its data are at hand, also how long, by a short training of
    each kind of groups.

    Args:
        experiments: of one study.
        folder: of the study, where some of it may be done already.
        log: called with tables and lines.

    Raises:
        UserError: see `run_experiment`.
    """
    # What is to be trained: the groups of each experiment; those that are alike are one kind.
    pairs = {e: open_tasks(e, prepare=False) for e in experiments}
    # A head that is fitted alone is estimated as if it were trained with others.
    trained = {e: e.replace(fit_head=False) for e in experiments}
    groups = {e: plan_experiment(trained[e], pairs[e].tasks) for e in experiments}
    kinds: dict[tuple[Group, ...], list[Experiment]] = {}
    for experiment in experiments:
        kinds.setdefault(groups[experiment], []).append(experiment)
    for alike in kinds.values():
        log(f"\n{'; '.join(experiment.variant for experiment in alike)}:")
        log(plan_table(alike[0], pairs[alike[0]].tasks, workdir_in(folder, alike[0])))
    networks = sum(len(group.names) for e in experiments for group in groups[e])
    passes = sum(map(len, groups.values()))
    log(
        f"\n{len(experiments)} experiments: {networks} networks in {passes} passes over the data "
        f"of {experiments[0].training.steps:,} steps each."
    )
    if not pairs[experiments[0]].at_hand:
        log("No estimate of the time: the data have to be downloaded first.")
        return

    # How long it takes: a few steps of each kind of which something is missing.
    # Experiments that are done already cost nothing more.
    # The rest is estimated from these steps and tests.
    unfinished = {
        kind: alike[0]
        for kind, alike in kinds.items()
        if any(_count_missing(experiment, folder) for experiment in alike)
    }
    if unfinished:
        log(f"Measuring {_MEASURED_STEPS} steps of each kind of groups …")
    costs = {kind: _measure(experiment, kind) for kind, experiment in unfinished.items()}
    lines, total = [_COLUMNS], 0.0
    for experiment in experiments:
        workdir = workdir_in(folder, experiment)
        to_train = [g for g in groups[experiment] if workdir.missing(g.treatments)]
        seconds = sum(costs[groups[experiment]][group] for group in to_train)
        total += seconds
        counts = (
            sum(len(group.names) for group in groups[experiment]),
            len(groups[experiment]),
            _count_missing(experiment, folder),
        )
        time_left = duration(seconds) if to_train else ""
        lines.append((experiment.variant, *map(str, counts), time_left))
    lines.append(("all", str(networks), str(passes), "", duration(total)))
    log(f"\n{align_columns(lines)}")
    if any(may_keep_features(experiment) for experiment in unfinished.values()):
        log("Frozen units count in every step; where their features are kept, it takes less time.")
    if experiments[0].execution.probes:
        log("The linear probes come on top of that.")


def _measure(experiment: Experiment, groups: Sequence[Group]) -> dict[Group, float]:
    """Measures a few steps of each group, and adds what the other steps will take, in seconds."""
    seconds, trainings = time_training(experiment, _MEASURED_STEPS)
    more_steps = experiment.training.steps - _MEASURED_STEPS
    more_passes = count_test_passes(experiment) - count_test_passes(
        shorten(experiment, _MEASURED_STEPS)
    )
    return {
        group: seconds / len(groups)
        + more_steps * times.step_seconds
        + more_passes * times.test_seconds
        for group, times in zip(groups, trainings, strict=True)
    }
