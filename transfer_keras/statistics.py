"""Comparisons of networks on the same test images."""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A difference and its confidence interval."""

    estimate: float
    low: float
    high: float


def paired_difference(right, base_right, *, confidence: float = 0.95) -> Interval:
    """Difference of two accuracies measured on the same images.

    The Laplace-adjusted Wald interval of Bonett and Price (2012), "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data", which keeps its
    level in small samples and when the two never disagree.

    Args:
        right: bool (images,), whether the one was right.
        base_right: bool (images,), the other, in the same order.
        confidence: level of the interval.

    Returns:
        Of accuracy(right) - accuracy(base_right), in fractions; the interval lies in [-1, 1].

    Raises:
        ValueError: if the two differ in length or are empty.
    """
    right, base_right = np.asarray(right, bool), np.asarray(base_right, bool)
    if right.shape != base_right.shape or right.ndim != 1 or not right.size:
        raise ValueError(
            "Expected two answers to the same images. "
            f"Received: shapes {right.shape} and {base_right.shape}"
        )
    count = right.size
    won = int((right & ~base_right).sum())
    lost = int((~right & base_right).sum())
    p_won, p_lost = (won + 1) / (count + 2), (lost + 1) / (count + 2)
    centre = p_won - p_lost
    error = np.sqrt((p_won + p_lost - centre**2) / (count + 2))
    margin = stats.norm.ppf((1 + confidence) / 2) * error
    low, high = max(centre - margin, -1.0), min(centre + margin, 1.0)
    return Interval((won - lost) / count, float(low), float(high))
