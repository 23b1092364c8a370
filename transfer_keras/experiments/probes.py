"""Linear probes: what a logistic classifier can read off each unit of a finished network.

Alain and Bengio (2016), "Understanding intermediate layers using linear classifier probes".
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import Interrupted, Treatment
from transfer_keras.datasets import AnyExamples
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.logistic import choose_pictures, fit_logistic
from transfer_keras.networks import pool_features
from transfer_keras.results import Workdir
from transfer_keras.training import PROBE_TAG, Events, Progress, Stop, scalar_summary

_BATCH = 256
_FEATURE_BYTES = 2**30  # Of units whose features are computed in one pass.


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
            run.data.train[treatment.target],
            run.data.test[treatment.target],
            seed=run.experiment.training.seed,
            stop=run.stop,
        )
        after = row.steps + 1  # What a run that was killed here has written counts no more.
        with Events(run.workdir / treatment.name, after) as events:
            points = [
                scalar_summary(f"{unit}/{PROBE_TAG}", value)
                for unit, value in top1.items()
                if value is not None
            ]
            events.write(after, *points)
        run.workdir.write_row(dataclasses.replace(row, probes=top1))


def treatments_without_probes(workdir: Workdir, treatments: Iterable[Treatment]) -> list[Treatment]:
    """Lists the treatments that are done and have no linear probes."""
    done = [treatment for treatment in treatments if workdir.is_done(treatment.name)]
    return [treatment for treatment in done if workdir.row(treatment.name).probes is None]


def probe_accuracies(
    network: keras.Model,
    train: AnyExamples,
    test: AnyExamples,
    *,
    seed: int,
    stop: Stop,
    title: str | None = None,
) -> dict[str, float | None]:
    """Measures the top-1 on the test images that a logistic classifier reaches from each unit.

    Features are averaged where they are large, and standardised. The classifier is scikit-learn's,
    whose problem is convex and which SciPy's L-BFGS solves. Of five penalties that one is taken
    which is best on every fifth training picture of each class after a fit to the others; then it
    is fitted to all.

    Args:
        network: takes what `train` and `test` give; it is not changed.
        train, test: the task's pictures, of which centre crops are taken.
        seed: which 20,000 pictures are fitted to, where there are more.
        stop: looked at after each batch and each fit.
        title: of the progress bar; None: one with the network's name.

    Returns:
        Unit -> top-1; None where a feature is no number.

    Raises:
        Interrupted: if `stop` was requested.
    """
    fitted = choose_pictures(len(train), seed)
    heads = {unit.name: _features_of(unit.output) for unit in surgery.units(network)}
    passes = list(_passes(heads, len(fitted) + len(test)))
    title = title or f"the linear probes of {network.name}"
    top1, steps = {}, itertools.count(1)
    batches = sum(-(-len(part) // _BATCH) for part in (train, test)) * len(passes)
    with Progress(title, batches + len(heads)) as bar:

        def advance() -> None:
            bar.advance(next(steps))
            if stop.requested:
                raise Interrupted(title)

        for names in passes:
            model = keras.Model(network.input, [heads[name] for name in names])
            features, labels = _compute(model, train, fitted, advance)
            others, truth = _compute(model, test, np.arange(len(test)), advance)
            for name, x, z in zip(names, features, others, strict=True):
                top1[name] = _logistic_top1(x, labels, z, truth)
                advance()
    return top1


def _features_of(output: keras.KerasTensor) -> keras.KerasTensor:
    return pool_features(output)(output)


def _passes(heads: dict[str, keras.KerasTensor], pictures: int) -> Iterator[list[str]]:
    """Divides units into those whose features fit the memory together."""
    names, size = [], 0
    for name, features in heads.items():
        more = 4 * features.shape[-1] * pictures
        if names and size + more > _FEATURE_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += more
    yield names


def _compute(
    model: keras.Model, examples: AnyExamples, chosen: np.ndarray, advance
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Computes features of the chosen pictures.

    Args:
        model: images -> the features of some units.
        examples: the pictures.
        chosen: their places, ascending.
        advance: called after each batch.

    Returns:
        For each unit float32 (chosen, features), and the labels.
    """

    @tf.function(reduce_retracing=True)
    def compute(images):
        return tf.nest.flatten(model(tf.cast(images, tf.float32), training=False))

    features, all_labels, first = [], [], 0
    for images, labels in examples.evaluation(batch_size=_BATCH):
        here = chosen[(chosen >= first) & (chosen < first + len(labels))] - first
        if len(here):
            features.append([x.numpy() for x in compute(tf.gather(images, here))])
            all_labels.append(labels.numpy()[here])
        first += len(labels)
        advance()
    together = [np.concatenate(of_unit) for of_unit in zip(*features, strict=True)]
    return together, np.concatenate(all_labels)


def _logistic_top1(
    features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray
) -> float | None:
    """Fits a logistic classifier and measures its top-1 on other pictures; None where a feature is
    no number."""
    fitted = fit_logistic(features, labels, int(labels.max()) + 1)
    if fitted is None or not np.isfinite(test_features).all():
        return None
    return float(np.mean(fitted.predict(test_features) == test_labels))
