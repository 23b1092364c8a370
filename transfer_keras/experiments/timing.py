"""Training times: measured on one network, estimated for others."""

import os
import tempfile
import time
from collections.abc import Sequence

import keras

from transfer_keras.config import Experiment, Interrupted, choices
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir
from transfer_keras.training import Stopwatch, TrainingTimes


def time_training(experiment: Experiment, steps: int) -> tuple[float, Sequence[TrainingTimes]]:
    """Trains an experiment for a few steps, in a folder that is removed.

    Args:
        experiment: what is trained.
        steps: of each network.

    Returns:
        Seconds of all of it, and the times of each of its groups.
    """
    strategy = experiment.execution.strategy
    short = shorten(experiment, steps).replace(
        probes=False,
        early_stopping=None,
        early_stopping_split=None,
        strategy="one" if choices.TF_CONFIG in os.environ else strategy,  # Others measure too.
    )
    stopwatch, begun = Stopwatch(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(f"{folder}/measured")
        try:
            run_experiment(short, workdir, log=lambda line: None, monitors=[stopwatch])
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
        learning_rate_warm_up=0,
        fit_head=False,
    )


def count_test_passes(experiment: Experiment) -> int:
    """Counts how often a group goes over the test images after its first step; tests and
    measurements of units share a pass."""
    training = experiment.training
    every = filter(None, (training.validate_every, experiment.execution.metrics_every))
    at = {step for k in every for step in range(k, training.steps, k)}
    return len(at | {training.steps})
