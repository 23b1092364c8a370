"""Linear probes: what a logistic classifier can read off each unit of a finished network.

Alain and Bengio (2016), "Understanding intermediate layers using linear classifier probes".
"""

import dataclasses
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import Interrupted, Treatment
from transfer_keras.datasets import AnyExamples
from transfer_keras.experiments.context import Run
from transfer_keras.networks import pool_features
from transfer_keras.results import Workdir
from transfer_keras.training import PROBE_TAG, Events, Progress, Stop, scalar_summary

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
    """Makes a logistic regression on a unit's output, averaged where it is large, and standardised.

    It begins at zero, and its problem is convex.
    """
    return keras.Sequential(
        [
            pool_features(output, _MOST_FEATURES),
            keras.layers.BatchNormalization(center=False, scale=False, momentum=0.9),
            keras.layers.Dense(classes, kernel_initializer="zeros"),
        ]
    )


def train_probes(run: Run, treatments: Iterable[Treatment]) -> None:
    """Trains the probes of finished networks and writes their accuracies into row and TensorBoard.

    Args:
        run: what they belong to.
        treatments: those that have no probes yet.

    Raises:
        Interrupted: if a stop was requested; the networks before this one have theirs.
        UserError: if the file of a network is damaged.
    """
    for treatment in treatments:
        row = run.workdir.row(treatment.name)
        top1 = probe_accuracies(
            run.source.finished(treatment),
            row.classes,
            run.data.train[treatment.target],
            run.data.test[treatment.target],
            seed=run.experiment.training.seed,
            mean=run.source.mean_image([treatment]),
            stop=run.stop,
        )
        after = row.steps + 1  # What a run that was killed here has written counts no more.
        with Events(run.workdir / treatment.name, after) as events:
            points = [scalar_summary(f"{unit}/{PROBE_TAG}", value) for unit, value in top1.items()]
            events.write(after, *points)
        run.workdir.write_row(dataclasses.replace(row, probes=top1))


def treatments_without_probes(workdir: Workdir, treatments: Iterable[Treatment]) -> list[Treatment]:
    """Lists the treatments that are done and have no linear probes."""
    done = [treatment for treatment in treatments if workdir.is_done(treatment.name)]
    return [treatment for treatment in done if workdir.row(treatment.name).probes is None]


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
    """Measures the top-1 on the test images that a logistic classifier reaches from each unit.

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

    def show(step, logs):
        bar.advance(step + 1)
        if stop.requested:
            raise Interrupted(title)

    title = f"the linear probes of {network.name}"
    with Progress(title, steps) as bar:
        model.fit(
            train.training(batch_size=batch, seed=seed, mean=mean).map(labelled),
            steps_per_epoch=steps,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=show)],
            shuffle=False,  # The stream is shuffled.
            verbose=0,
        )
    examples = test.evaluation(batch_size=_BATCH).map(labelled)
    metrics = model.evaluate(examples, verbose=0, return_dict=True)
    return {unit: metrics[f"{unit}_accuracy"] for unit in units}
