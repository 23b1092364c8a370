"""Runs a study: many experiments, each with a workdir of its own below one folder."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

import keras

from transfer_keras import results
from transfer_keras.config import Experiment, Group, align_columns, duration
from transfer_keras.experiments.data import open_tasks, read_data
from transfer_keras.experiments.devices import use_devices
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.timing import test_passes, time_training

_MEASURED = 12  # Steps of a measurement.
_COLUMNS = ("experiment", "networks", "passes", "to train", "time")


def run_sweep(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: Callable[[Experiment, pathlib.Path], str],
    say: Callable[[str], None] = print,
) -> bool:
    """Trains what is not on disk yet, one experiment after the other.

    Args:
        experiments: of one study.
        folder: of the study; each has a workdir there.
        flags: an experiment and its workdir -> what repeats it alone.
        say: called with a line for the user now and then.

    Returns:
        Whether this process is the one that writes, of those that train together.

    Raises:
        UserError: see `experiment.run`; what can be known of all is told before any is trained.
    """
    found = use_devices(experiments[0])
    if found.is_chief:
        check_sweep_data(experiments, folder)
        folder.mkdir(parents=True, exist_ok=True)
    begun, trained = time.monotonic(), 0
    for number, experiment in enumerate(experiments, 1):
        left = sum(len(_waiting(one, folder)) for one in experiments)
        here = len(_waiting(experiment, folder))
        words = f"\nExperiment {number} of {len(experiments)}: {experiment.variant}."
        if trained and here:
            pace = (time.monotonic() - begun) / trained
            words += f" {left} networks are left, about {duration(pace * left)}."
        say(words)
        workdir = folder / experiment.variant_name
        run_experiment(experiment, workdir, say=say, flags=flags(experiment, workdir))
        trained += here
        keras.utils.clear_session()
    return found.is_chief


def check_sweep_data(experiments: Sequence[Experiment], folder: pathlib.Path) -> None:
    """Reads the data of each split with the fewest and the most examples a class.

    Raises:
        UserError: if those of any experiment cannot be had or do not suffice.
    """
    for experiment in experiments:
        open_tasks(experiment)
    by_split: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if experiment.examples_per_class and _waiting(experiment, folder):
            by_split.setdefault(experiment.split, []).append(experiment)
    for reduced in by_split.values():
        reduced.sort(key=lambda experiment: experiment.examples_per_class)
        for experiment in dict.fromkeys((reduced[0], reduced[-1])):
            read_data(experiment)


def _waiting(experiment: Experiment, folder: pathlib.Path) -> list[str]:
    """What is not on disk yet of what it trains."""
    workdir = folder / experiment.variant_name
    names = [treatment.name for treatment in experiment.wanted]
    return [name for name in names if not results.is_done(workdir, name)]


def plan_sweep(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    say: Callable[[str], None] = print,
) -> None:
    """Says what a study takes; where its data are at hand, also how long, by a short training of
    each kind of groups.

    Args:
        experiments: of one study.
        folder: of the study, where some of it may be done already.
        say: called with tables and lines.

    Raises:
        UserError: see `experiment.run`.
    """
    pairs = {e: open_tasks(e, prepare=False) for e in experiments}
    groups = {e: plan_experiment(e, pairs[e].tasks) for e in experiments}
    alike: dict[tuple[Group, ...], list[Experiment]] = {}
    for experiment in experiments:
        alike.setdefault(groups[experiment], []).append(experiment)
    for kind in alike.values():
        say(f"\n{'; '.join(experiment.variant for experiment in kind)}:")
        say(plan_table(kind[0], pairs[kind[0]].tasks, folder / kind[0].variant_name))
    networks = sum(len(group.names) for e in experiments for group in groups[e])
    passes = sum(map(len, groups.values()))
    say(
        f"\n{len(experiments)} experiments: {networks} networks in {passes} passes over the data "
        f"of {experiments[0].steps:,} steps each."
    )
    if not pairs[experiments[0]].at_hand:
        say("No estimate of the time: the data have to be downloaded first.")
        return
    left = {
        kind: of_kind[0]
        for kind, of_kind in alike.items()
        if any(_waiting(experiment, folder) for experiment in of_kind)
    }
    if left:
        say(f"Measuring {_MEASURED} steps of each kind of groups …")
    costs = {kind: _measure(experiment, kind) for kind, experiment in left.items()}
    lines, everything = [_COLUMNS], 0.0
    for experiment in experiments:
        waiting = set(_waiting(experiment, folder))
        left = [group for group in groups[experiment] if waiting & set(group.names)]
        seconds = sum(costs[groups[experiment]][group] for group in left)
        everything += seconds
        count = sum(len(group.names) for group in groups[experiment])
        numbers = (count, len(groups[experiment]), len(waiting))
        lines.append((experiment.variant, *map(str, numbers), duration(seconds) if left else ""))
    lines.append(("all", str(networks), str(passes), "", duration(everything)))
    say(f"\n{align_columns(lines)}")
    if experiments[0].probes:
        say("The linear probes come on top of that.")


def _measure(experiment: Experiment, groups: Sequence[Group]) -> dict[Group, float]:
    """Seconds that each group takes: a few of its steps, and what the others would add."""
    seconds, laps = time_training(experiment, _MEASURED)
    short = dataclasses.replace(
        experiment,
        steps=_MEASURED,
        validations=2,
        metrics_every=experiment.metrics_every and _MEASURED // 2,
        warm_up_head=0,
    )
    more_steps = experiment.steps - short.steps
    more_passes = test_passes(experiment) - test_passes(short)
    return {
        group: seconds / len(groups) + more_steps * lap.step + more_passes * lap.test
        for group, lap in zip(groups, laps, strict=True)
    }
