"""How the time that a person gives becomes a set of networks to train, and is kept."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from transfer_keras.advice.cost import TrainingCost
from transfer_keras.advice.refinement import spread_evenly
from transfer_keras.advice.stages import SCRATCH, describe_stage, linear_treatments, treatments_at
from transfer_keras.config import (
    MOST_SEEDS,
    Experiment,
    Request,
    Treatment,
    UserError,
    choices,
    duration,
    parse_treatment,
)
from transfer_keras.files import DamagedFile, check_type, read_json, write_json
from transfer_keras.results import as_begun, check_study

_FIRST_SET = 0.6  # Part of the time for the first networks.
_SCRATCH_PART = 0.1  # Part of it that training from scratch may take, where nothing is said.
_ALL = 0.9  # Part of it for them, where they are the fewest that can be tried.
_CLOSING = 0.04  # Part of it for the report and the network.
_CLOSING_SECONDS = 12  # At least.
_OVERRUN = 1.05  # At this part of it, a training that is not done is stopped.
_ENOUGH_EPOCHS, _FEWEST_EPOCHS, _MOST_EPOCHS = 7, 3, 60
_AMPLE_EPOCHS = 15  # From here on more is fine-tuned than what transfers most.
_WARM_UP = 0.1  # Part of the steps, where nothing else is said.
_STEP = 30  # Seconds, to a multiple of which a budget is asked for.
_PLAN = "plan.json"
DONORS = "donors.json"  # What `race` leaves, before there is a plan.


@dataclasses.dataclass(frozen=True)
class Budget:
    """The time that is given, and how often networks are repeated at most.

    Attributes:
        seconds: from `begun` on.
        begun: a moment of `time.monotonic()`.
        seeds: the most of one network.
    """

    seconds: float
    begun: float
    seeds: int = 10

    def check_seeds(self, experiment: Request) -> None:
        """Checks that the last seed that may come is one, where there is time for all.

        Raises:
            UserError: if it is not.
        """
        first, folds = experiment.training.seed, experiment.data.folds or 1
        most = MOST_SEEDS // folds - self.seeds
        if first > most:
            raise UserError(
                f"--seed={first}: advise goes on to the {self.seeds - 1} seeds after it, each "
                f"times the folds, as far as time allows. Expected 0 to {most}."
            )

    @property
    def elapsed(self) -> float:
        """Gives the seconds since the beginning."""
        return time.monotonic() - self.begun

    @property
    def remaining(self) -> float:
        """Gives the seconds that remain for trainings."""
        return self.seconds - self.closing - self.elapsed

    @property
    def closing(self) -> float:
        """Gives the seconds that are kept for the report and the network."""
        return max(_CLOSING * self.seconds, _CLOSING_SECONDS)

    @property
    def deadline(self) -> float:
        """Gives the moment at which a training is stopped."""
        return self.begun + _OVERRUN * self.seconds


_Rate = Literal[
    "learning_rate", "transferred_learning_rate", "scratch_learning_rate", "layerwise_decay"
]


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """What a folder was begun with, and so goes on with.

    Attributes:
        workdir: name of that of the first seed.
        steps, warm_up_head, validations: of each network.
        views: see `DataSettings`.
        stages: names of the treatments of each stage, in order: the first set, and what refined it.
        head_first, class_weights, fit_head: see `TrainingSettings`.
        rates: the learning rates that were found, by their flags' names.
        rate_lines: what was tried for them, for people.
    """

    workdir: str
    steps: int
    warm_up_head: int
    validations: int
    views: int | None
    stages: tuple[tuple[str, ...], ...]
    head_first: bool = False  # As version 0.1.0 did.
    rates: Mapping[_Rate, float] = dataclasses.field(default_factory=dict)
    rate_lines: tuple[str, ...] = ()
    class_weights: str = choices.UNWEIGHTED
    fit_head: bool = False

    @property
    def treatments(self) -> list[list[Treatment]]:
        """Gives the treatments of each stage."""
        return [list(map(parse_treatment, names)) for names in self.stages]

    @classmethod
    def read(cls, folder: pathlib.Path) -> "SearchPlan | None":
        """Reads the plan of a folder; None where there is none.

        Raises:
            DamagedFile: if the file is damaged.
        """
        path = folder / _PLAN
        if not path.exists():
            return None
        remedy = "Put it back, or give another --workdir."
        facts = read_json(path, dict[str, Any], remedy)
        if "places" in facts:  # Version 0.1.0: every n frozen and fine-tuned, and scratch.
            places = check_type(facts["places"], list[list[int]], path, remedy)
            stages = [[f"A{n}B{plus}" for n in each for plus in ("", "+")] for each in places]
            stages[:1] = [[SCRATCH.name, *each] for each in stages[:1]]
            facts |= {"validations": 20, "views": None, "stages": stages}
        plan = check_type(facts, cls, path, remedy)
        try:
            stages = plan.treatments
        except ValueError as error:
            raise DamagedFile(path, f"is damaged: {error}", remedy) from error
        if not stages or not all(stages):
            raise DamagedFile(path, "is damaged: it names no networks", remedy)
        if "/" in plan.workdir or plan.workdir in ("", ".", ".."):
            raise DamagedFile(path, f"is damaged: {plan.workdir!r} is no folder in it", remedy)
        return plan

    def write(self, folder: pathlib.Path) -> None:
        """Writes the plan into a folder, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _PLAN, dataclasses.asdict(self))


def check_folder(folder: pathlib.Path) -> SearchPlan | None:
    """Refuses a folder that holds other files than those of a search, and gives its plan.

    Raises:
        UserError: then; or if its plan is damaged.
    """
    plan = SearchPlan.read(folder)
    entries = folder.iterdir() if folder.is_dir() else ()
    if not plan and any(entry.name[0] != "." and entry.name != DONORS for entry in entries):
        raise UserError(
            f"--workdir={folder}: holds other files and no {_PLAN}. Give a new or empty folder, or "
            "one of an earlier run."
        )
    return plan


def make_plan(
    experiment: Experiment,
    folder: pathlib.Path,
    budget: Budget,
    cost: TrainingCost,
    *,
    fixed: Sequence[str],
    rates: Mapping[str, float] | None = None,
    rate_lines: Sequence[str] = (),
    linear: int | None = None,
    log: Callable[[str], None],
) -> tuple[Experiment, SearchPlan]:
    """Takes the folder's plan, or makes one: the first networks, and as many steps as time allows.

    Args:
        experiment: with a donor.
        folder: of the study.
        budget: for all of it.
        cost: of trainings of the experiment.
        fixed: names of settings that are not to be chosen by the search: "steps", "warm_up_head",
            "validations", "scratch", "augment", "views", "head_first", "learning_rate",
            "transferred_learning_rate", "scratch_learning_rate", "layerwise_decay".
        rates, rate_lines: what a new plan keeps of the search for learning rates.
        linear: n at which a linear classifier is tried; None: at none.
        log: called with lines for the user.

    Returns:
        The experiment as it is planned, and the plan.

    Raises:
        UserError: if the time does not suffice for a first set, or the folder was begun with other
            settings.
    """
    epoch = max(1, cost.train // experiment.training.batch_size)
    earlier = SearchPlan.read(folder)
    plan = earlier
    if plan is None:
        asked = experiment.replace(**(rates or {}))
        plan = _new_plan(asked, budget, cost, epoch, fixed, linear, log)
        plan = dataclasses.replace(plan, rates=dict(rates or {}), rate_lines=tuple(rate_lines))
    insists = "scratch" in fixed and experiment.execution.scratch
    if insists and (SCRATCH.name,) not in plan.stages:  # Asked for once it was left out.
        plan = dataclasses.replace(plan, stages=(*plan.stages, (SCRATCH.name,)))
    if plan.workdir != experiment.variant_name:
        raise UserError(
            f"--workdir={folder}: was begun as {plan.workdir}, and this is "
            f"{experiment.variant_name}. Give another --workdir."
        )
    names = ("steps", "warm_up_head", "validations", "head_first", "class_weights", "fit_head")
    settings = {name: getattr(plan, name) for name in names} | dict(plan.rates)
    settings |= {name: getattr(experiment.training, name) for name in fixed if name in settings}
    # What is trained from scratch is a treatment of a stage of its own.
    experiment = experiment.replace(treatments=plan.treatments[0], scratch=False, **settings)
    (experiment,) = as_begun([experiment], folder)
    check_study(folder, {experiment.variant_name: experiment.identity})
    if earlier:
        log(
            f"Going on with what is in {folder}: {plan.steps:,} steps a network "
            f"({_epochs(plan.steps, experiment, cost):.1f} epochs), as it was begun. For longer "
            "trainings give another --workdir."
        )
    if plan != earlier:
        plan.write(folder)
    return experiment, plan


def _new_plan(
    experiment: Experiment,
    budget: Budget,
    cost: TrainingCost,
    epoch: int,
    fixed: Sequence[str],
    linear: int | None,
    log: Callable[[str], None],
) -> SearchPlan:
    """Plans fewer networks, and closer to the head, where the time allows for few steps."""
    scratch = "scratch" in fixed and experiment.execution.scratch

    def trained_for(epochs: int) -> Experiment:
        steps = experiment.training.steps if "steps" in fixed else epochs * epoch
        validations = experiment.training.validations
        if "validations" not in fixed:  # A test an epoch at the most.
            validations = min(validations, max(1, round(steps / epoch)))
        return experiment.replace(steps=steps, warm_up_head=0, validations=validations)

    def seconds(stages: Sequence[Sequence[Treatment]], epochs: int) -> float:
        planned = trained_for(epochs)
        return _folds(experiment) * sum(cost.seconds(planned, stage) for stage in stages)

    sets = _first_sets(experiment, scratch, linear)
    stages, epochs = _most_that_fits(sets, seconds, budget.remaining)
    if not epochs and "steps" not in fixed:
        needed = budget.elapsed + seconds(stages, 1) / _ALL + budget.closing
        more = _STEP * math.ceil(needed / _STEP)
        raise UserError(
            f"--budget={duration(budget.seconds)}: one epoch with all but the head frozen, the "
            f"least that can be tried, takes {needed:.0f} s here with all that belongs to it. Give "
            f"--budget={more}s or more, fewer pixels (--image_size), or a smaller donor."
        )
    planned, cuts = trained_for(epochs), experiment.architecture.cut_points
    steps = planned.training.steps
    can_freeze = not any(map(experiment.architecture.why_not, cuts, ["frozen"] * len(cuts)))
    head_first = experiment.training.head_first if "head_first" in fixed else can_freeze
    warm_up = 0 if head_first else round(_WARM_UP * steps)
    if "warm_up_head" in fixed:
        warm_up = experiment.training.warm_up_head
    if warm_up >= steps:
        raise UserError(
            f"--warm_up_head={warm_up}: in --budget={duration(budget.seconds)} a network has "
            f"{steps} steps. Give fewer, or more time."
        )
    trained = sum(not experiment.fits_head(treatment) for stage in stages for treatment in stage)
    of_steps = f"of {steps:,} steps ({_epochs(steps, experiment, cost):.1f} epochs)"
    networks = f"{trained} network{'s' * (trained > 1)} {of_steps}" if trained else "a head fitted"
    log(
        f"{'; then '.join(map(describe_stage, stages))}: {networks} in about "
        f"{duration(seconds(stages, epochs))}; then other n and more seeds, as time allows."
    )
    if "scratch" not in fixed:
        if scratch_fits(planned, budget, cost, fixed):
            stages.append([SCRATCH])
        else:
            alone = duration(_folds(planned) * cost.seconds(planned, [SCRATCH]))
            log(f"From scratch would take {alone}: not tried; --scratch to insist.")
    names = tuple(tuple(treatment.name for treatment in stage) for stage in stages)
    validations = planned.training.validations
    views = experiment.data.views
    return SearchPlan(
        experiment.variant_name, steps, warm_up, validations, views, names, head_first,
        class_weights=experiment.training.class_weights, fit_head=experiment.training.fit_head,
    )  # fmt: skip


def scratch_fits(
    experiment: Experiment, budget: Budget, cost: TrainingCost, fixed: Sequence[str]
) -> bool:
    """Tells whether training from scratch is tried: where it takes a small part of what remains.

    Args:
        experiment: with the steps of a network; where they are not planned yet, the default.
        budget, cost, fixed: see `make_plan`.
    """
    if "scratch" in fixed:
        return experiment.execution.scratch
    seconds = _folds(experiment) * cost.seconds(experiment, [SCRATCH])
    return seconds <= _SCRATCH_PART * budget.remaining


def _folds(experiment: Experiment) -> int:
    return experiment.data.folds or 1


def _epochs(steps: int, experiment: Experiment, cost: TrainingCost) -> float:
    return steps * experiment.training.batch_size / cost.train


def _most_that_fits(
    sets: Iterable[tuple[list[list[Treatment]], int]],
    seconds: Callable[[list[list[Treatment]], int], float],
    time: float,
) -> tuple[list[list[Treatment]], int]:
    """Chooses what is tried first, and for how many epochs; 0 where there is no time for any.

    Args:
        sets: from much to little, and the epochs that there must be time for.
        seconds: (a set, epochs) -> what it takes.
        time: seconds that there are, of which the first set leaves some to what follows.
    """
    for stages, enough in sets:
        if seconds(stages, enough) <= _FIRST_SET * time:
            break

    def longest(limit: float) -> int:
        epochs = range(1, _MOST_EPOCHS + 1)
        return max((e for e in epochs if seconds(stages, e) <= limit), default=0)

    epochs = longest(_FIRST_SET * time)
    return stages, epochs if epochs >= _FEWEST_EPOCHS else longest(_ALL * time)


def _first_sets(
    experiment: Experiment, scratch: bool, linear: int | None
) -> Iterator[tuple[list[list[Treatment]], int]]:
    """Lists what can be tried first, as stages, from much to little, and for how many epochs.

    Heads that are fitted come first, which take seconds; then frozen depths, whose pictures pass
    the frozen part once; then what is fine-tuned, and if one insists what is trained from scratch.
    With less time they are fewer, and closer to the head, where less is trained.
    """
    architecture = experiment.architecture
    top = len(architecture.units) - 1

    def nearest(places: Sequence[int]) -> list[int]:
        near = {min(architecture.cut_points, key=lambda n: abs(n - place)) for place in places}
        return sorted(near, reverse=True)

    def stages(frozen: Sequence[int], tuned: Sequence[int]) -> tuple[list[list[Treatment]], int]:
        begun_anew = treatments_at(frozen, [""], experiment)
        fitted = list(filter(experiment.fits_head, begun_anew))
        begun_anew = [treatment for treatment in begun_anew if treatment not in fitted]
        fitted += linear_treatments([linear] if linear else [], experiment)
        kinds = [fitted, begun_anew, treatments_at(tuned, ["+"], experiment)]
        planned = [stage for stage in (*kinds, [SCRATCH] if scratch else []) if stage]
        return planned, _AMPLE_EPOCHS if len(tuned) > 1 else _ENOUGH_EPOCHS

    even = nearest(spread_evenly(top))
    for tuned in (even, even[::2], even[:1]):
        yield stages(even, tuned)
    for step in range(max(1, top // len(even) - 1), 0, -1):
        depths = nearest(range(top, 0, -step)[: len(even)])
        yield stages(depths, depths[:1])
    yield stages(depths[:3], depths[:1])
    yield stages(depths[:1], depths[:1])
    yield stages(depths[:1], [])
