"""Makes probabilities that can be believed: temperature scaling, and how well it works."""

from typing import NamedTuple

import numpy as np
from scipy import optimize, special
from sklearn.model_selection import KFold

_BINS = 15  # As in Guo et al. (2017).
_SPREAD = 0.5  # Standard deviation of the prior of log T: few pictures move T little from 1.
_RANGE = (np.log(0.05), np.log(20.0))  # Of log T.
_FOLDS = 5


class Calibration(NamedTuple):
    """A temperature, and what it does to the probabilities of pictures that it was fitted to.

    Attributes:
        temperature: what logits are divided by.
        error_before, error_after: expected calibration error, in fractions; after: each picture
            with a temperature that was fitted to others.
        pictures: how many.
    """

    temperature: float
    error_before: float
    error_after: float
    pictures: int


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fits a temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    It has the highest likelihood, times a normal density of its logarithm around 0.

    Args:
        logits: float (pictures, classes), of pictures that were not trained on.
        labels: int (pictures,), 0..classes-1; one picture or more.

    Returns:
        The temperature that was fitted to all, and the errors.
    """
    logits = np.asarray(logits, float)
    after = special.softmax(logits, axis=-1)
    if len(labels) >= 2:
        for fitted, held_out in KFold(min(_FOLDS, len(labels)), shuffle=True, random_state=0).split(
            labels
        ):
            temperature = _fit(logits[fitted], labels[fitted])
            after[held_out] = special.softmax(logits[held_out] / temperature, axis=-1)
    before = special.softmax(logits, axis=-1)
    return Calibration(
        _fit(logits, labels),
        calibration_error(before, labels),
        calibration_error(after, labels),
        len(labels),
    )


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Computes the expected calibration error of the most probable classes, over 15 bins.

    Args:
        probabilities: (pictures, classes).
        labels: int (pictures,).

    Returns:
        The mean over pictures of |accuracy - mean probability| of the picture's bin, 0 to 1.
    """
    top = probabilities.max(axis=-1)
    right = probabilities.argmax(axis=-1) == labels
    bins = np.clip(np.ceil(top * _BINS).astype(int) - 1, 0, _BINS - 1)
    gaps = np.bincount(bins, right - top, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def _fit(logits: np.ndarray, labels: np.ndarray) -> float:
    def loss(log_temperature: float) -> float:
        scaled = special.log_softmax(logits / np.exp(log_temperature), axis=-1)
        likelihood = scaled[np.arange(len(labels)), labels].sum()
        return (log_temperature / _SPREAD) ** 2 / 2 - likelihood

    return float(np.exp(optimize.minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
