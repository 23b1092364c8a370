"""Trains groups on some logical devices of the CPU, and writes all numbers of each to a file.

This is a program of its own, for `test_replicas.py`: devices are chosen once a process. After their
number, each argument is a training on one of them or on all, of words with commas between them:

python tests/support/on_devices.py DEVICES ONE_OR_ALL,FLOAT,FOLDER[,stop=STEP][,more][,…] …

`stop` leaves a checkpoint of that step in the folder, from which another training there goes on;
`more`: with learning rates by variable and a warm-up, class weights and early stopping; `plain`:
BatchNorm has the statistics of each device; `by_keras`: it is computed by Keras's own code.
"""

import contextlib
import functools
import os
import pathlib
import sys
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import Interrupted
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.training import (
    Checkpoints,
    LearningRates,
    Recipe,
    Resume,
    Schedule,
    Stop,
    Streams,
    UnitMetrics,
    step,
    testing,
    train_networks,
)

STEPS, BATCH = 20, 8


def network(normed, synchronized=True):
    """Makes a network of a convolution, two dropouts and a head."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    if normed:
        # Synchronized, its statistics are those of the whole batch, over all devices.
        x = keras.layers.BatchNormalization(synchronized=synchronized, name="norm")(x)
    x = keras.layers.Dropout(0.4)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(16, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


class Recorder:
    """Collects what a monitor gets; requests a stop at a step."""

    def __init__(self, stop, stop_at):
        self.values, self._stop, self._stop_at = {}, stop, stop_at

    def on_log(self, step, scores):
        self.values |= {f"training {step} {name}": value for name, value in scores.items()}
        self._stop.signalled = step == self._stop_at

    def on_unit_metrics(self, step, measurement):
        batches = enumerate(measurement.activations)
        self.values |= {f"activations {step} {number}": value for number, value in batches}
        if measurement.gradient_norms is not None:
            self.values[f"gradients {step}"] = measurement.gradient_norms

    def on_test_end(self, step, scores):
        self.values |= {f"test {step} {name}": value for name, value in scores.items()}


def more_settings(fused):
    """Makes learning rates and class weights: the warm-up freezes the lower fine-tuned layers."""
    names = [v.path.split("--") for v in fused.trainable_variables]
    frozen = [name.endswith("all") and own.startswith(("conv", "norm")) for name, own in names]
    norms = [layer for layer in fused.layers if layer.name.endswith("all--norm")]
    rates = LearningRates([0.5 if slow else 1.5 for slow in frozen], frozen, 5, norms)
    return {"learning_rates": rates, "class_weights": (0.5, 1.0, 2.0)}


@functools.cache
def make_strategy(count: int) -> tf.distribute.Strategy:
    """Makes a strategy over so many devices, all played by the CPU; one a process."""
    if count == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(count)])


def make_networks(more: bool, plain: bool) -> dict[str, keras.Model]:
    """Makes three networks: two that share frozen units, and a fine-tuned one."""
    donor = surgery.transplant(network(more or plain, not plain), 0, seed=9).model
    settings = {"one": (1, "frozen"), "two": (2, "frozen"), "all": (2, "fine_tune")}
    return {
        name: surgery.transplant(donor, n, mode=mode, seed=k, name=name).model
        for k, (name, (n, mode)) in enumerate(settings.items())
    }


def make_streams(strategy: tf.distribute.Strategy) -> Streams:
    """Makes the streams of 53 pictures; the last batch of a test is a short one."""
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(0, high, shape) for high, shape in ((256, (53, 8, 8, 3)), (3, 53))
    )
    examples = Examples(
        images.astype(np.uint8), labels.astype(np.int32), np.arange(53), Preprocessing(6, 8)
    )

    def batches(start, context):
        return examples.training(batch_size=BATCH, seed=3, start=start, context=context)

    def test(context):
        return examples.evaluation(batch_size=10, context=context)

    return Streams(batches, test, strategy)


def train(
    count: int, dtype: str, folder: pathlib.Path, stop_at: int | None, more: bool, plain: bool
) -> None:
    """Trains the group, and writes `numbers.npz` unless it is stopped before its end."""
    strategy = make_strategy(count)
    keras.config.set_floatx(dtype)
    networks = make_networks(more, plain)
    with strategy.scope():
        fused = surgery.fuse(networks)
    streams = make_streams(strategy)
    rate, settings = (0.01, more_settings(fused)) if more else (0.05, {})
    recorder = Recorder(stop := Stop(), stop_at)
    checkpoints = Checkpoints(folder, every=1e9, warn=print)
    try:
        ended = train_networks(
            fused,
            Recipe(STEPS, BATCH, rate, "sgd", "step", 0.01, **settings),
            streams,
            Schedule(
                validate_every=2 if more else 9,
                log_every=4,
                unit_metrics=UnitMetrics(6, [fused.output["all"]], lambda v: v[0], images=20),
                patience=2 if more else None,
            ),
            resume=Resume(checkpoints, checkpoints.latest(), stop),
            monitors=[recorder],
        )
    except Interrupted:
        assert checkpoints.latest()[1]["step"] == stop_at
        return
    numbers = {name: np.asarray(value) for name, value in recorder.values.items()}
    for name, trained in ended.items():
        numbers[f"{name} ended"] = np.array([trained.step, trained.tests[-1][0]])
        for field, values in trained.predictions._asdict().items():
            numbers[f"{name} {field}"] = values
        for k, weight in enumerate(surgery.extract(fused, name).weights):
            numbers[f"{name} weight {k}"] = weight.numpy()
    np.savez(folder / "numbers.npz", **numbers)


def main(devices: int, trainings: list[str]) -> None:
    """Runs all trainings, one after another."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    logical = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
    tf.config.set_logical_device_configuration(cpu, logical)
    for training in trainings:
        where, dtype, folder, *rest = training.split(",")
        stops = [int(word.removeprefix("stop=")) for word in rest if word.startswith("stop=")]
        count = devices if where == "all" else 1
        arguments = (count, dtype, pathlib.Path(folder), *(stops or [None]))
        with contextlib.ExitStack() as stack:
            for module in (step, testing) if "by_keras" in rest else ():
                patch = mock.patch.object(module, "fused_batch_norm", contextlib.nullcontext)
                stack.enter_context(patch)
            train(*arguments, more="more" in rest, plain="plain" in rest)
        keras.utils.clear_session()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
