"""LogME: how well features suit labels, without training.

You et al. (2021), "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML;
its fixed point is of You et al. (2022), "Ranking and Tuning Pre-trained Models", JMLR 23.

Two things are done otherwise here, as units of one network are compared:

- Features and class columns are centred, which is to integrate over an intercept with a flat prior.
  In the paper there is none, and features must give the mean of a class column, for two classes
  half of its square, by a weight that costs. Those behind a ReLU can, those that end in
  normalisation or in a linear bottleneck cannot, whatever they say of the classes.
- The paper iterates alpha and beta to a fixed point. That gives NaN where the maximum lies at
  infinity, crawls where it is far, and may end in the lesser one of two. Given alpha / beta, the
  best beta has a closed form, and so one number is left to search, over all of its range.
"""

import numpy as np
from scipy import linalg, optimize

_STEP = 0.5  # Of log(alpha / beta): each term of the evidence changes over some 4.
_BEYOND = 30.0  # As far beyond the squares of the singular values, and nothing changes any more.
_EXACT = 1e-20  # Of the square of a class column: what rounding leaves of nothing.


def centred(features) -> np.ndarray:
    """Centres each column about its mean, in float64; exactly nought where one is constant.

    Args:
        features: (examples, features), of any scale.

    Returns:
        (examples, features), divided by the largest magnitude of all; not finite where some
        feature is not.
    """
    features = np.asarray(features, np.float64)
    features = features - features[:1]  # A mean rounds, and what is left would count as a feature.
    features -= features.mean(axis=0)
    return features / (np.abs(features).max(initial=0) or 1)


def one_hot(labels) -> np.ndarray:
    """Encodes labels as float64 (examples, classes), of those classes that have examples."""
    labels = np.asarray(labels)
    return (labels[:, None] == np.unique(labels)).astype(np.float64)


def logme(features, labels) -> float:
    """Computes the maximum log evidence of a linear model of each class, by example, averaged.

    A class column y, one for its examples and nought for others, is modelled as
    y ~ N(F w + b, I / beta), w ~ N(0, I / alpha), b of flat prior, and the evidence is maximised
    over alpha and beta. It prefers features from which few directions, and large ones, give the
    class; their number costs nothing by itself, nor does their scale count.

    Args:
        features: (examples, features), real numbers.
        labels: (examples,), of at least two classes; those without examples count for nothing.

    Returns:
        Higher is better; comparable only between features of the same examples. No less than
        -(1 + log(2 pi v)) / 2 * (examples - 1) / examples, averaged over classes with v their
        sample variance, which features that say nothing have; there is no upper bound, and it is
        infinite where a linear model with degrees of freedom to spare is exact. NaN where a
        feature is no number.

    Raises:
        ValueError: if the shapes do not fit, or all labels are the same.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            "Expected features (examples, features) and labels (examples,). "
            f"Received: shapes {features.shape} and {labels.shape}"
        )
    columns = one_hot(labels)
    if columns.shape[1] < 2:
        raise ValueError(f"Expected labels of two classes or more. Received: {np.unique(labels)}")
    if not np.isfinite(features).all():
        return float("nan")
    columns -= columns.mean(axis=0)
    directions, singular, _ = linalg.svd(centred(features), full_matrices=False)
    smallest = singular.max(initial=0) * max(features.shape) * np.finfo(np.float64).eps
    directions, singular = directions[:, singular > smallest], singular[singular > smallest]
    freedom = len(labels) - 1
    within = directions.T @ columns
    outside = ((columns - directions @ within) ** 2).sum(axis=0)
    exact = outside <= _EXACT * (columns**2).sum(axis=0)
    if exact.any() and len(singular) < freedom:
        return float("inf")
    return float(_maxima(singular**2, within**2, outside, freedom).mean()) / len(labels)


def _maxima(
    spectrum: np.ndarray, within: np.ndarray, outside: np.ndarray, freedom: int
) -> np.ndarray:
    """Computes the maximum log evidence of each class column.

    Args:
        spectrum: (rank,), the squares of the features' singular values.
        within: (rank, classes), the squares of the columns' components along them.
        outside: (classes,), the squares of what is left of the columns.
        freedom: the dimensions of a column.

    Returns:
        (classes,)
    """

    def evidence(log_ratios, within, outside):  # Of alpha to beta; beta at its best.
        shrunk = 1 / (1 + spectrum * np.exp(-log_ratios)[..., None])
        beta = freedom / (shrunk @ within + outside)
        volume = np.log(shrunk).sum(axis=-1, keepdims=beta.ndim > 1)
        return (freedom * np.log(beta / (2 * np.pi)) - freedom + volume) / 2

    logs = np.log(spectrum)
    grid = np.arange(logs.min(initial=0) - _BEYOND, logs.max(initial=0) + _BEYOND, _STEP)
    values = evidence(grid, within, outside)
    maxima = values.max(axis=0)
    for index, best in enumerate(grid[values.argmax(axis=0)]):
        refined = optimize.minimize_scalar(
            lambda x, column=(within[:, index], outside[index]): -evidence(x, *column),
            bounds=(best - _STEP, best + _STEP),
            method="bounded",
        )
        maxima[index] = max(maxima[index], -refined.fun)
    return maxima
