"""Answers, in a given time, what of a donor to freeze and what to fine-tune for one's pictures.

First what costs nothing: linear classifiers on the donor's features. Then frozen depths, what is
fine-tuned, and training from scratch where there is time for it; then more n where it matters; then
more seeds of what is in question. Everything is one study on disk: run again, it goes on.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

import keras

from transfer_keras.advice import refinement
from transfer_keras.advice.accuracy import find_held_out
from transfer_keras.advice.budget import Budget, SearchPlan, check_folder, make_plan
from transfer_keras.advice.conclusion import conclude
from transfer_keras.advice.cost import TrainingCost
from transfer_keras.advice.first_answer import (
    best_linear,
    check_pictures,
    estimate,
    measure_of,
)
from transfer_keras.advice.folds import (
    FoldData,
    fold_experiments,
    fold_workdirs,
    join_predictions,
)
from transfer_keras.advice.preparation import Prepared, read_pictures
from transfer_keras.advice.rates import find_rates
from transfer_keras.advice.stages import (
    SCRATCH,
    as_described,
    describe_stage,
    treatment_of,
    treatments_at,
)
from transfer_keras.config import (
    Experiment,
    Interrupted,
    Treatment,
    UserError,
    duration,
    parse_treatment,
)
from transfer_keras.experiments import (
    FlagsOf,
    TaskData,
    facts_of_data,
    run_experiment,
    workdir_in,
)
from transfer_keras.results import (
    BASE,
    MARGIN,
    Runs,
    as_begun,
    contenders,
    mean_top1,
    measure_accuracy,
    read_study,
)

_VIEWS = 4  # Of each picture, with augmentation, where nothing is said: then they repeat.
_UNEVEN = 2  # So many times the pictures of the smallest class are in the largest.
_REFINED = 0.6  # Until this part of the time has elapsed, cut points are added; then seeds.


def advise(
    experiment: Experiment,
    folder: pathlib.Path,
    budget: Budget,
    *,
    fixed: Sequence[str] = (),
    prepared: Prepared | None = None,
    notes: Sequence[str] = (),
    margin: float = MARGIN,
    flags: FlagsOf,
    log: Callable[[str], None] = print,
) -> None:
    """Trains, compares, recommends, and leaves the best network in the folder.

    Args:
        experiment: with a donor, whatever its treatments are; its seed is the first.
        folder: of the study.
        budget: the time that is given.
        fixed: see `make_plan`.
        prepared: what is known of the donor and the pictures already; None: nothing is.
        notes: lines for the report, of what was done before.
        margin: the loss that counts as none, in fractions of the test images.
        flags: see `run_sweep`.
        log: called with lines and tables for the user.

    Raises:
        UserError: see `run_experiment`; or if the time does not suffice for any network, or the
            folder was begun with other settings.
        Interrupted: after a signal; if any network was done, once all is said of what is there.
    """
    earlier = check_folder(folder)
    if not earlier and budget.seconds <= budget.closing:
        raise UserError(
            f"--budget={duration(budget.seconds)}: expected more than {duration(budget.closing)}, "
            "which the report and the network take. Give a minute or more."
        )
    (experiment,) = as_begun([experiment], folder)

    # What can be known before any training: the pictures, and what the donor's features of some
    # of them say.
    # Then the plan, which a folder keeps.
    if prepared:
        experiment, data = prepared.experiment, prepared.data
    else:
        experiment, data = read_pictures(experiment, earlier, fixed=fixed, log=log)
    _check_data(experiment, folder, data)
    odd = [*notes, *check_pictures(experiment, budget, log)]
    held_out = find_held_out(experiment, data, log)
    if prepared:
        scores, cost = prepared.scores, prepared.cost
    else:
        scores, cost = estimate(experiment, data, budget, log)
    rates, lines = {}, ()
    if not earlier:
        rates, lines, _ = find_rates(experiment, data, budget, cost, fixed=fixed, log=log)
    experiment, plan = make_plan(
        experiment, folder, budget, cost, fixed=fixed, rates=rates, rate_lines=lines,
        linear=best.n if (best := best_linear(scores, experiment)) else None, log=log,
    )  # fmt: skip

    # The trainings, each stage as long as there is time.
    search = _Search(experiment, plan, folder, budget, cost, FoldData(data), flags, log)
    search.train_planned()
    search.refine(_REFINED)
    search.add_seeds()
    search.refine(1.0)

    # What came out: the report, the network with its card, the table and the advice.
    conclude(
        search.experiment,
        folder,
        data,
        search.runs(),
        cost,
        scores,
        held_out,
        [*plan.rate_lines, *odd],
        margin=margin,
        log=log,
    )
    if search.stopped:
        raise search.stopped
    if search.has_more:
        log("More time adds n and seeds, which narrows the intervals: run the same command again.")


def _check_data(experiment: Experiment, folder: pathlib.Path, data: TaskData) -> None:
    """Checks that what was trained in the folder had the same pictures, before these are used."""
    workdir = workdir_in(folder, fold_experiments(experiment)[0])
    if workdir.has_facts:
        workdir.check_data(facts_of_data(data, workdir))


class _Search:
    """The trainings, each stage one call; all that they know of each other is on disk.

    Attributes:
        experiment: of the first seed, with all that it trained so far.
        stopped: by a signal.
    """

    stopped: Interrupted | None = None
    _has_all_seeds = False

    def __init__(
        self,
        experiment: Experiment,
        plan: SearchPlan,
        folder: pathlib.Path,
        budget: Budget,
        cost: TrainingCost,
        data: FoldData,
        flags: FlagsOf,
        log: Callable[[str], None],
    ):
        self.experiment, self._plan, self._folder = experiment, plan, folder
        self._budget, self._cost, self._data = budget, cost, data
        self._flags, self._log = flags, log
        self._is_over = False

    def train_planned(self) -> None:
        """Trains the planned stages that there is time for, and in any case the first.

        Raises:
            UserError: if there was no time for the first.
            Interrupted: after a signal in the first.
        """
        first, *others = self._plan.treatments
        if not self._train(self.experiment):
            raise self.stopped or UserError(
                f"--budget={duration(self._budget.seconds)}: did not suffice for the first set of "
                "networks. What is done and the last step are kept: run the same command to go on."
            )
        self._tell(first)
        for stage in others:
            self._train_stage(stage)

    def refine(self, part: float) -> None:
        """Adds cut points where it matters, until so much of the time has elapsed."""
        while self._budget.elapsed <= part * self._budget.seconds:
            cut_points = self._next_cut_points()
            both = treatments_at(cut_points, ["", "+"], self.experiment)
            frozen = [treatment for treatment in both if treatment.frozen_units]
            fitting = next((stage for stage in (both, frozen) if stage and self._fits(stage)), None)
            if self._is_over or fitting is None:
                return
            stages = (*self._plan.stages, tuple(treatment.name for treatment in fitting))
            self._plan = dataclasses.replace(self._plan, stages=stages)
            self._plan.write(self._folder)
            self._log(f"Refining: {describe_stage(fitting)}.")
            self._train_stage(fitting)

    def _next_cut_points(self) -> list[int]:
        """Finds cut points to add; where the donor cannot be cut, there is nothing to try."""
        architecture = self.experiment.architecture
        top = len(architecture.units) - 1
        tried = {treatment.n for treatment in self.experiment.treatments if not treatment.linear}
        tried |= {*range(1, top + 1)} - {*architecture.cut_points}
        return refinement.refine(self.runs(), top, tried)

    def add_seeds(self) -> None:
        """Repeats with other seeds what may well be better than the best, the best first."""
        first = self.experiment.training.seed
        for seed in range(first + 1, first + self._budget.seeds):
            runs = self.runs()
            again = self.experiment.replace(seed=seed)
            roles = contenders(runs, refinement.leading_role(runs))
            in_question = [treatment_of(role) for role in roles if role != BASE]
            in_question = [t for t in in_question if not self.experiment.fits_head(t)]
            if not in_question:  # What is left is the same with any seed.
                break
            treatments = [SCRATCH] if BASE in mean_top1(runs) else []
            none = len(treatments)
            for treatment in in_question:
                if self._is_over or not self._fits([*treatments, treatment], again):
                    break
                treatments.append(treatment)
            if len(treatments) == none:
                return
            self._log(f"Seed {seed}: {describe_stage(treatments)}.")
            if not self._train(again.replace(treatments=tuple(treatments))):
                return
        self._has_all_seeds = True

    @property
    def has_more(self) -> bool:
        """Tells whether more time would bring more."""
        return not self._has_all_seeds or bool(self._next_cut_points())

    def runs(self) -> Runs:
        """Reads all that trained so far.

        Raises:
            UserError: if nothing did.
        """
        study = read_study(self._folder, measure=measure_of(self.experiment))
        if not study.runs:
            failed = study.networks[0].row
            raise UserError(
                f"--learning_rate={self.experiment.training.learning_rate}: none of "
                f"{len(study.networks)} networks learned; {failed.treatment}: {failed.outcome}. "
                "Give another rate, more steps, or more time, and another --workdir."
            )
        (runs,) = study.runs.values()
        return runs

    def _train_stage(self, stage: Sequence[Treatment]) -> None:
        """Trains more treatments of the first seed, if there is time for them."""
        if self._is_over:
            return
        if not self._fits(stage):
            self._log(f"No time for: {describe_stage(stage)}.")
            return
        every = tuple(dict.fromkeys((*self.experiment.treatments, *stage)))
        self.experiment = self.experiment.replace(treatments=every)
        if self._train(self.experiment):
            self._tell(stage)

    def _fits(self, treatments: Sequence[Treatment], of: Experiment | None = None) -> bool:
        """Tells whether what is missing of treatments can be done in the time that remains."""
        asked = (of or self.experiment).replace(treatments=tuple(treatments))
        return self._estimate(asked) <= self._budget.remaining

    def _estimate(self, experiment: Experiment) -> float:
        """Estimates the seconds of what is missing of all folds."""
        every = experiment.all_treatments
        return sum(
            self._cost.seconds(experiment, workdir.missing(every))
            for workdir in fold_workdirs(self._folder, experiment)
        )

    def _train(self, experiment: Experiment) -> bool:
        """Trains an experiment; tells whether there was time for all of it, and no signal."""
        begun, estimated = time.monotonic(), self._estimate(experiment)
        try:
            for each in fold_experiments(experiment):
                workdir = workdir_in(self._folder, each)
                run_experiment(
                    each,
                    workdir,
                    data=self._data.of(each),
                    flags=self._flags(each, workdir.path),
                    log=lambda line: None,
                    deadline=self._budget.deadline,
                )
        except Interrupted as error:
            if time.monotonic() < self._budget.deadline:
                self.stopped = error
            self._is_over = True
            return False
        keras.utils.clear_session()
        if estimated:
            self._cost.correct(estimated, time.monotonic() - begun)
        return True

    def _tell(self, stage: Sequence[Treatment]) -> None:
        """Logs what a stage has brought, and what is best so far."""
        measure, workdirs = (
            measure_of(self.experiment),
            fold_workdirs(self._folder, self.experiment),
        )
        in_all = set.intersection(*(set(workdir.done) for workdir in workdirs))
        top1 = {
            name: measure_accuracy(*join_predictions(workdirs, name), measure).estimate
            for name in workdirs[0].done
            if name in in_all
        }
        best = max(map(parse_treatment, top1), key=lambda t: (top1[t.name], t.frozen_units))
        values = ", ".join(f"{top1[treatment.name]:.3f}" for treatment in as_described(stage))
        self._log(
            f"After {duration(self._budget.elapsed)}: {describe_stage(stage)}: {values}. "
            f"Best so far: {describe_stage([best])}, {measure} {top1[best.name]:.3f}."
        )
