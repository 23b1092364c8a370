"""Estimates how well the lower units of a donor transfer to a task, before any training.

Two scores of each unit's features of some labelled pictures: LogME, how well a linear model gives
the classes (`logme.logme`), and CKA with the labels, how far the pictures lie by class already
(`training.linear_cka`). Neither knows what the units above would learn; `compare_with_results`
holds them against what a study found.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from transfer_keras.advice import logme
from transfer_keras.config import align_columns
from transfer_keras.networks import pool_features
from transfer_keras.training import centred_gram, linear_cka

MOST_PICTURES = 1000  # The time of LogME grows with their square, CKA's memory too.
_MOST_FEATURES = 1024
FEWEST = 4  # Pictures: below, CKA's estimator is not defined.
_FEWEST_TRIED = 3  # Two are always in order or in reverse.


class Score(NamedTuple):
    """What a unit's features say of the labels; higher is better.

    Attributes:
        unit: its name.
        n: how many units are transferred if this is the last of them.
        logme: see `logme.logme`; NaN where a feature is no number.
        cka: 0 to 1, debiased; NaN also where the unit answers the same to all pictures.
    """

    unit: str
    n: int
    logme: float
    cka: float


class Agreement(NamedTuple):
    """Spearman's rank correlations of scores with what frozen transfer reached.

    Attributes:
        n: those that were compared, in order.
        logme, cka: -1 to 1; None where the measure is constant over them, or no number.
    """

    n: tuple[int, ...]
    logme: float | None
    cka: float | None


def estimate_transferability(
    model: keras.Model,
    cuts: Sequence[tuple[str, keras.KerasTensor]],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch_size: int = 32,
    most_pictures: int = MOST_PICTURES,
) -> list[Score]:
    """Runs the network once, in inference mode, and measures each unit's features.

    Feature maps are averaged to so few positions that at most 1,024 features remain, or one where
    there are more channels or the model leaves the size open; tokens are averaged over all.

    Args:
        model: functional, of one input, that takes such pictures in float32; it is not changed.
        cuts: (name, output) of units of the model, each output (None, ..., channels), from the
            input up: n counts them from 1.
        images: uint8 or float32 (examples, height, width, channels).
        labels: int (examples,), of at least two classes.
        batch_size: pictures that are run at once.
        most_pictures: of more pictures, as many are drawn, always the same.

    Raises:
        ValueError: if the two differ in length, there are fewer than 4 pictures, or all those
            drawn have the same label.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.shape != images.shape[:1] or len(labels) < FEWEST:
        raise ValueError(
            f"Expected at least {FEWEST} pictures and a label for each. "
            f"Received: shapes {images.shape} and {labels.shape}"
        )
    if len(images) > most_pictures:
        drawn = np.random.default_rng(0).choice(len(images), most_pictures, replace=False)
        images, labels = images[drawn], labels[drawn]
    if len(np.unique(labels)) < 2:
        raise ValueError(f"Expected labels of two classes or more. Received: {np.unique(labels)}")
    values = _features(model, [output for _, output in cuts], images, batch_size)
    classes = _gram(logme.one_hot(labels))
    return [
        Score(name, n, logme.logme(x, labels), linear_cka([_gram(x)], [classes]))
        for n, ((name, _), x) in enumerate(zip(cuts, values, strict=True), 1)
    ]


def _features(
    model: keras.Model, outputs: Sequence[keras.KerasTensor], images: np.ndarray, batch_size: int
) -> list[np.ndarray]:
    """Runs a network and gives float32 (examples, features) of each output."""
    network = keras.Model(model.input, list(outputs))
    pools = [pool_features(output, _MOST_FEATURES) for output in outputs]

    @tf.function(input_signature=[tf.TensorSpec((None, *images.shape[1:]), images.dtype)])
    def run(batch):
        values = keras.tree.flatten(network(tf.cast(batch, tf.float32), training=False))
        return [pool(value) for pool, value in zip(pools, values, strict=True)]

    batches = [
        [values.numpy() for values in run(images[start : start + batch_size])]
        for start in range(0, len(images), batch_size)
    ]
    return [np.concatenate(batch) for batch in zip(*batches, strict=True)]


def _gram(features: np.ndarray) -> np.ndarray:
    """Computes what CKA compares, of features so scaled that float32 holds their squares."""
    return centred_gram(tf.constant(logme.centred(features), tf.float32)).numpy()


def compare_with_results(scores: Sequence[Score], reached: Mapping[int, float]) -> Agreement | None:
    """Measures how well scores order what frozen transfer reached.

    Args:
        scores: of one donor on one task.
        reached: n -> top-1 with n units transferred and frozen; n without a score count for
            nothing.

    Returns:
        None where fewer than three n were tried, or all reached the same.
    """
    tried = [score for score in scores if score.n in reached]
    top1 = [reached[score.n] for score in tried]
    if len(tried) < _FEWEST_TRIED or len(set(top1)) == 1:
        return None

    def correlation(values):
        if np.isnan(values).any() or len(set(values)) == 1:
            return None
        return float(stats.spearmanr(values, top1).statistic)

    return Agreement(
        tuple(score.n for score in tried),
        correlation([score.logme for score in tried]),
        correlation([score.cka for score in tried]),
    )


def describe(
    scores: Sequence[Score], *, pictures: int, reached: Mapping[int, float] | None = None
) -> str:
    """Draws a table for people, a line a unit, and says what it is and is not.

    Args:
        scores: of one donor on one task.
        pictures: how many there were; `MOST_PICTURES` of them count.
        reached: as for `compare_with_results`, once a study has been done.
    """
    reached = reached or {}
    lines = [("n", "unit", "LogME", "CKA", *(["top-1 frozen"] if reached else []))]
    for unit, n, evidence, similarity in scores:
        line = (f"{n}", unit, f"{evidence: .3f}", f"{similarity:.3f}")
        if reached:
            line += (f"{reached[n]:.3f}" if n in reached else "",)
        lines.append(line)
    note = (
        f"These are estimates, from the donor's features of {min(pictures, MOST_PICTURES):,} "
        "pictures, without training; higher is better."
    )
    agreement = compare_with_results(scores, reached)
    if agreement is not None:
        tried = ", ".join(map(str, agreement.n))
        note += (
            f"\nrank correlation with what frozen transfer reached at n = {tried}: "
            f"LogME {_signed(agreement.logme)}, CKA {_signed(agreement.cka)}"
        )
    return f"{align_columns(lines)}\n{note}"


def _signed(correlation: float | None) -> str:
    return "none" if correlation is None else f"{correlation:+.2f}"
