"""Training times: measured on one network, estimated for others."""

import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras

from transfer_keras.config import Experiment, Interrupted, Treatment, choices, parse_treatment
from transfer_keras.experiments.data import TaskData
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir
from transfer_keras.training import Stopwatch, TrainingTimes

_FEW_STEPS = 4  # Of a measurement where every second counts.
_GROUPS, _TRACED = 2, 0.2  # Overheads: of two groups, and a part of one for each network.
_FORWARD = 1 / 3  # Part of a step's time that the forward pass takes; the backward one twice that.


class TrainingCost(NamedTuple):
    """The seconds that it takes to train a network of which nothing is frozen.

    Attributes:
        overhead: what comes on top of steps and tests.
        step: one step.
        test: one pass over the test images.
    """

    overhead: float
    step: float
    test: float

    def seconds(self, experiment: Experiment) -> float:
        """Estimates what all networks of an experiment take, by their multiplications; what groups
        share is not counted."""
        treatments = experiment.all_treatments
        steps = sum(_cost_of_step(experiment, t) for t in treatments) * experiment.training.steps
        overhead = (_GROUPS + _TRACED * len(treatments)) * self.overhead
        tests = len(treatments) * count_test_passes(experiment) * self.test
        return overhead + tests + steps * self.step

    def steps_within(self, experiment: Experiment, seconds: float) -> int:
        """Estimates how many steps the networks of an experiment can have in a time."""
        treatments = experiment.all_treatments
        fixed = self.seconds(experiment.replace(steps=1, warm_up_head=0))
        fixed += len(treatments) * (count_test_passes(experiment) - 1) * self.test
        cost = sum(_cost_of_step(experiment, treatment) for treatment in treatments)
        return max(0, int((seconds - fixed) / (cost * self.step)))


def _cost_of_step(experiment: Experiment, treatment: Treatment) -> float:
    """Estimates the time of a step of a treatment, as a part of that of a base."""
    if not treatment.frozen_units:
        return 1.0
    sizes = experiment.architecture.sizes(experiment.image_size, 1)
    macs = [size.macs for size in sizes]
    return _FORWARD + (1 - _FORWARD) * sum(macs[treatment.frozen_units :]) / sum(macs)


def time_base(experiment: Experiment, data: TaskData | None = None) -> TrainingCost:
    """Measures a short training of baseB, in a folder that is removed.

    Args:
        experiment: whose network and data it has.
        data: see `run_experiment`.
    """
    base = experiment.replace(treatments=(parse_treatment("baseB"),))
    seconds, (times,) = time_training(base, _FEW_STEPS, data)
    return TrainingCost(seconds, times.step_seconds, times.test_seconds)


def time_training(
    experiment: Experiment, steps: int, data: TaskData | None = None
) -> tuple[float, Sequence[TrainingTimes]]:
    """Trains an experiment for a few steps, in a folder that is removed.

    Args:
        experiment: what is trained.
        steps: of each network.
        data: see `run_experiment`.

    Returns:
        Seconds of all of it, and the times of each of its groups.
    """
    strategy = experiment.execution.strategy
    short = shorten(experiment, steps).replace(
        probes=False,
        early_stopping=None,
        strategy="one" if choices.TF_CONFIG in os.environ else strategy,  # Others measure too.
    )
    stopwatch, begun = Stopwatch(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(f"{folder}/measured")
        try:
            run_experiment(short, workdir, data=data, log=lambda line: None, monitors=[stopwatch])
        except Interrupted:  # There is nothing to go on from.
            raise KeyboardInterrupt from None
    keras.utils.clear_session()
    return time.monotonic() - begun, stopwatch.trainings


def shorten(experiment: Experiment, steps: int) -> Experiment:
    """Makes an experiment of a few steps, tested and measured twice at the most."""
    return experiment.replace(
        steps=steps,
        validations=2,
        metrics_every=experiment.execution.metrics_every and steps // 2,
        warm_up_head=0,
    )


def estimate_by_similar(seconds: Mapping[str, float], treatments: Iterable[Treatment]) -> float:
    """Estimates what treatments will take from what others took.

    Each is taken to last as the one of its kind with the nearest n did, or as any where there is
    none of its kind.

    Args:
        seconds: name of a treatment -> seconds that it took.
        treatments: what is asked for.
    """
    measured = {parse_treatment(name): taken for name, taken in seconds.items()}

    def estimate(treatment: Treatment) -> float:
        similar = [known for known in measured if known.role == treatment.role] or measured
        return measured[min(similar, key=lambda known: abs(known.n - treatment.n))]

    return sum(map(estimate, treatments))


def count_test_passes(experiment: Experiment) -> int:
    """Counts how often a group goes over the test images after its first step; tests and
    measurements of units share a pass."""
    training = experiment.training
    every = filter(None, (training.validate_every, experiment.execution.metrics_every))
    at = {step for k in every for step in range(k, training.steps, k)}
    return len(at | {training.steps})
