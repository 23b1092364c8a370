"""Answers, in a given time, what of a donor to freeze and what to fine-tune for one's pictures.

A first set of n, frozen and fine-tuned, and training from scratch; then more n where it matters;
then more seeds of what is in question. Everything is one study on disk: run again, it goes on.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

from transfer_keras.advice import model_card, refinement, transferability
from transfer_keras.advice.budget import Budget, SearchPlan, frozen_and_fine_tuned, make_plan
from transfer_keras.config import (
    Experiment,
    Interrupted,
    Treatment,
    UserError,
    choices,
    duration,
    parse_treatment,
)
from transfer_keras.experiments import (
    FlagsOf,
    TaskData,
    donor_notes,
    estimate_by_similar,
    read_data,
    run_experiment,
    workdir_in,
)
from transfer_keras.networks import pretrained
from transfer_keras.results import (
    BASE,
    FROZEN_TRANSFER,
    TUNED_TRANSFER,
    Role,
    Runs,
    Workdir,
    best_role,
    contenders,
    mean_top1,
    page,
    read_study,
    recommend_for_donor,
    table_for_donor,
)

_BASE = parse_treatment("baseB")
_ESTIMATED_ON = 500  # Pictures, on which transferability is estimated.
_REFINED = 0.6  # Until this part of the time has elapsed, cut points are added; then seeds.


def advise(
    experiment: Experiment,
    folder: pathlib.Path,
    budget: Budget,
    *,
    fixed: Sequence[str] = (),
    flags: FlagsOf,
    log: Callable[[str], None] = print,
) -> None:
    """Trains, compares, recommends, and leaves the best network in the folder.

    Args:
        experiment: with a donor, whatever its treatments are; its seed is the first.
        folder: of the study.
        budget: the time that is given.
        fixed: names of settings that are not to be chosen here: "steps", "warm_up_head".
        flags: see `run_sweep`.
        log: called with lines and tables for the user.

    Raises:
        UserError: see `run_experiment`; or if the time does not suffice for a first set, or the
            folder was begun with other settings.
        Interrupted: after a signal; if the first set was done, once all is said of what is there.
    """
    # What can be known before any training: the pictures, which are read here once for all
    # trainings, and what the donor's features of some of them say.
    # Then the plan, which a folder keeps.
    data = read_data(experiment)
    log(_describe(experiment, data))
    scores = _estimate_transferability(experiment, data, log)
    experiment, plan = make_plan(experiment, folder, budget, data, fixed=fixed, log=log)

    # The trainings, each stage as long as there is time.
    search = _Search(experiment, plan, folder, budget, data, flags, log)
    search.train_first_set()
    search.refine()
    search.add_seeds()

    # What came out: the report, the network with its card, the table and the advice.
    runs = search.runs()
    unit_names = {n: unit.name for n, unit in enumerate(experiment.architecture.units, 1)}
    advice = _advice(experiment, runs, unit_names, len(data.train["B"]))
    page.write_report(folder, folder / "report", overlay_paper=False)
    use = _write_best_network(experiment, folder, runs, advice, data)
    if scores:
        frozen = {r.n: x for r, x in mean_top1(runs).items() if r.family == FROZEN_TRANSFER}
        pictures = min(_ESTIMATED_ON, len(data.train["B"]))
        log(f"\n{transferability.describe(scores, pictures=pictures, reached=frozen)}")
    log(f"\n{table_for_donor(runs, unit_names)}\n\n{advice}")
    for network in read_study(folder).networks:
        if network.row.outcome != choices.TRAINED:
            log(f"Did not learn: {network.row.treatment}, seed {network.seed}.")
    log(f"\nThe network and its card: {folder / model_card.CARD}. Use it:\n\n{use}\n")
    log(f"The curve and all tables: {folder / 'report' / 'report.html'}")
    if search.stopped:
        raise search.stopped
    if search.has_more:
        log("More time adds seeds, which narrows the intervals: run the same command again.")


def _advice(experiment: Experiment, runs: Runs, unit_names: dict[int, str], images: int) -> str:
    """Writes the recommendation, and how long the networks were trained."""
    training = experiment.training
    epochs = training.steps * training.batch_size / images
    return (
        f"{recommend_for_donor(runs, unit_names, training.network)}\n"
        f"All, from scratch too, had {training.steps:,} steps ({epochs:.1f} epochs): what learns "
        "slowly may gain from more."
    )


def _describe(experiment: Experiment, data: TaskData) -> str:
    """Writes what there is to train on, and what becomes of the donor."""
    train, test = data.train["B"], data.test["B"]
    names = data.pair.tasks["B"].class_names
    counts = np.bincount(train.labels, minlength=len(names))
    few, many = counts.min(), counts.max()
    each = f"{few}" if few == many else f"{few} to {many}"
    uneven = ""
    if many >= 2 * few and experiment.training.class_weights == choices.UNWEIGHTED:
        uneven = " They are uneven: --class_weights=balanced lets all classes count the same."
    facts = (
        f"{len(train):,} pictures of {len(names)} classes to train on ({each} a class), "
        f"{len(test):,} to validate.{uneven}"
    )
    return "\n".join([facts, *donor_notes(experiment)])


def _estimate_transferability(
    experiment: Experiment, data: TaskData, log: Callable[[str], None]
) -> list[transferability.Score]:
    """Estimates how well each unit transfers, and logs it; gives nothing of too few pictures."""
    batch = experiment.training.batch_size
    batches = data.train["B"].shuffled().evaluation(batch_size=batch)
    taken = batches.take(-(-_ESTIMATED_ON // batch)).as_numpy_iterator()
    images, labels = map(np.concatenate, zip(*taken, strict=True))
    images, labels = images[:_ESTIMATED_ON], labels[:_ESTIMATED_ON]
    images, labels = images[labels >= 0], labels[labels >= 0]
    if len(labels) < transferability.FEWEST or len(np.unique(labels)) < 2:
        log(
            f"No transferability estimates: they need {transferability.FEWEST} pictures of two "
            "classes, or more."
        )
        return []
    opened = experiment.donor, experiment.training.image_size
    units = pretrained.count_units(*opened).units
    cuts = [(unit.name, unit.output) for unit in units[:-1]]
    model = pretrained.open_pretrained(*opened).model
    scores = transferability.estimate_transferability(model, cuts, images, labels)
    log(f"\n{transferability.describe(scores, pictures=len(labels))}\n")
    return scores


class _Search:
    """The trainings, each stage one call; all that they know of each other is on disk.

    Attributes:
        stopped: by a signal, once the first set was done.
        has_more: whether more time would bring more.
    """

    stopped: Interrupted | None = None
    has_more = True

    def __init__(
        self,
        experiment: Experiment,
        plan: SearchPlan,
        folder: pathlib.Path,
        budget: Budget,
        data: TaskData,
        flags: FlagsOf,
        log: Callable[[str], None],
    ):
        self._experiment, self._plan, self._folder = experiment, plan, folder
        self._budget, self._data, self._flags, self._log = budget, data, flags, log
        self._overhead_factor = 1.0  # What a training takes, against what its groups' rows say.

    def train_first_set(self) -> None:
        """Trains the first set of n.

        Raises:
            UserError: if there was no time for all of it.
            Interrupted: after a signal.
        """
        if not self._train(self._experiment):
            if self.stopped:
                raise self.stopped
            raise UserError(
                f"--budget={duration(self._budget.seconds)}: did not suffice for the first set of "
                "networks. What is done and the last step are kept: run the same command to go on."
            )

    def refine(self) -> None:
        """Adds cut points where it matters, while there is time."""
        planned = list(self._plan.places[1:])
        while cut_points := planned.pop(0) if planned else self._next_cut_points():
            is_late = self._budget.elapsed > _REFINED * self._budget.seconds
            added = frozen_and_fine_tuned(cut_points, self._experiment)
            if is_late or self._seconds(added, self._first_workdir) > self._budget.remaining:
                return
            if cut_points not in self._plan.places:
                noted = (*self._plan.places, cut_points)
                self._plan = dataclasses.replace(self._plan, places=noted)
                self._plan.write(self._folder)
            self._log(f"\nRefining: n = {', '.join(map(str, cut_points))}.")
            treatments = (*self._experiment.treatments, *added)
            self._experiment = self._experiment.replace(treatments=treatments)
            if not self._train(self._experiment):
                return

    def _next_cut_points(self) -> tuple[int, ...]:
        """Finds cut points to add; where the donor cannot be cut, there is nothing to try."""
        architecture = self._experiment.architecture
        top = len(architecture.units) - 1
        tried = {treatment.n for treatment in self._experiment.treatments}
        tried |= {*range(1, top + 1)} - {*architecture.cut_points}
        return tuple(refinement.refine(self.runs(), top, tried))

    def add_seeds(self) -> None:
        """Repeats with other seeds what is not detectably worse than the best, the best first."""
        first = self._experiment.training.seed
        for seed in range(first + 1, first + self._budget.seeds):
            again = self._experiment.replace(seed=seed)
            workdir = workdir_in(self._folder, again)
            runs = self.runs()
            treatments: list[Treatment] = []
            for role in contenders(runs, refinement.leading_role(runs)):
                more = [*treatments, *([_treatment(role)] if role != BASE else [])]
                seconds = self._seconds([_BASE, *more], workdir)
                if self.stopped or seconds > self._budget.remaining:
                    break
                treatments = more
            if not treatments:
                return
            self._log(f"\nSeed {seed}: {', '.join(t.name for t in treatments)}.")
            if not self._train(again.replace(treatments=tuple(treatments))):
                return
        self.has_more = False

    def runs(self) -> Runs:
        """Reads all that trained so far.

        Raises:
            UserError: if nothing did.
        """
        study = read_study(self._folder)
        if not study.runs:
            failed = study.networks[0].row
            raise UserError(
                f"--learning_rate={self._experiment.training.learning_rate}: none of "
                f"{len(study.networks)} networks learned; {failed.treatment}: {failed.outcome}. "
                "Give another rate, more steps, or more time, and another --workdir."
            )
        (runs,) = study.runs.values()
        return runs

    @property
    def _first_workdir(self) -> Workdir:
        """Gives the workdir of the first seed."""
        return workdir_in(self._folder, self._experiment)

    def _train(self, experiment: Experiment) -> bool:
        """Trains an experiment; tells whether there was time for all of it, and no signal."""
        workdir = workdir_in(self._folder, experiment)
        done_before, begun = set(workdir.done), time.monotonic()
        try:
            run_experiment(
                experiment,
                workdir,
                data=self._data,
                flags=self._flags(experiment, workdir.path),
                log=lambda line: None,
                deadline=self._budget.deadline,
            )
        except Interrupted as error:
            if time.monotonic() < self._budget.deadline:
                self.stopped = error
            return False
        keras.utils.clear_session()
        if new := set(workdir.done) - done_before:
            elapsed = time.monotonic() - begun
            self._overhead_factor = elapsed / sum(_seconds_each(workdir, new).values())
        return True

    def _seconds(self, treatments: Sequence[Treatment], workdir: Workdir) -> float:
        """Estimates what the missing treatments will take, from what others took."""
        seconds = _seconds_each(self._first_workdir, self._first_workdir.done)
        return self._overhead_factor * estimate_by_similar(seconds, workdir.missing(treatments))


def _seconds_each(workdir: Workdir, names: Iterable[str]) -> dict[str, float]:
    """Reads what the training of each network took, as its part of its group."""
    rows = map(workdir.row, names)
    return {row.treatment: row.seconds / row.group for row in rows}


def _treatment(role: Role) -> Treatment:
    return parse_treatment(f"A{role.n}B{'+' if role.family == TUNED_TRANSFER else ''}")


def _write_best_network(
    experiment: Experiment, folder: pathlib.Path, runs: Runs, advice: str, data: TaskData
) -> str:
    """Writes the network of the best treatment that did best itself, with its card.

    Returns:
        The lines of Python that use it.
    """
    role = best_role(runs)
    treatment = _BASE if role == BASE else _treatment(role)
    top1 = {seed: run.top1 for _, seed, each, run in runs.networks() if each == role}
    of_seed = experiment.replace(seed=max(top1, key=top1.get))
    chosen = model_card.ChosenNetwork(
        treatment=treatment.name,
        experiment=of_seed,
        workdir=workdir_in(folder, of_seed),
        classes=data.pair.tasks["B"].class_names,
        training_images=len(data.train["B"]),
    )
    selection = model_card.Selection(advice, len(runs.networks()), list(top1.values()))
    return model_card.write_card(folder, chosen, selection)
