"""Estimates and intervals: of networks on the same test images, and over seeds and splits."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # It loads `stats`, which takes a second, at the first use.

# A variance of fractions below this is rounding.
_ZERO = 1e-12
# Differences at several n share their base, so they are correlated by so much at least.
_LEAST_CORRELATION = 0.5


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
        if not self.varies:
            return float(abs(self.mean) < _ZERO)
        return float(2 * scipy.stats.t.sf(abs(self.mean) / self.variance**0.5, self.freedom))

    @property
    def varies(self) -> bool:
        """Tells whether the variance is more than rounding."""
        return self.variance > _ZERO


def over_replicates(values) -> Estimate:
    """Estimates the mean of independent values.

    Args:
        values: (replicates,), at least two.
    """
    values = np.asarray(values, float)
    count = values.size
    return Estimate(float(values.mean()), float(values.var(ddof=1) / count), count - 1)


def over_splits(table) -> list[Estimate]:
    """Estimates the means of differences that were measured at several n in the same splits.

    The variances of the columns are moderated: each is drawn towards what all have in common, by as
    much as they agree (Smyth 2004, "Linear models and empirical Bayes methods for assessing
    differential expression in microarray experiments"). Two splits alone know little of their
    variance; those of seven n together know more, though not seven times as much, because what a
    split does to one n it does to others: the degrees of freedom are at most those of the columns
    together, divided by 1 + (columns - 1) r^2, where r is the correlation between columns, taken as
    one half at the least.

    Args:
        table: float (splits, columns), two splits or more; NaN where a split lacks a column, of
            which each has two values at the least.

    Returns:
        An estimate for each column; its variance is 0 where no column varies.
    """
    table = np.asarray(table, float)
    counts = (~np.isnan(table)).sum(axis=0)
    means, freedoms = np.nanmean(table, axis=0), counts - 1
    variances = np.nanvar(table, axis=0, ddof=1)
    variances[variances <= _ZERO] = 0.0
    moderated, total = variances, freedoms.astype(float)
    varied = variances > 0
    if varied.sum() > 1:
        prior, prior_freedom = _common_variance(variances[varied], freedoms[varied])
        limit = varied.sum() / (1 + (varied.sum() - 1) * _correlation(table[:, varied]) ** 2)
        total = np.maximum(np.minimum(prior_freedom + freedoms, freedoms * limit), freedoms)
        weight = prior_freedom / (prior_freedom + freedoms) if np.isfinite(prior_freedom) else 1.0
        moderated = weight * prior + (1 - weight) * variances
    return [
        Estimate(float(mean), float(variance / count), float(freedom))
        for mean, variance, count, freedom in zip(means, moderated, counts, total, strict=True)
    ]


def _common_variance(variances: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """Fits a scaled inverse chi-square to the variances, by the moments of their logarithms.

    Returns:
        Its scale and its degrees of freedom; infinity where they differ by no more than chance.
    """
    digamma, trigamma = scipy.special.digamma, lambda x: scipy.special.polygamma(1, x)
    logs = np.log(variances) - digamma(freedoms / 2) + np.log(freedoms / 2)
    excess = float(logs.var(ddof=1) - trigamma(freedoms / 2).mean())
    if excess <= 0:
        return float(np.exp(logs.mean())), np.inf
    low, high = 1e-8, 1e8  # The trigamma function falls from far above to far below any variance.
    half = float(scipy.optimize.brentq(lambda x: np.log(trigamma(x) / excess), low, high))
    return float(np.exp(logs.mean() + digamma(half) - np.log(half))), 2 * half


def _correlation(table: np.ndarray) -> float:
    """Estimates the correlation between columns, from how much the mean of all varies."""
    table = table[~np.isnan(table).all(axis=1)]
    deviations = table - np.nanmean(table, axis=0)
    columns = table.shape[1]
    of_mean = np.nanmean(deviations, axis=1).var(ddof=1)
    alone = np.nanvar(table, axis=0, ddof=1).mean()
    together = (columns * of_mean / alone - 1) / (columns - 1)
    return float(np.clip(together, _LEAST_CORRELATION, 1))


class SeedVariance(NamedTuple):
    """How much the top-1 of one network differs from seed to seed, pooled over networks.

    Attributes:
        between: variance of the top-1 over seeds, in squared fractions.
        within: what of it the images alone make.
        freedom: degrees of freedom of `between`.
        within_freedom: those of `within`.
    """

    between: float
    within: float
    freedom: float
    within_freedom: float


def pool_seed_variance(answers: Iterable) -> SeedVariance | None:
    """Pools the variance over seeds over several networks.

    Args:
        answers: for each network bool (seeds, images), whether it was right; those of one seed say
            nothing.

    Returns:
        The variance; None where no network has two seeds.
    """
    squares = freedom = residuals = residual_freedom = 0.0
    for right in answers:
        right = np.asarray(right, float)
        seeds, images = right.shape
        if seeds < 2 or images < 2:
            continue
        of_seeds = right.mean(axis=1)
        residual = right - of_seeds[:, None] - right.mean(axis=0) + right.mean()
        squares += (seeds - 1) * of_seeds.var(ddof=1)
        residuals += float((residual**2).sum()) / images
        freedom += seeds - 1
        residual_freedom += (seeds - 1) * (images - 1)
    if not freedom:
        return None
    return SeedVariance(squares / freedom, residuals / residual_freedom, freedom, residual_freedom)


def differ_by_seed(answers: Sequence) -> bool:
    """Tells whether some answers differ from seed to seed.

    What a seed does not change, as a head that is fitted, says nothing of seeds.

    Args:
        answers: bool or float (seeds, images).
    """
    return any(np.any(np.asarray(of_seed) != answers[0]) for of_seed in answers[1:])


def over_seeds_and_images(
    differences: Sequence,
    seed_variance: SeedVariance | None = None,
    *,
    networks: float = 2.0,
    added: tuple[float, float] = (1.0, -1.0),
) -> Estimate:
    """Estimates a mean over seeds and images, which are both samples, and crossed.

    The images give their variance by two-way analysis of variance; that of seeds is pooled over all
    networks of the study, because two seeds of one say almost nothing. The degrees of freedom are
    those of Satterthwaite (1946), "An Approximate Distribution of Estimates of Variance
    Components". As in `paired_difference`, two images are added for the variance, so that
    networks that never disagree have an interval too. Without a variance over seeds, only images
    are a sample.

    Args:
        differences: for each target, float (seeds, images), at least two images: 1 where only the
            first network was right, -1 where only the second was, else 0; or means of such values.
            The targets count the same.
        seed_variance: of one network.
        networks: so many times does the variance of one network's seeds enter: the sum of the
            squared weights of the networks that are compared.
        added: what the two added images give.

    Raises:
        ValueError: if a target has another shape.

    Example:
        >>> import numpy as np
        >>> from transfer_keras.results import statistics
        >>> one = np.array([[1, 0, 1, 0, 1, 1], [1, 1, 1, 0, 1, 1]])
        >>> base = np.array([[0, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 1]])
        >>> pooled = statistics.pool_seed_variance([one, base])
        >>> estimate = statistics.over_seeds_and_images([one - base], pooled)
        >>> f"{estimate.mean:.3f}, standard error {estimate.variance ** 0.5:.3f}"
        '0.333, standard error 0.267'
    """
    parts, means, seed_weight = [], [], 0.0
    for of_target in differences:
        of_target = np.asarray(of_target, float)
        if of_target.ndim != 2 or of_target.shape[0] < 1 or of_target.shape[1] < 2:
            raise ValueError(
                f"Expected (seeds, images), two images or more. Received: shape {of_target.shape}"
            )
        seeds = len(of_target)
        table = np.hstack([of_target, np.tile(added, (seeds, 1))])
        columns = table.mean(axis=0)
        means.append(of_target.mean())
        parts.append((columns.var(ddof=1) / columns.size, columns.size - 1))
        seed_weight += networks / seeds
    targets = len(means)
    parts = [(variance / targets**2, freedom) for variance, freedom in parts]
    # With less between seeds than the images explain, the seeds' own variance is estimated as 0.
    if seed_variance and seed_variance.between > seed_variance.within:
        weight = seed_weight / targets**2
        parts.append((weight * seed_variance.between, seed_variance.freedom))
        parts.append((-weight * seed_variance.within, seed_variance.within_freedom))
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / freedom for variance, freedom in parts if variance)
    return Estimate(float(np.mean(means)), float(total), float(freedom))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of one family of hypotheses (Holm 1979): none below 0.05 is wrong in more
    than 5 of 100 families."""
    order = np.argsort(p_values, kind="stable")
    count, highest = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
