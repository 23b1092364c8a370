"""How the time that a person gives becomes a set of networks to train, and is kept."""

import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Sequence

from transfer_keras.advice.refinement import spread_evenly
from transfer_keras.config import Experiment, Treatment, UserError, duration, parse_treatment
from transfer_keras.experiments import TaskData, time_base
from transfer_keras.results import check_study, write_text

_FIRST_SET = 0.3  # Part of the time for the first set of n.
_CLOSING = 0.04  # Part of it for the report and the network.
_OVERRUN = 1.15  # At this part of it, a training that is not done is stopped.
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 60
_WARM_UP = 0.1  # Part of the steps, where nothing else is said.
_PLAN = "plan.json"


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

    @property
    def elapsed(self) -> float:
        """Gives the seconds since the beginning."""
        return time.monotonic() - self.begun

    @property
    def remaining(self) -> float:
        """Gives the seconds that remain for trainings."""
        return (1 - _CLOSING) * self.seconds - self.elapsed

    @property
    def deadline(self) -> float:
        """Gives the moment at which a training is stopped."""
        return self.begun + _OVERRUN * self.seconds


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """What a folder was begun with, and so goes on with.

    Attributes:
        workdir: name of that of the first seed.
        steps, warm_up_head: of each network.
        places: cut points, as numbers of units: the first set, and those that refined it, in order.
    """

    workdir: str
    steps: int
    warm_up_head: int
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, folder: pathlib.Path) -> "SearchPlan | None":
        """Reads the plan of a folder; None where there is none.

        Raises:
            UserError: if the file is damaged.
        """
        path = folder / _PLAN
        if not path.exists():
            return None
        try:
            facts = json.loads(path.read_text())
            return cls(**{**facts, "places": tuple(map(tuple, facts["places"]))})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"--workdir={folder}: {path} cannot be read ({error}). Give another --workdir."
            ) from error

    def write(self, folder: pathlib.Path) -> None:
        """Writes the plan into a folder, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _PLAN, json.dumps(dataclasses.asdict(self)) + "\n")


def make_plan(
    experiment: Experiment,
    folder: pathlib.Path,
    budget: Budget,
    data: TaskData,
    *,
    fixed: Sequence[str],
    log: Callable[[str], None],
) -> tuple[Experiment, SearchPlan]:
    """Takes the folder's plan, or makes one: the first set of n, and as many steps as time allows.

    Args:
        experiment: with a donor.
        folder: of the study.
        budget: for all of it.
        data: of the experiment.
        fixed: names of settings that are not to be chosen here: "steps", "warm_up_head".
        log: called with lines for the user.

    Returns:
        The experiment as it is planned, and the plan.

    Raises:
        UserError: if the time does not suffice for a first set, or the folder was begun with other
            settings.
    """
    epoch = max(1, len(data.train["B"]) // experiment.training.batch_size)
    earlier = SearchPlan.read(folder)
    if not earlier and folder.is_dir() and any(x for x in folder.iterdir() if x.name[0] != "."):
        raise UserError(
            f"--workdir={folder}: holds other files and no {_PLAN}. Give a new or empty folder, or "
            "one of an earlier run."
        )
    plan = earlier or _new_plan(experiment, budget, data, epoch, fixed, log)
    if plan.workdir != experiment.variant_name:
        raise UserError(
            f"--workdir={folder}: was begun as {plan.workdir}, and this is "
            f"{experiment.variant_name}. Give another --workdir."
        )
    settings = {"steps": plan.steps, "warm_up_head": plan.warm_up_head}
    settings |= {name: getattr(experiment.training, name) for name in fixed}
    experiment = experiment.replace(
        treatments=frozen_and_fine_tuned(plan.places[0], experiment), **settings
    )
    check_study(folder, {experiment.variant_name: experiment.identity})
    if earlier:
        log(
            f"Going on with what is in {folder}: {plan.steps:,} steps a network "
            f"({plan.steps / epoch:.1f} epochs), as it was begun. For longer trainings give "
            "another --workdir."
        )
    else:
        plan.write(folder)
    return experiment, plan


def _new_plan(
    experiment: Experiment,
    budget: Budget,
    data: TaskData,
    epoch: int,
    fixed: Sequence[str],
    log: Callable[[str], None],
) -> SearchPlan:
    """Plans fewer cut points and longer trainings, where the time allows for few steps."""
    log("Measuring how fast this machine is …")
    plain = experiment.replace(warm_up_head=0)
    cost = time_base(plain, data)
    for count in (4, 3, 2):
        cut_points = _first_cut_points(experiment, count)
        first_set = plain.replace(treatments=frozen_and_fine_tuned(cut_points, plain))
        steps = experiment.training.steps
        if "steps" in fixed:
            break
        steps = cost.steps_within(first_set, _FIRST_SET * budget.remaining)
        if steps >= _FEWEST_EPOCHS * epoch:
            break
    networks = len(first_set.all_treatments)
    if "steps" not in fixed:
        if steps < _FEWEST_EPOCHS * epoch:
            steps = cost.steps_within(first_set, 0.9 * budget.remaining)
        steps = min(steps, _MOST_EPOCHS * epoch)
        if steps < epoch:
            needed = budget.elapsed + cost.seconds(first_set.replace(steps=epoch))
            raise UserError(
                f"--budget={duration(budget.seconds)}: one epoch of {networks} networks, "
                f"the least that can be compared, takes about {duration(needed)} here. Give more "
                "time, fewer pixels (--image_size), or a smaller donor."
            )
    warm_up = round(_WARM_UP * steps)
    if "warm_up_head" in fixed:
        warm_up = experiment.training.warm_up_head
    if warm_up >= steps:
        raise UserError(
            f"--warm_up_head={warm_up}: in --budget={duration(budget.seconds)} a network has "
            f"{steps} steps. Give fewer, or more time."
        )
    log(
        f"n = {', '.join(map(str, cut_points))}, frozen and fine-tuned, and from scratch: "
        f"{networks} networks of {steps:,} steps ({steps / epoch:.1f} epochs) in about "
        f"{duration(cost.seconds(first_set.replace(steps=steps)))}; then refinements, then "
        "more seeds."
    )
    return SearchPlan(experiment.variant_name, steps, warm_up, (tuple(cut_points),))


def _first_cut_points(experiment: Experiment, count: int) -> list[int]:
    """Spreads the first cut points evenly, each as near as the donor can be cut."""
    architecture = experiment.architecture
    even = spread_evenly(len(architecture.units) - 1, count)
    return sorted({min(architecture.cut_points, key=lambda n: abs(n - place)) for place in even})


def frozen_and_fine_tuned(
    cut_points: Sequence[int], experiment: Experiment
) -> tuple[Treatment, ...]:
    """Lists the treatments frozen and fine-tuned at each n, where the donor can be."""
    architecture = experiment.architecture
    treatments = (
        parse_treatment(f"A{n}B{plus}") for n, plus in itertools.product(cut_points, ("", "+"))
    )
    return tuple(t for t in treatments if not architecture.why_not(t.n, t.mode))
