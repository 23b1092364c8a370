"""Answers, in a given time, what of a donor to freeze and what to fine-tune for one's pictures.

A coarse set of n, frozen and fine-tuned, and training from scratch; then closer where it matters;
then more seeds of what is in question. Everything is one study on disk: run again, it goes on.
"""

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from transfer_keras import (
    choosing,
    hints,
    model_card,
    own_donor,
    pace,
    reporting,
    results,
    study,
    task_data,
)
from transfer_keras import experiment as program
from transfer_keras.analysis import BASE, Role, Runs
from transfer_keras.errors import UserError
from transfer_keras.monitors.monitor import Monitor
from transfer_keras.pace import duration
from transfer_keras.settings import Experiment
from transfer_keras.training.scores import TRAINED
from transfer_keras.treatments import Treatment, parse

_BASE = parse("baseB")
_HINTED = 500  # Pictures, of which hints are made.
_COARSE = 0.3  # Part of the time for the first set of n.
_REFINED = 0.6  # Until this part of it is gone, places are added; then seeds.
_CLOSING = 0.04  # Part of it for the report and the network.
_LATE = 1.15  # At this part of it, a training that is not done is left.
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 60
_MOST_SEEDS = 10
_WARM_UP = 0.1  # Part of the steps, where nothing else is said.


class OutOfTime(Exception):
    """A training that would end too late is left; its checkpoints stay."""


class _Clock(Monitor):
    """The time that is given; as a monitor, it ends trainings that are too late."""

    def __init__(self, budget: float, begun: float):
        self.budget, self._begun = budget, begun

    @property
    def gone(self) -> float:
        return time.monotonic() - self._begun

    @property
    def left(self) -> float:
        return (1 - _CLOSING) * self.budget - self.gone

    def training(self, step, scores):
        if self.gone > _LATE * self.budget:
            raise OutOfTime


def advise(
    experiment: Experiment,
    folder: pathlib.Path,
    *,
    budget: float,
    begun: float,
    chosen: Sequence[str] = (),
    flags: Callable[[Experiment, pathlib.Path], str],
    say: Callable[[str], None] = print,
) -> str:
    """Trains, compares, recommends, and leaves the best network in the folder.

    Args:
        experiment: with a donor that was resolved, whatever its treatments are; its seed is the
            first.
        folder: of the study.
        budget: seconds from `begun` on.
        begun: a moment of `time.monotonic()`.
        chosen: names of settings that are not to be chosen here: "steps", "warm_up_head".
        flags: see `sweeping.run`.
        say: called with lines and tables for the user.

    Returns:
        The lines of Python that load and use the network.

    Raises:
        UserError: see `experiment.run`; or if the time does not suffice for a first set.
    """
    clock = _Clock(budget, begun)
    data = task_data.read(experiment)
    classes = data.pair.tasks["B"].class_names
    say(_facts(experiment, data))
    found_hints = _hints(experiment, data)
    hinted = min(_HINTED, len(data.train["B"]))
    say(f"\n{hints.words(found_hints, pictures=hinted)}\n")
    experiment = _planned(experiment, folder, clock, len(data.train["B"]), chosen, say)
    work = _Work(experiment, folder, clock, flags, say)
    work.first()
    work.closer()
    work.seeds()
    runs = work.runs()
    names = {n: unit.name for n, unit in enumerate(experiment.architecture.units, 1)}
    advice = choosing.words(runs, names, experiment.network)
    reporting.report(folder, folder / "report", overlay_paper=False)
    use = _leave(experiment, folder, runs, advice, classes, len(data.train["B"]))
    frozen = {
        role.n: top1
        for role, top1 in choosing.mean_top1(runs).items()
        if role.family == choosing.FROZEN
    }
    say(f"\n{hints.words(found_hints, pictures=hinted, found=frozen)}")
    say(f"\n{choosing.table(runs, names)}\n\n{advice}")
    for network in study.read(folder).networks:
        if network.row.outcome != TRAINED:
            say(f"Did not learn: {network.row.treatment}, seed {network.seed}.")
    return use


def _facts(experiment: Experiment, data: task_data.Data) -> str:
    train, test = data.train["B"], data.test["B"]
    names = data.pair.tasks["B"].class_names
    counts = np.bincount(train.labels, minlength=len(names))
    few, many = counts.min(), counts.max()
    uneven = ""
    if many >= 2 * few and experiment.class_weights == "none":
        uneven = " They are uneven: --class_weights=balanced lets all classes count the same."
    return (
        f"{len(train):,} pictures of {len(names)} classes to train on ({few} to {many} a class), "
        f"{len(test):,} to validate.{uneven}\n{own_donor.batch_norm(experiment)}"
    )


def _hints(experiment: Experiment, data: task_data.Data) -> list[hints.Hint]:
    batches = data.train["B"].shuffled().evaluation(batch_size=experiment.batch_size)
    seen = -(-_HINTED // experiment.batch_size)
    images, labels = zip(*batches.take(seen).as_numpy_iterator(), strict=True)
    units, _ = own_donor.counted(experiment)
    return hints.hints(
        own_donor.network(experiment),
        [(unit.name, unit.output) for unit in units[:-1]],
        np.concatenate(images)[:_HINTED],
        np.concatenate(labels)[:_HINTED],
    )


def _planned(
    experiment: Experiment,
    folder: pathlib.Path,
    clock: _Clock,
    images: int,
    chosen: Sequence[str],
    say: Callable[[str], None],
) -> Experiment:
    """With the first set of n, and as many steps as the time allows for it; those of an earlier run
    where there was one."""
    top = len(experiment.architecture.units) - 1
    there = folder / experiment.variant_name
    if (there / results.EXPERIMENT).exists():
        settings = results.read_experiment(there)["settings"]
        names = {*results.done(there), *itertools.chain(*results.groups_begun(there))}
        places = sorted({parse(name).n for name in names} - {0}) or choosing.coarse(top)
        same = {k: settings[k] for k in ("steps", "warm_up_head") if k not in chosen}
        return dataclasses.replace(experiment, treatments=_both(places), **same)
    say("Measuring how fast this machine is …")
    paces = pace.of_base(experiment)
    epoch = max(1, images // experiment.batch_size)
    for count in (4, 3, 2):
        places = choosing.coarse(top, count)
        wanted = dataclasses.replace(experiment, treatments=_both(places))
        steps = experiment.steps
        if "steps" in chosen:
            break
        steps = paces.steps_within(wanted, _COARSE * clock.left)
        if steps >= _FEWEST_EPOCHS * epoch:
            break
    if "steps" not in chosen:
        if steps < _FEWEST_EPOCHS * epoch:
            steps = paces.steps_within(wanted, 0.9 * clock.left)
        steps = min(steps, _MOST_EPOCHS * epoch)
        if steps < epoch:
            needed = clock.gone + paces.seconds(dataclasses.replace(wanted, steps=epoch))
            raise UserError(
                f"--budget={duration(clock.budget)}: one epoch of {len(wanted.wanted)} networks, "
                f"the least that can be compared, takes about {duration(needed)} here. Give more "
                "time, fewer pixels (--image_size), or a smaller donor."
            )
    warm_up = experiment.warm_up_head if "warm_up_head" in chosen else round(_WARM_UP * steps)
    say(
        f"n = {', '.join(map(str, places))}, frozen and fine-tuned, and from scratch: "
        f"{len(wanted.wanted)} networks of {steps:,} steps ({steps / epoch:.1f} epochs) in about "
        f"{duration(paces.seconds(dataclasses.replace(wanted, steps=steps)))}; then closer, then "
        "more seeds."
    )
    return dataclasses.replace(wanted, steps=steps, warm_up_head=warm_up)


def _both(places: Sequence[int]) -> tuple[Treatment, ...]:
    """Frozen and fine-tuned at each n."""
    return tuple(parse(f"A{n}B{plus}") for n, plus in itertools.product(places, ("", "+")))


class _Work:
    """The trainings, each stage one call; all that they know of each other is on disk."""

    def __init__(self, experiment: Experiment, folder: pathlib.Path, clock: _Clock, flags, say):
        self._experiment, self._folder, self._clock = experiment, folder, clock
        self._flags, self._say = flags, say

    def first(self) -> None:
        """The first set of n."""
        if not self._train(self._experiment):
            raise UserError(
                f"--budget={duration(self._clock.budget)}: did not suffice for the first set of "
                "networks. What is done and the last checkpoint are kept: run the same command to "
                "go on."
            )

    def closer(self) -> None:
        """More places, where it matters, while there is time."""
        top = len(self._experiment.architecture.units) - 1
        while places := choosing.refine(self.runs(), top, self._tried):
            wanted = dataclasses.replace(
                self._experiment, treatments=(*self._experiment.treatments, *_both(places))
            )
            late = self._clock.gone > _REFINED * self._clock.budget
            if late or self._seconds(_both(places)) > self._clock.left:
                return
            self._say(f"\nCloser: n = {', '.join(map(str, places))}.")
            self._experiment = wanted
            if not self._train(wanted):
                return

    def seeds(self) -> None:
        """Again with other seeds: what is not detectably worse than the best, the best first."""
        first = self._experiment.seed
        for seed in range(first + 1, first + _MOST_SEEDS):
            runs = self.runs()
            ranked = choosing.contenders(runs, choosing.best(runs))
            wanted: list[Treatment] = []
            for role in ranked:
                more = [*wanted, *([_treatment(role)] if role != BASE else [])]
                if self._seconds([_BASE, *more]) > self._clock.left:
                    break
                wanted = more
            if not wanted:
                return
            self._say(f"\nSeed {seed}: {', '.join(t.name for t in wanted)}.")
            again = dataclasses.replace(self._experiment, seed=seed, treatments=tuple(wanted))
            if not self._train(again):
                return

    @property
    def _tried(self) -> set[int]:
        return {treatment.n for treatment in self._experiment.treatments}

    def runs(self) -> Runs:
        """All that trained so far.

        Raises:
            UserError: if nothing did.
        """
        found = study.read(self._folder)
        if not found.runs:
            failed = found.networks[0].row
            raise UserError(
                f"--learning_rate={self._experiment.learning_rate}: none of "
                f"{len(found.networks)} networks learned; {failed.treatment}: {failed.outcome}. "
                "Give another rate, more steps, or more time, and another --workdir."
            )
        return next(iter(found.runs.values()))

    def _train(self, experiment: Experiment) -> bool:
        """Whether there was time for all of it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        workdir = self._folder / experiment.variant_name
        try:
            program.run(
                experiment,
                workdir,
                say=lambda line: None,
                flags=self._flags(experiment, workdir),
                monitors=[self._clock],
            )
        except OutOfTime:
            return False
        keras.utils.clear_session()
        return True

    def _seconds(self, treatments: Sequence[Treatment]) -> float:
        """What they will take, from what the first ones took."""
        workdir = self._folder / self._experiment.variant_name
        rows = [results.read_row(workdir, name) for name in results.done(workdir)]
        each = {row.treatment: row.seconds / row.group for row in rows}
        return pace.like(each, treatments)


def _treatment(role: Role) -> Treatment:
    return parse(f"A{role.n}B{'+' if role.family == choosing.TUNED else ''}")


def _leave(
    experiment: Experiment,
    folder: pathlib.Path,
    runs: Runs,
    advice: str,
    classes: Sequence[str],
    training_images: int,
) -> str:
    """The network of the best treatment that did best itself, with its card."""
    role = choosing.best(runs)
    treatment = _BASE if role == BASE else _treatment(role)
    (seeds,) = runs.values()
    top1 = {seed: run[role].top1 for seed, run in seeds.items() if role in run}
    seed = max(top1, key=top1.get)
    of_seed = dataclasses.replace(experiment, seed=seed)
    return model_card.write(
        folder,
        folder / of_seed.variant_name,
        treatment.name,
        of_seed,
        classes=classes,
        training_images=training_images,
        advice=advice,
        compared=sum(map(len, seeds.values())),
        others=list(top1.values()),
    )
