"""Linear probes: what a logistic classifier can read off each unit of a finished network.

Alain and Bengio (2016), "Understanding intermediate layers using linear classifier probes".
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import results, surgery
from transfer_keras.config import Experiment, Interrupted, Treatment
from transfer_keras.datasets import AnyExamples
from transfer_keras.experiments.data import Data
from transfer_keras.experiments.group_networks import mean_image, trained_network
from transfer_keras.training import Events, Progress, Stop, layout, scalar

_BATCH = 256
_EPOCHS = 10
_LEARNING_RATE = 1e-2
_MOST_FEATURES = 4096


class _Probes(keras.Model):
    """Images -> {unit: logits}: a frozen network in inference mode, a classifier on each unit."""

    def __init__(self, network: keras.Model, classes: int):
        super().__init__(name="probes")
        units = surgery.units(network)
        self.unit_names = tuple(unit.name for unit in units)
        self._network = keras.Model(network.input, [unit.output for unit in units])
        surgery.set_trainable([self._network], False)
        self._heads = [_head(unit.output, classes) for unit in units]

    def call(self, images, training=None):
        values = self._network(images, training=False)
        logits = [head(x, training=training) for head, x in zip(self._heads, values, strict=True)]
        return dict(zip(self.unit_names, logits, strict=True))


def _head(output: keras.KerasTensor, classes: int) -> keras.Sequential:
    """Logistic regression on a unit's output, standardised; feature maps are averaged to fewer
    positions where there are many. It begins at zero, and its problem is convex."""
    layers = []
    if len(output.shape) == 4:
        _, height, width, channels = output.shape
        side = max(1, math.isqrt(_MOST_FEATURES // channels))
        if side < max(height, width):
            size = (min(side, height), min(side, width))
            layers.append(keras.layers.AdaptiveAveragePooling2D(size))
    layers += [
        keras.layers.Flatten(),
        keras.layers.BatchNormalization(center=False, scale=False, momentum=0.9),
        keras.layers.Dense(classes, kernel_initializer="zeros"),
    ]
    return keras.Sequential(layers)


def train_probes(
    experiment: Experiment,
    workdir: pathlib.Path,
    data: Data,
    treatments: Iterable[Treatment],
    *,
    stop: Stop,
) -> None:
    """Trains the probes of finished networks and writes their accuracies into row and run.

    Args:
        experiment: what they belong to.
        workdir: where they are.
        data: of the tasks.
        treatments: those that have no probes yet.
        stop: looked at after each step.

    Raises:
        Interrupted: if `stop` was requested; the networks before this one have theirs.
        UserError: if the file of a network is damaged.
    """
    for treatment in treatments:
        network = trained_network(experiment, workdir, data, treatment)
        train, test = data.train[treatment.target], data.test[treatment.target]
        row = results.read_row(workdir, treatment.name)
        mean = mean_image(experiment, workdir, data, [treatment])
        top1 = probe_accuracies(
            network, row.classes, train, test, seed=experiment.seed, mean=mean, stop=stop
        )
        after = row.steps + 1  # What a run that was killed here has written counts no more.
        with Events(workdir / treatment.name, after) as tensorboard:
            points = [scalar(f"{unit}/{layout.PROBE}", value) for unit, value in top1.items()]
            tensorboard.write(after, *points)
        results.write_row(workdir, dataclasses.replace(row, probes=top1))


def probe_accuracies(
    network: keras.Model,
    classes: int,
    train: AnyExamples,
    test: AnyExamples,
    *,
    seed: int,
    mean: np.ndarray | None,
    stop: Stop,
) -> dict[str, float]:
    """Top-1 on the test images that a logistic classifier reaches from each unit's output.

    Args:
        network: takes what `train` and `test` give; it is not changed.
        classes: of the task.
        train, test: the task's pictures; the classifiers see ten epochs of `train`.
        seed: of the order of the pictures.
        mean: see `Preprocessing.training`.
        stop: looked at after each step.

    Raises:
        Interrupted: if `stop` was requested.
    """
    batch = min(_BATCH, len(train))
    steps = max(1, _EPOCHS * len(train) // batch)
    model = _Probes(network, classes)
    units = model.unit_names
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)),
        loss={unit: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for unit in units},
        metrics={unit: ["accuracy"] for unit in units},
        jit_compile=False,  # Slower on a CPU.
    )

    def labelled(images, labels):
        return tf.cast(images, tf.float32), dict.fromkeys(units, labels)

    def look(step, logs):
        bar.advance(step + 1)
        if stop.requested:
            raise Interrupted(title)

    title = f"the linear probes of {network.name}"
    with Progress(title, steps) as bar:
        model.fit(
            train.training(batch_size=batch, seed=seed, mean=mean).map(labelled),
            steps_per_epoch=steps,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=look)],
            shuffle=False,  # The stream is shuffled.
            verbose=0,
        )
    examples = test.evaluation(batch_size=_BATCH).map(labelled)
    found = model.evaluate(examples, verbose=0, return_dict=True)
    return {unit: found[f"{unit}_accuracy"] for unit in units}
