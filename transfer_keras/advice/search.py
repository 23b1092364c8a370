"""Answers, in a given time, what of a donor to freeze and what to fine-tune for one's pictures.

A coarse set of n, frozen and fine-tuned, and training from scratch; then closer where it matters;
then more seeds of what is in question. Everything is one study on disk: run again, it goes on.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

from transfer_keras import results
from transfer_keras.advice import model_card, refinement, transferability
from transfer_keras.advice.budget import Clock, Plan, both, planned
from transfer_keras.config import (
    Experiment,
    Interrupted,
    Treatment,
    UserError,
    duration,
    parse_treatment,
)
from transfer_keras.experiments import data, estimate_like, read_data, run_experiment
from transfer_keras.networks import pretrained
from transfer_keras.results import BASE, Role, Runs, page, read_study, recommendation
from transfer_keras.training import TRAINED

_BASE = parse_treatment("baseB")
_HINTED = 500  # Pictures, of which hints are made.
_REFINED = 0.6  # Until this part of it is gone, places are added; then seeds.
_MOST_SEEDS = 10


def advise(
    experiment: Experiment,
    folder: pathlib.Path,
    *,
    budget: float,
    begun: float,
    chosen: Sequence[str] = (),
    flags: Callable[[Experiment, pathlib.Path], str],
    say: Callable[[str], None] = print,
) -> None:
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

    Raises:
        UserError: see `experiment.run`; or if the time does not suffice for a first set, or the
            folder was begun with other settings.
        Interrupted: after a signal; if the first set was done, once all is said of what is there.
    """
    clock = Clock(budget, begun)
    data = read_data(experiment)
    classes = data.pair.tasks["B"].class_names
    images = len(data.train["B"])
    say(_facts(experiment, data))
    found_hints = _hints(experiment, data, say)
    experiment, plan = planned(experiment, folder, clock, images, chosen, say)
    work = _Work(experiment, plan, folder, clock, flags, say)
    work.first()
    work.closer()
    work.seeds()
    runs = work.runs()
    names = {n: unit.name for n, unit in enumerate(experiment.architecture.units, 1)}
    epochs = experiment.steps * experiment.batch_size / images
    advice = (
        f"{recommendation.words(runs, names, experiment.network)}\n"
        f"All, from scratch too, had {experiment.steps:,} steps ({epochs:.1f} epochs): what learns "
        "slowly may gain from more."
    )
    page.write_report(folder, folder / "report", overlay_paper=False)
    use = _leave(experiment, folder, runs, advice, classes, images)
    if found_hints:
        frozen = {
            role.n: top1
            for role, top1 in recommendation.mean_top1(runs).items()
            if role.family == recommendation.FROZEN
        }
        say(f"\n{transferability.words(found_hints, pictures=min(_HINTED, images), found=frozen)}")
    say(f"\n{recommendation.table(runs, names)}\n\n{advice}")
    for network in read_study(folder).networks:
        if network.row.outcome != TRAINED:
            say(f"Did not learn: {network.row.treatment}, seed {network.seed}.")
    say(f"\nThe network and its card: {folder / model_card.CARD}. Use it:\n\n{use}\n")
    say(f"The curve and all tables: {folder / 'report' / 'report.html'}")
    if work.stopped:
        raise work.stopped
    if work.has_more:
        say("More time adds seeds, which narrows the intervals: run the same command again.")


def _facts(experiment: Experiment, data: data.Data) -> str:
    train, test = data.train["B"], data.test["B"]
    names = data.pair.tasks["B"].class_names
    counts = np.bincount(train.labels, minlength=len(names))
    few, many = counts.min(), counts.max()
    each = f"{few}" if few == many else f"{few} to {many}"
    uneven = ""
    if many >= 2 * few and experiment.class_weights == "none":
        uneven = " They are uneven: --class_weights=balanced lets all classes count the same."
    return (
        f"{len(train):,} pictures of {len(names)} classes to train on ({each} a class), "
        f"{len(test):,} to validate.{uneven}\n{pretrained.batch_norm(experiment)}"
    )


def _hints(
    experiment: Experiment, data: data.Data, say: Callable[[str], None]
) -> list[transferability.Hint]:
    """Said as well; none of too few pictures."""
    batches = data.train["B"].shuffled().evaluation(batch_size=experiment.batch_size)
    seen = -(-_HINTED // experiment.batch_size)
    images, labels = zip(*batches.take(seen).as_numpy_iterator(), strict=True)
    images, labels = np.concatenate(images)[:_HINTED], np.concatenate(labels)[:_HINTED]
    images, labels = images[labels >= 0], labels[labels >= 0]
    if len(labels) < transferability.FEWEST or len(np.unique(labels)) < 2:
        say(f"No hints: they need {transferability.FEWEST} pictures of two classes, or more.")
        return []
    units, _ = pretrained.counted(experiment)
    cuts = [(unit.name, unit.output) for unit in units[:-1]]
    found = transferability.hints(pretrained.network(experiment), cuts, images, labels)
    say(f"\n{transferability.words(found, pictures=len(labels))}\n")
    return found


class _Work:
    """The trainings, each stage one call; all that they know of each other is on disk.

    Attributes:
        stopped: by a signal, once the first set was done.
        has_more: whether more time would bring more.
    """

    stopped: Interrupted | None = None
    has_more = True

    def __init__(self, experiment: Experiment, plan: Plan, folder, clock: Clock, flags, say):
        self._experiment, self._plan, self._folder = experiment, plan, folder
        self._clock, self._flags, self._say = clock, flags, say
        self._beside = 1.0  # What a training takes, against what its groups' rows say.

    def first(self) -> None:
        """The first set of n."""
        if not self._train(self._experiment):
            if self.stopped:
                raise self.stopped
            raise UserError(
                f"--budget={duration(self._clock.budget)}: did not suffice for the first set of "
                "networks. What is done and the last step are kept: run the same command to go on."
            )

    def closer(self) -> None:
        """More places, where it matters, while there is time."""
        begun = list(self._plan.places[1:])
        while places := begun.pop(0) if begun else self._refinement():
            late = self._clock.gone > _REFINED * self._clock.budget
            wanted = both(places, self._experiment)
            if late or self._seconds(wanted, self._workdir) > self._clock.left:
                return
            if places not in self._plan.places:
                noted = (*self._plan.places, places)
                self._plan = dataclasses.replace(self._plan, places=noted)
                self._plan.write(self._folder)
            self._say(f"\nCloser: n = {', '.join(map(str, places))}.")
            every = (*self._experiment.treatments, *wanted)
            self._experiment = dataclasses.replace(self._experiment, treatments=every)
            if not self._train(self._experiment):
                return

    def _refinement(self) -> tuple[int, ...]:
        """Where the donor cannot be cut, there is nothing to try."""
        table = self._experiment.architecture
        top = len(table.units) - 1
        tried = {treatment.n for treatment in self._experiment.treatments}
        tried |= {*range(1, top + 1)} - {*table.possible}
        return tuple(refinement.refine(self.runs(), top, tried))

    def seeds(self) -> None:
        """Again with other seeds: what is not detectably worse than the best, the best first."""
        first = self._experiment.seed
        for seed in range(first + 1, first + _MOST_SEEDS):
            again = dataclasses.replace(self._experiment, seed=seed)
            workdir = self._folder / again.variant_name
            runs = self.runs()
            wanted: list[Treatment] = []
            for role in recommendation.contenders(runs, refinement.leading(runs)):
                more = [*wanted, *([_treatment(role)] if role != BASE else [])]
                if self.stopped or self._seconds([_BASE, *more], workdir) > self._clock.left:
                    break
                wanted = more
            if not wanted:
                return
            self._say(f"\nSeed {seed}: {', '.join(t.name for t in wanted)}.")
            if not self._train(dataclasses.replace(again, treatments=tuple(wanted))):
                return
        self.has_more = False

    def runs(self) -> Runs:
        """All that trained so far.

        Raises:
            UserError: if nothing did.
        """
        found = read_study(self._folder)
        if not found.runs:
            failed = found.networks[0].row
            raise UserError(
                f"--learning_rate={self._experiment.learning_rate}: none of "
                f"{len(found.networks)} networks learned; {failed.treatment}: {failed.outcome}. "
                "Give another rate, more steps, or more time, and another --workdir."
            )
        (runs,) = found.runs.values()
        return runs

    @property
    def _workdir(self) -> pathlib.Path:
        """Of the first seed."""
        return self._folder / self._experiment.variant_name

    def _train(self, experiment: Experiment) -> bool:
        """Whether there was time for all of it, and no signal."""
        workdir = self._folder / experiment.variant_name
        before, begun = set(results.done(workdir)), time.monotonic()
        try:
            run_experiment(
                experiment,
                workdir,
                say=lambda line: None,
                flags=self._flags(experiment, workdir),
                deadline=self._clock.deadline,
            )
        except Interrupted as error:
            if time.monotonic() < self._clock.deadline:
                self.stopped = error
            return False
        keras.utils.clear_session()
        if new := set(results.done(workdir)) - before:
            self._beside = (time.monotonic() - begun) / sum(_seconds_each(workdir, new).values())
        return True

    def _seconds(self, treatments: Sequence[Treatment], workdir: pathlib.Path) -> float:
        """What those will take that are not done, from what others took."""
        done = results.done(workdir)
        left = [treatment for treatment in treatments if treatment.name not in done]
        each = _seconds_each(self._workdir, results.done(self._workdir))
        return self._beside * estimate_like(each, left)


def _seconds_each(workdir: pathlib.Path, names: Iterable[str]) -> dict[str, float]:
    """What the training of each took, as its part of its group."""
    rows = [results.read_row(workdir, name) for name in names]
    return {row.treatment: row.seconds / row.group for row in rows}


def _treatment(role: Role) -> Treatment:
    return parse_treatment(f"A{role.n}B{'+' if role.family == recommendation.TUNED else ''}")


def _leave(
    experiment: Experiment,
    folder: pathlib.Path,
    runs: Runs,
    advice: str,
    classes: Sequence[str],
    training_images: int,
) -> str:
    """The network of the best treatment that did best itself, with its card."""
    role = recommendation.best(runs)
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
