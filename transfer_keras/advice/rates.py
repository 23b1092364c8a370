"""The learning rates of a search: each family gets the best of several, tried in short trainings.

Families are what is trained anew on frozen units, what is fine-tuned, and what is trained from
scratch.

The best rate depends on the pictures, so one rate for all would favour the family that it suits (Li
et al. 2020, "Rethinking the Hyperparameters for Fine-tuning"). Rates are compared on a part of the
training pictures, which is held back; those to validate say nothing of them.
"""

import contextlib
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from transfer_keras import surgery
from transfer_keras.advice.budget import Budget, scratch_fits
from transfer_keras.advice.cost import TrainingCost
from transfer_keras.advice.stages import SCRATCH, treatments_at
from transfer_keras.config import Experiment, Group, Interrupted, Treatment
from transfer_keras.experiments import (
    Run,
    TaskData,
    fit_heads,
    hold_back,
    image_preprocessing,
    learning_rates,
    make_networks,
    make_recipe,
    make_streams,
    name_bad_images,
    use_devices,
)
from transfer_keras.files import write_whole
from transfer_keras.results import Workdir
from transfer_keras.training import Progress, Trial, defer_signals, search_rates

NEW = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # Of units that begin anew.
TRANSFERRED = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)  # Of those that are fine-tuned.

# Also tried, with the best rate of what is fine-tuned: the rate falls from unit to unit downwards.
LAYERWISE_DECAY = 0.8

# Of the time, which each search may take. The rate of what is fine-tuned matters most, and a step
# of it costs most.
_PARTS = {"frozen": 0.05, "fine_tune": 0.2, "base": 0.1}
_SHALLOWER = 0.75  # Of the most units.
_HELD_BACK = 0.2  # Part of the training pictures by which rates are compared.
_MOST = 1000  # Pictures that it is done with.
_FEWEST = 25  # Pictures that are held back.
_FEWEST_STEPS = 4  # Of the first rung.
_MOST_EPOCHS = {"frozen": 20, "fine_tune": 4, "base": 4}  # Of it.
_OVERRUN = 1.25  # It ends when it has taken so many times what it was given.
# The first rung has five trainings, and four at the most have twice the steps; and one with
# layerwise decay.
_TRAININGS, _DECAYED = 13, 2


class FoundRates(NamedTuple):
    """The learning rates of a search.

    Attributes:
        settings: the rates, by their flags' names.
        lines: what was tried, for people.
        losses: the lowest loss of the pictures that were held back, by the flag's name.
    """

    settings: dict[str, float]
    lines: tuple[str, ...]
    losses: dict[str, float]


def find_rates(
    experiment: Experiment,
    data: TaskData,
    budget: Budget,
    cost: TrainingCost,
    *,
    fixed: Sequence[str],
    log: Callable[[str], None],
) -> FoundRates:
    """Searches the rates of what is trained anew, of what is fine-tuned, and of scratch.

    That of new units is searched with all but the head frozen, in long trainings: short ones
    favour high rates (Wu et al. 2018, "Understanding Short-Horizon Bias in Stochastic
    Meta-Optimization"), and there a step costs little. Where such a head is fitted, it is searched
    with a quarter of the units less. That of transferred units is searched with all but the head
    transferred, and at the best one whether it is better to lower it from unit to unit; that of
    training from scratch where there is time to train from scratch.

    Args:
        experiment: with a donor, as it is planned.
        data: of the experiment.
        budget: of which all searches together take about a quarter, and a tenth more for scratch.
        cost: of trainings of the experiment.
        fixed: names of settings that are not to be chosen.
        log: called with lines for the user.

    Returns:
        What was found, empty where there was no time.

    Raises:
        Interrupted: after a signal.
    """
    frozen, tuned = _compared(experiment, fixed)
    wanted = experiment.training.head_first or "head_first" not in fixed
    begun = experiment.training.fit_head or all(t.frozen in frozen for t in tuned)
    head_first = wanted and begun
    tries_scratch = scratch_fits(experiment, budget, cost, fixed)
    quick = {"augment": False, "views": None, "warm_up_head": 0, "scratch": False}
    experiment = experiment.replace(**quick, head_first=head_first)
    examples = dataclasses.replace(data.train["B"], preprocessing=image_preprocessing(experiment))
    kept, back = hold_back(examples, _HELD_BACK, most=_MOST)
    inner = TaskData(data.pair, {"B": kept}, {"B": back})
    # What is fine-tuned may begin with a frozen network, so that is trained where its rate is given
    # too.
    new = (experiment.training.learning_rate,) if "learning_rate" in fixed else NEW
    searches = [("learning_rate", "new units", new, tuple(frozen))] if frozen else []
    if tuned and "transferred_learning_rate" not in fixed:
        what = "transferred units, fine-tuned"
        searches.append(("transferred_learning_rate", what, TRANSFERRED, tuple(tuned)))
    if not {"learning_rate", "scratch_learning_rate"} & {*fixed} and tries_scratch:
        searches.append(("scratch_learning_rate", "training from scratch", NEW, (SCRATCH,)))
    if "learning_rate" in fixed and all(name == "learning_rate" for name, *_ in searches):
        return FoundRates({}, (), {})
    settings, lines, losses = {}, [], {}
    batch = experiment.training.batch_size
    if len(inner.train["B"]) < batch or len(inner.test["B"]) < _FEWEST:
        line = "Too few pictures to search learning rates with."
        log(line)
        return FoundRates({}, (line,), {})
    with name_bad_images(data), tempfile.TemporaryDirectory() as folder:
        for name, what, rates, treatments in searches:
            asked = experiment.replace(treatments=treatments, **settings)
            part = _PARTS[treatments[0].mode]
            seconds = min(part * budget.seconds, budget.remaining)
            decays = treatments[0].fine_tune and "layerwise_decay" not in fixed
            usual = getattr(experiment.training, name) or experiment.training.learning_rate
            trials = _search(
                asked, Workdir(folder), inner, rates, usual, seconds, cost, decays=decays
            )
            if trials:
                best = _choose(trials, usual)
                losses[name] = min(trial.loss for trial in trials)
                settings[name] = best.rate
                if best.decayed:
                    settings["layerwise_decay"] = LAYERWISE_DECAY
                line = _describe(what, best, trials, len(inner.test["B"]))
            else:
                line = f"No time to search the learning rate of {what}: {usual:g} is taken."
            lines.append(line)
            log(line)
    return FoundRates(settings, tuple(lines), losses)


def _compared(
    experiment: Experiment, fixed: Sequence[str]
) -> tuple[list[Treatment], list[Treatment]]:
    """Lists what rates of new units, and of transferred ones, are compared with."""
    cuts, fits_head = experiment.architecture.cut_points, experiment.training.fit_head
    top = max(cuts)
    below = [n for n in cuts if n < top] if fits_head else [top]
    below = sorted(below, key=lambda n: abs(n - _SHALLOWER * top))[:1]
    if fits_head and "learning_rate" in fixed:
        below = []  # Fine-tuning begins with a head that needs no rate.
    return treatments_at(below, [""], experiment), treatments_at([top], ["+"], experiment)


def _choose(trials: Sequence[Trial], usual: float) -> Trial:
    """Chooses the usual rate, unless another is better by more than the standard error.

    Few pictures tell little, and the usual rate is what did well on other pictures (Breiman et al.
    1984, "Classification and Regression Trees", the one-standard-error rule).
    """
    with_usual = [trial for trial in trials if trial.rate == usual and not trial.decayed]
    steps = max(trial.steps for trial in with_usual or trials)  # It may have ended before.
    best = min((t for t in trials if t.steps == steps), key=lambda trial: trial.loss)
    if with_usual and not best.is_surely_better(with_usual[-1]):
        return with_usual[-1]
    return best


def _steps_that_fit(
    experiment: Experiment, seconds: float, cost: TrainingCost, pictures: int, trainings: int
) -> int:
    """Finds the steps of the first rung; 0 where there are no pictures or no time for a search."""
    epoch = pictures // experiment.training.batch_size
    cost = dataclasses.replace(cost, train=pictures, test=round(_HELD_BACK * pictures))
    most = _MOST_EPOCHS[experiment.treatments[0].mode] * epoch
    for steps in range(max(_FEWEST_STEPS, most), _FEWEST_STEPS - 1, -1):
        whole = experiment.replace(steps=trainings * steps, validations=8)
        if epoch and cost.seconds(whole, whole.treatments) <= seconds:
            return steps
    return 0


def _search(
    experiment: Experiment,
    workdir: Workdir,
    data: TaskData,
    rates: Sequence[float],
    usual: float,
    seconds: float,
    cost: TrainingCost,
    *,
    decays: bool,
) -> list[Trial]:
    """Trains with each rate, as long as that may take; none where no rate can be told from others.

    Frozen networks are left in the workdir, with the best rate: what is fine-tuned begins with
    them, where they are there.
    """
    group = Group(experiment.treatments)
    trainings = _TRAININGS + (_DECAYED if decays else 0)
    steps = _steps_that_fit(experiment, seconds, cost, len(data.train["B"]), trainings)
    if not steps:
        return []
    devices = use_devices(experiment.training, experiment.execution)
    if experiment.training.fit_head and all(t.fine_tune for t in group.treatments):
        _fit_heads(Run(experiment, workdir, data, devices, lambda line: None), group)
    heads = [workdir.network_path(treatment.frozen.name) for treatment in group.treatments]
    head_first = experiment.training.head_first and all(path.exists() for path in heads)
    # The recipe knows one rate, from which `search_rates` departs.
    experiment = experiment.replace(
        steps=trainings * steps,
        head_first=head_first,
        transferred_learning_rate=experiment.training.learning_rate,
        scratch_learning_rate=None,
    )
    counter = itertools.count(1)
    with (
        defer_signals(time.monotonic() + _OVERRUN * seconds) as stop,
        Progress("learning rates", trainings * steps) as bar,
    ):
        run = Run(experiment, workdir, data, devices, lambda line: None, stop)
        # Averages of BatchNorm reach back over a part of the shortest training.
        shortest = dataclasses.replace(run, experiment=experiment.replace(steps=steps))
        fused = make_networks(shortest, group.treatments).fused
        recipe = make_recipe(experiment, fused, group.treatments, data.train["B"].labels)
        factors = None
        if decays:
            decayed = experiment.replace(layerwise_decay=LAYERWISE_DECAY)
            factors = learning_rates(decayed, fused, group.treatments).factors
        trials = []
        with contextlib.suppress(Interrupted):  # While features were computed.
            trials = search_rates(
                fused,
                recipe,
                make_streams(run, group, fused),
                rates,
                [steps, 2 * steps],
                usual=usual,
                searched=searched_variables(experiment, fused),
                decayed=factors,
                stop=lambda: stop.requested,
                on_step=lambda: bar.advance(next(counter)),
            )
    if stop.signalled:
        raise Interrupted("the search for learning rates")
    if len(trials) < len(rates) or not np.isfinite(min(trial.loss for trial in trials)):
        return []
    for treatment in group.treatments:
        if not treatment.fine_tune:
            _save(fused, treatment, workdir)
    return trials


def _fit_heads(run: Run, group: Group) -> None:
    """Leaves the frozen networks with which a group begins in the workdir, their heads fitted."""
    frozen = [treatment.frozen for treatment in group.treatments]
    fused = make_networks(run, frozen).fused
    fit_heads(run, frozen, fused)
    for treatment in frozen:
        _save(fused, treatment, run.workdir)


def _save(fused: keras.Model, treatment: Treatment, workdir: Workdir) -> None:
    path = workdir.network_path(treatment.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as partial:
        surgery.save(surgery.extract(fused, treatment.name), partial)


def searched_variables(
    experiment: Experiment, fused: keras.Model
) -> Callable[[keras.Variable], bool]:
    """Gives what tells of a variable whether its rate is searched.

    Args:
        experiment: whose treatments are all frozen, or all fine-tuned.
        fused: their networks.

    Returns:
        Of networks that are fine-tuned, the variables of transferred units; of others, all.
    """
    tuned = {
        id(variable)
        for treatment in experiment.treatments
        if treatment.fine_tune
        for unit in surgery.fused_units(fused, treatment.name)[
            : experiment.units_at_transferred_rate(treatment)
        ]
        for layer in unit.layers
        for variable in layer.trainable_variables
    }
    return lambda variable: not tuned or id(variable) in tuned


def _describe(what: str, best: Trial, trials: Sequence[Trial], pictures: int) -> str:
    def rate_of(trial: Trial) -> str:
        return f"{trial.rate:g}" + (f" times {LAYERWISE_DECAY:g} a unit" if trial.decayed else "")

    rungs = dict.fromkeys(trial.steps for trial in trials)
    losses = {
        steps: ", ".join(f"{rate_of(t)} {t.loss:.3f}" for t in trials if t.steps == steps)
        for steps in rungs
    }
    after = "; ".join(f"after {steps} steps: {tried}" for steps, tried in losses.items())
    lowest = min((t for t in trials if t.steps == best.steps), key=lambda trial: trial.loss)
    why = "" if best is lowest else ", as usual: none is better by more than the standard error"
    return (
        f"Learning rate of {what}: {rate_of(best)}{why}. Loss of {pictures} training pictures that "
        f"were held back, {after}."
    )
