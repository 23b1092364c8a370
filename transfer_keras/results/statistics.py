"""Estimates and intervals: of networks on the same test images, and over seeds and splits."""

from typing import NamedTuple

import numpy as np
import scipy  # It loads `stats`, which takes a second, at the first use.


class Interval(NamedTuple):
    """A difference and its confidence interval."""

    estimate: float
    low: float
    high: float


def paired_difference(right, base_right, *, confidence: float = 0.95) -> Interval:
    """Estimates the difference of two accuracies that were measured on the same images.

    The Laplace-adjusted Wald interval of Bonett and Price (2012), "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data", which keeps its
    level in small samples and when the two never disagree.

    Args:
        right: bool (images,), whether the first network was right.
        base_right: bool (images,), whether the second was, in the same order.
        confidence: level of the interval.

    Returns:
        accuracy(right) - accuracy(base_right), in fractions; the interval lies in [-1, 1].

    Raises:
        ValueError: if the two differ in length or are empty.

    Example:
        >>> import numpy as np
        >>> from transfer_keras.results import statistics
        >>> right = np.repeat([True, True, False, False], [40, 15, 5, 40])
        >>> base_right = np.repeat([True, False, True, False], [40, 15, 5, 40])
        >>> interval = statistics.paired_difference(right, base_right)
        >>> [f"{value:+.3f}" for value in interval]
        ['+0.100', '+0.010', '+0.186']
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
    margin = scipy.stats.norm.ppf((1 + confidence) / 2) * error
    low, high = max(centre - margin, -1.0), min(centre + margin, 1.0)
    return Interval((won - lost) / count, float(low), float(high))


class Estimate(NamedTuple):
    """An estimated mean, the variance of the estimate, and its degrees of freedom."""

    mean: float
    variance: float
    freedom: float

    def interval(self, *, confidence: float = 0.95) -> Interval:
        """Gives the interval of the mean by Student's t."""
        margin = float(scipy.stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.variance**0.5
        return Interval(self.mean, self.mean - margin, self.mean + margin)

    @property
    def p_value(self) -> float:
        """Gives the two-sided p-value of the hypothesis that the mean is 0."""
        if not self.variance:
            return float(self.mean == 0)
        return float(2 * scipy.stats.t.sf(abs(self.mean) / self.variance**0.5, self.freedom))


def over_replicates(values) -> Estimate:
    """Estimates the mean of independent values.

    Args:
        values: (replicates,), at least two.
    """
    values = np.asarray(values, float)
    count = values.size
    return Estimate(float(values.mean()), float(values.var(ddof=1) / count), count - 1)


def over_seeds_and_images(differences) -> Estimate:
    """Estimates the mean difference of two networks, with one or more seeds on the same images.

    Seeds and images are both samples, and crossed: two-way analysis of variance without
    replication, with the degrees of freedom of Satterthwaite (1946), "An Approximate Distribution
    of Estimates of Variance Components". As in `paired_difference`, one image that was won and
    one that was lost are added for the variance, so that networks that never disagree have an
    interval too. With one seed nothing is known of other seeds, and only images are a sample.

    Args:
        differences: float (seeds, images), at least two images: 1 where only the first network was
            right, -1 where only the second was, else 0; or means of such values.

    Raises:
        ValueError: if it has another shape.

    Example:
        >>> from transfer_keras.results import statistics
        >>> differences = [[1, 0, 0, -1, 1, 0], [1, 1, 0, 0, 1, 0]]
        >>> estimate = statistics.over_seeds_and_images(differences)
        >>> f"{estimate.mean:.3f}, standard error {estimate.variance ** 0.5:.3f}"
        '0.333, standard error 0.283'
    """
    differences = np.asarray(differences, float)
    if differences.ndim != 2 or differences.shape[0] < 1 or differences.shape[1] < 2:
        raise ValueError(
            f"Expected (seeds, images), two images or more. Received: shape {differences.shape}"
        )
    seeds = len(differences)
    table = np.hstack([differences, np.tile([1.0, -1.0], (seeds, 1))])
    images = table.shape[1]
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    between_images = seeds * columns.var(ddof=1)
    between_seeds = rest = 0.0
    if seeds > 1:
        residual = table - rows[:, None] - columns + table.mean()
        rest = float((residual**2).sum()) / ((seeds - 1) * (images - 1))
        between_seeds = images * rows.var(ddof=1)
    parts = [(between_images, images - 1)]
    # With less between seeds than the rest explains, the seeds' own variance is estimated as 0.
    if between_seeds > rest:
        parts += [(between_seeds, seeds - 1), (-rest, (seeds - 1) * (images - 1))]
    total = sum(square for square, _ in parts)
    freedom = total**2 / sum(square**2 / count for square, count in parts)
    return Estimate(float(differences.mean()), float(total / table.size), float(freedom))


def average(estimates) -> Estimate:
    """Averages independent estimates with equal weights (Welch 1947, Satterthwaite 1946).

    Args:
        estimates: iterable of `Estimate`, at least one.
    """
    estimates = list(estimates)
    parts = np.array([estimate.variance for estimate in estimates]) / len(estimates) ** 2
    freedoms = np.array([estimate.freedom for estimate in estimates])
    mean = float(np.mean([estimate.mean for estimate in estimates]))
    total = float(parts.sum())
    freedom = total**2 / float((parts**2 / freedoms).sum()) if total else float(freedoms.sum())
    return Estimate(mean, total, freedom)


def replicates_to_decide(effect: float, deviation: float, *, power: float = 0.8) -> int | None:
    """Finds the number of independent differences that show an effect at the 5 % level.

    Args:
        effect: true mean of the differences.
        deviation: standard deviation of the differences.
        power: probability that the test rejects "no difference".

    Returns:
        The number, at least 2; None if more than 10,000 would be needed.
    """
    if effect == 0:
        return None

    def enough(count: int) -> bool:
        shift = abs(effect) / deviation * count**0.5
        return scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, count - 1), count - 1, shift) >= power

    if deviation == 0:
        return 2
    low, high = 2, 10_000
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
