"""How the time that a person gives becomes a set of networks to train, and is kept."""

import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Sequence

from transfer_keras import results
from transfer_keras.advice import refinement
from transfer_keras.config import Experiment, Treatment, UserError, duration, parse_treatment
from transfer_keras.experiments import time_base
from transfer_keras.results import check_study

_COARSE = 0.3  # Part of the time for the first set of n.
_CLOSING = 0.04  # Part of it for the report and the network.
_LATE = 1.15  # At this part of it, a training that is not done is stopped.
_FEWEST_EPOCHS, MOST_EPOCHS = 3, 60
_WARM_UP = 0.1  # Part of the steps, where nothing else is said.
_PLAN = "plan.json"


@dataclasses.dataclass(frozen=True)
class Clock:
    """The time that is given."""

    budget: float
    begun: float

    @property
    def gone(self) -> float:
        return time.monotonic() - self.begun

    @property
    def left(self) -> float:
        return (1 - _CLOSING) * self.budget - self.gone

    @property
    def deadline(self) -> float:
        return self.begun + _LATE * self.budget


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a folder was begun with, and so goes on with.

    Attributes:
        workdir: name of that of the first seed.
        steps, warm_up_head: of each network.
        places: numbers of units: the first set, and those that came closer, in order.
    """

    workdir: str
    steps: int
    warm_up_head: int
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, folder: pathlib.Path) -> "Plan | None":
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
        folder.mkdir(parents=True, exist_ok=True)
        results.write_text(folder / _PLAN, json.dumps(dataclasses.asdict(self)) + "\n")


def planned(
    experiment: Experiment,
    folder: pathlib.Path,
    clock: Clock,
    images: int,
    chosen: Sequence[str],
    say: Callable[[str], None],
) -> tuple[Experiment, Plan]:
    """The folder's plan, or a new one: the first set of n, and as many steps as the time allows."""
    epoch = max(1, images // experiment.batch_size)
    there = Plan.read(folder)
    if not there and folder.is_dir() and any(x for x in folder.iterdir() if x.name[0] != "."):
        raise UserError(
            f"--workdir={folder}: holds other files and no {_PLAN}. Give a new or empty folder, or "
            "one of an earlier run."
        )
    plan = there or _new_plan(experiment, clock, epoch, chosen, say)
    if plan.workdir != experiment.variant_name:
        raise UserError(
            f"--workdir={folder}: was begun as {plan.workdir}, and this is "
            f"{experiment.variant_name}. Give another --workdir."
        )
    settings = {"steps": plan.steps, "warm_up_head": plan.warm_up_head}
    settings |= {name: getattr(experiment, name) for name in chosen}
    experiment = dataclasses.replace(
        experiment, treatments=both(plan.places[0], experiment), **settings
    )
    check_study(folder, {experiment.variant_name: experiment.identity})
    if there:
        say(
            f"Going on with what is in {folder}: {plan.steps:,} steps a network "
            f"({plan.steps / epoch:.1f} epochs), as it was begun. For longer trainings give "
            "another --workdir."
        )
    else:
        plan.write(folder)
    return experiment, plan


def _new_plan(
    experiment: Experiment,
    clock: Clock,
    epoch: int,
    chosen: Sequence[str],
    say: Callable[[str], None],
) -> Plan:
    """Fewer places and longer trainings, where the time allows for few steps."""
    say("Measuring how fast this machine is …")
    plain = dataclasses.replace(experiment, warm_up_head=0)
    paces = time_base(plain)
    for count in (4, 3, 2):
        places = _places(experiment, count)
        wanted = dataclasses.replace(plain, treatments=both(places, plain))
        steps = experiment.steps
        if "steps" in chosen:
            break
        steps = paces.steps_within(wanted, _COARSE * clock.left)
        if steps >= _FEWEST_EPOCHS * epoch:
            break
    if "steps" not in chosen:
        if steps < _FEWEST_EPOCHS * epoch:
            steps = paces.steps_within(wanted, 0.9 * clock.left)
        steps = min(steps, MOST_EPOCHS * epoch)
        if steps < epoch:
            needed = clock.gone + paces.seconds(dataclasses.replace(wanted, steps=epoch))
            raise UserError(
                f"--budget={duration(clock.budget)}: one epoch of {len(wanted.wanted)} networks, "
                f"the least that can be compared, takes about {duration(needed)} here. Give more "
                "time, fewer pixels (--image_size), or a smaller donor."
            )
    warm_up = experiment.warm_up_head if "warm_up_head" in chosen else round(_WARM_UP * steps)
    if warm_up >= steps:
        raise UserError(
            f"--warm_up_head={warm_up}: in --budget={duration(clock.budget)} a network has "
            f"{steps} steps. Give fewer, or more time."
        )
    say(
        f"n = {', '.join(map(str, places))}, frozen and fine-tuned, and from scratch: "
        f"{len(wanted.wanted)} networks of {steps:,} steps ({steps / epoch:.1f} epochs) in about "
        f"{duration(paces.seconds(dataclasses.replace(wanted, steps=steps)))}; then closer, then "
        "more seeds."
    )
    return Plan(experiment.variant_name, steps, warm_up, (tuple(places),))


def _places(experiment: Experiment, count: int) -> list[int]:
    """See `refinement.coarse`; each as near as the donor can be cut."""
    table = experiment.architecture
    wanted = refinement.coarse(len(table.units) - 1, count)
    return sorted({min(table.possible, key=lambda n: abs(n - place)) for place in wanted})


def both(places: Sequence[int], experiment: Experiment) -> tuple[Treatment, ...]:
    """Frozen and fine-tuned at each n, where the donor can be."""
    every = (parse_treatment(f"A{n}B{plus}") for n, plus in itertools.product(places, ("", "+")))
    table = experiment.architecture
    return tuple(one for one in every if not table.why_not(one.n, one.mode))
