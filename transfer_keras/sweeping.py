"""Runs a study: many experiments, each with a workdir of its own below one folder."""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import keras

from transfer_keras import experiment as program
from transfer_keras import grouping, results, summary, task_data
from transfer_keras.monitors.stopwatch import Stopwatch
from transfer_keras.plan import Group, with_bases
from transfer_keras.settings import Experiment

_MEASURED = 12  # Steps of a measurement.
_COLUMNS = ("experiment", "networks", "passes", "to train", "time")


def run(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: Callable[[Experiment, pathlib.Path], str],
    say: Callable[[str], None] = print,
) -> None:
    """Trains what is not on disk yet, one experiment after the other.

    Args:
        experiments: of one study.
        folder: of the study; each has a workdir there.
        flags: an experiment and its workdir -> what repeats it alone.
        say: called with a line for the user now and then.

    Raises:
        UserError: see `experiment.run`.
    """
    for experiment in experiments:  # What cannot be is told before anything is trained.
        task_data.open_tasks(experiment)
    begun, trained = time.monotonic(), 0
    for number, experiment in enumerate(experiments, 1):
        left = sum(_waiting(one, folder) for one in experiments)
        here = _waiting(experiment, folder)
        words = f"\nExperiment {number} of {len(experiments)}: {experiment.variant}."
        if trained and here:
            pace = (time.monotonic() - begun) / trained
            words += f" {left} networks are left, about {_duration(pace * left)}."
        say(words)
        workdir = folder / experiment.variant_name
        program.run(experiment, workdir, say=say, flags=flags(experiment, workdir))
        trained += here
        keras.utils.clear_session()


def _waiting(experiment: Experiment, folder: pathlib.Path) -> int:
    done = folder / experiment.variant_name
    return sum(not results.is_done(done, t.name) for t in with_bases(experiment.treatments))


def plan(experiments: Sequence[Experiment], folder: pathlib.Path) -> str:
    """What a study takes, with an estimate of time from a short training of each kind of group.

    Args:
        experiments: of one study.
        folder: of the study, where some of it may be done already.

    Raises:
        UserError: see `experiment.run`.
    """
    groups = {e: grouping.groups(e, task_data.open_tasks(e).tasks) for e in experiments}
    costs: dict[tuple, Mapping[Group, float]] = {}
    lines, everything = [_COLUMNS], 0.0
    for experiment in experiments:
        waiting = [
            group
            for group in groups[experiment]
            if not all(results.is_done(folder / experiment.variant_name, n) for n in group.names)
        ]
        kind = experiment.treatments
        if waiting and kind not in costs:
            costs[kind] = _measure(experiment, groups[experiment])
        seconds = sum(costs[kind][group] for group in waiting)
        everything += seconds
        networks = sum(len(group.names) for group in groups[experiment])
        lines.append(
            (
                experiment.variant,
                str(networks),
                str(len(groups[experiment])),
                str(_waiting(experiment, folder)),
                _duration(seconds) if waiting else "",
            )
        )
    of_one = {tuple(groups[e]): e for e in experiments}
    details = "\n\n".join(
        summary.plan(e, task_data.open_tasks(e).tasks, folder / e.variant_name)
        for e in of_one.values()
    )
    return (
        f"{details}\n\n{summary.aligned(lines)}\n"
        f"{len(experiments)} experiments, {sum(int(line[1]) for line in lines[1:])} networks in "
        f"{sum(int(line[2]) for line in lines[1:])} passes over the data of "
        f"{experiments[0].steps:,} steps each. To train what is not on disk takes about "
        f"{_duration(everything)} here, by {_MEASURED} measured steps of each kind of group."
    )


def _measure(experiment: Experiment, groups: Sequence[Group]) -> dict[Group, float]:
    """Seconds that each group takes: a few of its steps, in a folder that is removed, and what
    the others would add."""
    short = dataclasses.replace(
        experiment,
        steps=_MEASURED,
        validations=2,
        metrics_every=experiment.metrics_every and _MEASURED // 2,
        probes=False,
    )
    watch, begun = Stopwatch(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "measured"
        program.run(short, workdir, say=lambda _: None, monitors=[watch])
    once = (time.monotonic() - begun) / len(groups)
    keras.utils.clear_session()
    return {
        group: once
        + (experiment.steps - short.steps) * lap.step
        + (_passes(experiment) - _passes(short)) * lap.test
        for group, lap in zip(groups, watch.laps, strict=True)
    }


def _passes(experiment: Experiment) -> int:
    """Over the test images, after the first step: tests and looks share them."""
    at = set(range(0, experiment.steps, experiment.validate_every))
    if experiment.metrics_every:
        at |= set(range(0, experiment.steps, experiment.metrics_every))
    return len(at - {0} | {experiment.steps})


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)
