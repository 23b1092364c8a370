"""How long networks take to train: measured on one, reckoned for others."""

import dataclasses
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras

from transfer_keras.config import TF_CONFIG, Experiment, Interrupted, Treatment, parse_treatment
from transfer_keras.experiments.run import run_experiment
from transfer_keras.training import Lap, Stopwatch

_FEW = 4  # Steps of a measurement where every second counts.
_GROUPS, _TRACED = 2, 0.2  # What comes once: of two groups, and a part of it for each network.
_FORWARD = 1 / 3  # Part of a step's time that the forward pass takes; the backward one twice that.


class Pace(NamedTuple):
    """Of a network of which all is trained, in seconds.

    Attributes:
        once: what comes on top of steps and tests.
        step: of a step.
        test: of a pass over the test images.
    """

    once: float
    step: float
    test: float

    def seconds(self, experiment: Experiment) -> float:
        """What all networks of an experiment take, by their multiplications; what groups share is
        not counted."""
        steps = sum(_part(experiment, t) for t in experiment.wanted) * experiment.steps
        networks = len(experiment.wanted)
        once = (_GROUPS + _TRACED * networks) * self.once
        return once + networks * test_passes(experiment) * self.test + steps * self.step

    def steps_within(self, experiment: Experiment, seconds: float) -> int:
        """How many steps its networks can have."""
        fixed = self.seconds(dataclasses.replace(experiment, steps=1, warm_up_head=0))
        fixed += len(experiment.wanted) * (test_passes(experiment) - 1) * self.test
        parts = sum(_part(experiment, t) for t in experiment.wanted)
        return max(0, int((seconds - fixed) / (parts * self.step)))


def _part(experiment: Experiment, treatment: Treatment) -> float:
    """Its time for a step, against that of a base."""
    if treatment.mode in ("base", "fine_tune"):
        return 1.0
    sizes = experiment.architecture.sizes(experiment.image_size, 1)
    macs = [size.macs for size in sizes]
    return _FORWARD + (1 - _FORWARD) * sum(macs[treatment.n :]) / sum(macs)


def time_base(experiment: Experiment) -> Pace:
    """Measured by a short training of baseB, in a folder that is removed."""
    base = dataclasses.replace(experiment, treatments=(parse_treatment("baseB"),))
    once, (lap,) = time_training(base, _FEW)
    return Pace(once, lap.step, lap.test)


def time_training(experiment: Experiment, steps: int) -> tuple[float, Sequence[Lap]]:
    """Trains an experiment for a few steps, in a folder that is removed.

    Returns:
        Seconds of all of it, and the laps of its groups.
    """
    short = dataclasses.replace(
        experiment,
        steps=steps,
        validations=2,
        metrics_every=experiment.metrics_every and steps // 2,
        probes=False,
        warm_up_head=0,
        early_stopping=None,
        strategy="one" if TF_CONFIG in os.environ else experiment.strategy,  # Others measure too.
    )
    watch, begun = Stopwatch(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_experiment(
                short, pathlib.Path(folder) / "measured", say=lambda _: None, monitors=[watch]
            )
        except Interrupted:  # There is nothing to go on from.
            raise KeyboardInterrupt from None
    keras.utils.clear_session()
    return time.monotonic() - begun, watch.laps


def estimate_like(each: Mapping[str, float], treatments: Iterable[Treatment]) -> float:
    """What treatments will take, each as the one of its kind with the nearest n did, or of any
    where there is none of its kind.

    Args:
        each: name of a treatment -> seconds that it took.
        treatments: what is asked for.
    """
    done = {parse_treatment(name): seconds for name, seconds in each.items()}

    def seconds(treatment):
        kin = [other for other in done if other.role == treatment.role] or done
        return done[min(kin, key=lambda other: abs(other.n - treatment.n))]

    return sum(map(seconds, treatments))


def test_passes(experiment: Experiment) -> int:
    """How often a group goes over the test images after its first step: tests and looks share."""
    every = filter(None, (experiment.validate_every, experiment.metrics_every))
    at = {step for k in every for step in range(k, experiment.steps, k)}
    return len(at | {experiment.steps})
