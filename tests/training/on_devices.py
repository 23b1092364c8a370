"""Trains a group on some logical devices of the CPU, and leaves all numbers in a file.

A program of its own, for `test_replicas.py`: devices are chosen once a process.

python tests/training/on_devices.py DEVICES FLOAT FOLDER [STOP_AT]
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
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.training import loop
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.interruption import Interrupted, Stop
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.watch import Watch

STEPS, BATCH = 20, 8


def network():
    """Convolution, dropout twice, a head."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
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
        self._stop.requested = step == self._at

    def look(self, step, look):
        self.told |= {f"activations {step} {k}": v for k, v in enumerate(look.activations)}
        if look.gradients is not None:
            self.told[f"gradients {step}"] = look.gradients

    def validation(self, step, scores):
        self.told |= {f"test {step} {name}": value for name, value in scores.items()}

    def end(self, step, trained): ...


def main(count: int, dtype: str, folder: pathlib.Path, stop_at: int | None) -> None:
    """Three networks: two that share frozen units, and a fine-tuned one."""
    if count > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(cpu, parts)
        strategy = tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(count)])
    else:
        strategy = tf.distribute.get_strategy()
    keras.config.set_floatx(dtype)
    donor = surgery.transplant(network(), 0, seed=9).model
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
    stop = Stop()
    recorder = Recorder(stop, stop_at)
    checkpoints = Checkpoints(folder, every=1e9, warn=print)
    try:
        ended = loop.train(
            fused,
            lambda start, part: examples.training(batch_size=BATCH, seed=3, start=start, part=part),
            lambda part: examples.evaluation(batch_size=10, part=part),  # 53: a short last one.
            recipe=Recipe(STEPS, BATCH, 0.05, "sgd", "step", weight_decay=0.01),
            strategy=strategy,
            validate_every=9,
            log_every=4,
            watch=Watch(6, [fused.output["all"]], lambda values: values[0], images=20),
            monitors=[recorder],
            checkpoints=checkpoints,
            saved=checkpoints.latest(),
            stop=stop,
        )
    except Interrupted:
        return
    found = {name: np.asarray(value) for name, value in recorder.told.items()}
    for name, trained in ended.items():
        for what, values in trained.predictions._asdict().items():
            found[f"{name} {what}"] = values
        for k, weight in enumerate(surgery.extract(fused, name).weights):
            found[f"{name} weight {k}"] = weight.numpy()
    np.savez(folder / "found.npz", **found)


if __name__ == "__main__":
    stop_at = int(sys.argv[4]) if len(sys.argv) > 4 else None
    main(int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]), stop_at)
