"""Estimates how well the lower units of a donor transfer to a task, before any training.

Scores of each unit's features of some labelled pictures: the top-1 of a linear classifier and of
nearest neighbours on other pictures (`classifiers`), LogME, how well a linear model gives the
classes (`logme.logme`), and CKA with the labels, how far the pictures lie by class already
(`training.linear_cka`). None knows what the units above would learn; `compare_with_results` holds
them against what a study found.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from transfer_keras.advice import logme
from transfer_keras.advice.classifiers import linear_top1, logistic_log_loss, neighbours_top1
from transfer_keras.config import align_columns
from transfer_keras.networks import pool_features
from transfer_keras.results import TOP1
from transfer_keras.training import centred_gram, linear_cka

FEWEST = 4  # Pictures: below, CKA's estimator is not defined.
# Fields of `Score` -> how they are named for people.
_ESTIMATES = {"linear": "linear", "neighbours": "neighbours", "logme": "LogME", "cka": "CKA"}
_COMPARED = 8  # Units whose log loss is computed: those with the best linear classifiers.
_FEWEST_TRIED = 3  # Two are always in order or in reverse.


class Score(NamedTuple):
    """What a unit's features say of the labels; higher is better, but of the log loss.

    Attributes:
        unit: its name.
        n: how many units are transferred if this is the last of them.
        linear: see `linear_top1`; NaN where a feature is no number.
        neighbours: see `neighbours_top1`; NaN where a feature is no number.
        logme: see `logme.logme`; NaN where a feature is no number.
        cka: 0 to 1, debiased; NaN also where the unit answers the same to all pictures.
        log_loss: see `logistic_log_loss`; NaN where it was not computed.
    """

    unit: str
    n: int
    linear: float
    neighbours: float
    logme: float
    cka: float
    log_loss: float = float("nan")


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation, and its two-sided p-value by permutation."""

    value: float
    p_value: float


class Agreement(NamedTuple):
    """How well scores order what frozen transfer reached.

    Attributes:
        n: those that were compared, in order.
        correlations: of each estimate, by its field of `Score`; None where it is constant over
            them, or no number.
    """

    n: tuple[int, ...]
    correlations: Mapping[str, RankCorrelation | None]


def compute_features(
    model: keras.Model,
    outputs: Sequence[keras.KerasTensor],
    images: np.ndarray,
    *,
    batch_size: int = 32,
    is_enough: Callable[[int], bool] = lambda pictures: False,
) -> list[np.ndarray]:
    """Runs the network once, in inference mode.

    Feature maps are averaged to so few positions that at most 1,024 features remain, or one where
    there are more channels or the model leaves the size open; tokens are averaged over all.

    Args:
        model: functional, of one input, that takes such pictures in float32; it is not changed.
        outputs: of units of the model, each (None, ..., channels).
        images: uint8 or float32 (pictures, height, width, channels).
        batch_size: pictures that are run at once.
        is_enough: called after each batch with the number of its pictures, and tells whether the
            others are left out.

    Returns:
        float32 (pictures, features) of each output.
    """
    network = keras.Model(model.input, list(outputs))
    pools = [pool_features(output) for output in outputs]

    @tf.function(input_signature=[tf.TensorSpec((None, *images.shape[1:]), images.dtype)])
    def run(batch):
        values = keras.tree.flatten(network(tf.cast(batch, tf.float32), training=False))
        return [pool(value) for pool, value in zip(pools, values, strict=True)]

    batches = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        batches.append([values.numpy() for values in run(batch)])
        if is_enough(len(batch)):
            break
    return [np.concatenate(batch) for batch in zip(*batches, strict=True)]


def score_features(
    names: Sequence[str],
    train: tuple[Sequence[np.ndarray], np.ndarray],
    test: tuple[Sequence[np.ndarray], np.ndarray],
    measure: str = TOP1,
    *,
    cuts: Sequence[int] = (),
) -> list[Score]:
    """Measures how much each unit's features say of the labels.

    The time of LogME grows with the square of the number of pictures, the memory of CKA too.

    Args:
        names: of the units, from the input up: n counts them from 1.
        train: of each unit float (pictures, features), and labels, int (pictures,).
        test: the same of other pictures, on which classifiers are tested besides.
        measure: of the classifiers; see `results.measure_accuracy`.
        cuts: n at which a linear classifier may take the place of what is above; of the eight with
            the best ones the log loss is computed too.

    Raises:
        ValueError: if there are fewer than 4 pictures to train, or all of them have the same label.
    """
    (features, labels), (test_features, test_labels) = train, test
    if len(labels) < FEWEST or len(np.unique(labels)) < 2:
        raise ValueError(
            f"Expected at least {FEWEST} pictures, of two classes or more. "
            f"Received: {len(labels)}, of {np.unique(labels)}"
        )
    classes = _gram(logme.one_hot(labels))
    scores = [
        Score(
            unit=name,
            n=n,
            linear=linear_top1(x, labels, others, test_labels, measure),
            neighbours=neighbours_top1(x, labels, others, test_labels, measure),
            logme=logme.logme(x, labels),
            cka=linear_cka([_gram(x)], [classes]),
        )
        for n, (name, x, others) in enumerate(zip(names, features, test_features, strict=True), 1)
    ]
    best = sorted((score for score in scores if score.n in cuts), key=lambda score: -score.linear)
    every = np.concatenate([labels, test_labels])
    for score in best[:_COMPARED]:
        k = score.n - 1
        both = np.concatenate([features[k], test_features[k]])
        scores[k] = score._replace(log_loss=logistic_log_loss(both, every, measure))
    return scores


def _gram(features: np.ndarray) -> np.ndarray:
    """Computes what CKA compares, of features so scaled that their squares are finite."""
    return centred_gram(tf.constant(logme.centred(features))).numpy()


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

    return Agreement(
        tuple(score.n for score in tried),
        {name: _correlate([getattr(score, name) for score in tried], top1) for name in _ESTIMATES},
    )


def _correlate(values: Sequence[float], top1: Sequence[float]) -> RankCorrelation | None:
    if np.isnan(values).any() or len(set(values)) == 1:
        return None
    ranks = stats.rankdata(top1)
    tested = stats.permutation_test(  # Of all orders, where there are no more than 9,999.
        (stats.rankdata(values),),
        lambda x, axis: np.round(np.sum((x - ranks.mean()) * (ranks - ranks.mean()), axis), 9),
        permutation_type="pairings",
        vectorized=True,
        rng=0,
    )
    return RankCorrelation(float(stats.spearmanr(values, top1).statistic), float(tested.pvalue))


def describe(
    scores: Sequence[Score],
    *,
    pictures: int,
    reached: Mapping[int, float] | None = None,
    measure: str = TOP1,
) -> str:
    """Draws a table for people, a line a unit, and says what it is and is not.

    Args:
        scores: of one donor on one task.
        pictures: how many the scores are of.
        reached: as for `compare_with_results`, once a study has been done.
        measure: of the linear classifier, and of what was reached.
    """
    reached = reached or {}
    has_loss = not all(np.isnan(score.log_loss) for score in scores)
    lines = [("n", "unit", *_ESTIMATES.values(), *(["log loss"] if has_loss else []),
              *([f"{measure} frozen"] if reached else []))]  # fmt: skip
    for score in scores:
        line = [f"{score.n}", score.unit]
        for name in _ESTIMATES:  # LogME can be negative.
            line.append(f"{getattr(score, name):{' ' if name == 'logme' else ''}.3f}")
        if has_loss:
            line.append("" if np.isnan(score.log_loss) else f"{score.log_loss:.3f}")
        if reached:
            line.append(f"{reached[score.n]:.3f}" if score.n in reached else "")
        lines.append(line)
    note = (
        f"These are estimates, from the donor's features of {pictures:,} pictures, without "
        f"training; higher is better. Linear: {measure} of a linear classifier on the unit's "
        "features; neighbours: that of the five nearest pictures; each picture by others."
    )
    if has_loss:
        note += " Log loss: of the linear classifier, lower is better; it leaves less to chance."
    agreement = compare_with_results(scores, reached)
    if agreement is not None:
        tried = ", ".join(map(str, agreement.n))
        values = (f"{_ESTIMATES[n]} {_signed(each)}" for n, each in agreement.correlations.items())
        note += (
            f"\nrank correlation with what frozen transfer reached at n = {tried}: "
            f"{', '.join(values)}"
        )
    return f"{align_columns(lines)}\n{note}"


def _signed(correlation: RankCorrelation | None) -> str:
    return f"{correlation.value:+.2f} (p = {correlation.p_value:.2f})" if correlation else "none"
