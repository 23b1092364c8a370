"""By what networks are compared: top-1, or balanced accuracy where classes are uneven."""

import numpy as np
from scipy import stats

from transfer_keras.results.statistics import Interval

TOP1 = "top-1"
BALANCED = "balanced accuracy"


def image_scores(label: np.ndarray, predicted: np.ndarray, measure: str = TOP1) -> np.ndarray:
    """Scores each answer, so that the mean over the images is the measure.

    Args:
        label, predicted: int (images,), the truth and the answers.
        measure: TOP1; or BALANCED, the mean over the classes of the part of each that is right:
            then an answer that is right counts the more, the fewer images its class has.

    Returns:
        bool or float (images,).
    """
    right = label == predicted
    return right if measure == TOP1 else right * _weights(label)


def measure_accuracy(label: np.ndarray, predicted: np.ndarray, measure: str = TOP1) -> Interval:
    """Computes a measure and its 95 % interval over images.

    The interval of top-1 is that of Wilson (1927). That of balanced accuracy comes from those of
    the classes (Zou and Donner 2008, "Construction of Confidence Limits about Effect Measures").

    Args:
        label, predicted, measure: see `image_scores`; one image or more.
    """
    value = float(image_scores(label, predicted, measure).mean())
    right = label == predicted
    if measure == TOP1:
        return Interval(value, *_wilson(right))
    parts = [right[label == one] for one in np.unique(label)]
    means = np.array([part.mean() for part in parts])
    low, high = np.array([_wilson(part) for part in parts]).T
    below, above = (np.sqrt(((means - end) ** 2).sum()) / len(parts) for end in (low, high))
    return Interval(value, value - float(below), value + float(above))


def _wilson(right: np.ndarray) -> tuple[float, float]:
    interval = stats.binomtest(int(right.sum()), right.size).proportion_ci(0.95, "wilson")
    return interval.low, interval.high


def _weights(label: np.ndarray) -> np.ndarray:
    """Gives each image the weight with which all classes that there are count the same."""
    classes, places, counts = np.unique(label, return_inverse=True, return_counts=True)
    return len(label) / (len(classes) * counts[places])
