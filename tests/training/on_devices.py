"""Trains a group on some logical devices of the CPU, and leaves all numbers in a file.

A program of its own, for `test_replicas.py`: devices are chosen once a process.

python tests/training/on_devices.py DEVICES FLOAT FOLDER [STOP_AT] [more]

`more`: with rates and a warm-up, class weights and early stopping.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import Interrupted
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.training import loop
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.learning_rates import Rates
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.signals import Stop
from transfer_keras.training.unit_metrics import Watch

STEPS, BATCH = 20, 8


def network(normed):
    """Convolution, dropout twice, a head."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    if normed:  # Over all devices.
        x = keras.layers.BatchNormalization(synchronized=True, name="norm")(x)
    x = keras.layers.Dropout(0.4)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(16, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


class Recorder:
    """Keeps what a monitor is told."""

    def __init__(self, stop, stop_at):
        self.told, self._stop, self._at = {}, stop, stop_at

    def begin(self, step): ...

    def training(self, step, scores):
        self.told |= {f"training {step} {name}": value for name, value in scores.items()}
        self._stop.signalled = step == self._at

    def look(self, step, look):
        self.told |= {f"activations {step} {k}": v for k, v in enumerate(look.activations)}
        if look.gradients is not None:
            self.told[f"gradients {step}"] = look.gradients

    def validation(self, step, scores):
        self.told |= {f"test {step} {name}": value for name, value in scores.items()}

    def end(self, step, trained): ...


def more_of(fused):
    """Rates and class weights for the recipe: the fine-tuned network's lower half waits."""
    names = [v.path.split("--") for v in fused.trainable_variables]
    late = [name.endswith("all") and own.startswith(("conv", "norm")) for name, own in names]
    still = [layer for layer in fused.layers if layer.name.endswith("all--norm")]
    rates = Rates([0.5 if waits else 1.5 for waits in late], late, 5, still)
    return {"rates": rates, "class_weights": (0.5, 1.0, 2.0)}


def main(count: int, dtype: str, folder: pathlib.Path, stop_at: int | None, more: bool) -> None:
    """Three networks: two that share frozen units, and a fine-tuned one."""
    if count > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(cpu, parts)
        strategy = tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(count)])
    else:
        strategy = tf.distribute.get_strategy()
    keras.config.set_floatx(dtype)
    donor = surgery.transplant(network(more), 0, seed=9).model
    wanted = {"one": (1, "frozen"), "two": (2, "frozen"), "all": (2, "fine_tune")}
    networks = {
        name: surgery.transplant(donor, n, mode=mode, seed=k, name=name).model
        for k, (name, (n, mode)) in enumerate(wanted.items())
    }
    with strategy.scope():
        fused = surgery.fuse(networks)
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(0, high, shape) for high, shape in ((256, (53, 8, 8, 3)), (3, 53))
    )
    examples = Examples(
        images.astype(np.uint8), labels.astype(np.int32), np.arange(53), Preprocessing(6, 8)
    )
    rate, given = (0.01, more_of(fused)) if more else (0.05, {})
    stop = Stop()
    recorder = Recorder(stop, stop_at)
    checkpoints = Checkpoints(folder, every=1e9, warn=print)
    try:
        ended = loop.train(
            fused,
            lambda start, context: examples.training(
                batch_size=BATCH, seed=3, start=start, context=context
            ),
            lambda context: examples.evaluation(
                batch_size=10, context=context
            ),  # 53: a short last one.
            recipe=Recipe(STEPS, BATCH, rate, "sgd", "step", 0.01, **given),
            strategy=strategy,
            validate_every=2 if more else 9,
            log_every=4,
            watch=Watch(6, [fused.output["all"]], lambda values: values[0], images=20),
            monitors=[recorder],
            checkpoints=checkpoints,
            saved=checkpoints.latest(),
            stop=stop,
            patience=2 if more else None,
        )
    except Interrupted:
        return
    found = {name: np.asarray(value) for name, value in recorder.told.items()}
    for name, trained in ended.items():
        found[f"{name} ended"] = np.array([trained.step, trained.tests[-1][0]])
        for what, values in trained.predictions._asdict().items():
            found[f"{name} {what}"] = values
        for k, weight in enumerate(surgery.extract(fused, name).weights):
            found[f"{name} weight {k}"] = weight.numpy()
    np.savez(folder / "found.npz", **found)


if __name__ == "__main__":
    *given, more = sys.argv[1:] if sys.argv[-1] == "more" else [*sys.argv[1:], ""]
    stop_at = int(given[3]) if len(given) > 3 else None
    main(int(given[0]), given[1], pathlib.Path(given[2]), stop_at, bool(more))
