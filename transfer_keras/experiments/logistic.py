"""Penalised logistic regression on features: a convex problem, which SciPy's L-BFGS solves."""

from typing import NamedTuple

import numpy as np

# Inverse strengths of the penalty, each of which is tried on a fifth of the training pictures.
_STRENGTHS = np.logspace(-4, 0, 5)
_HELD_OUT = 5
_ITERATIONS = 1000
_NEVER = -1e4  # Logit of a class without pictures.
_MOST_PICTURES = 20_000  # Drawn by the seed where there are more.


class Linear(NamedTuple):
    """A layer from features to logits.

    Attributes:
        kernel: float (features, classes).
        bias: float (classes,).
    """

    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Gives float (pictures, classes)."""
        return features.astype(np.float64) @ self.kernel + self.bias

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Gives int (pictures,), the class with the highest logit."""
        return self.logits(features).argmax(axis=1)


def choose_pictures(count: int, seed: int) -> np.ndarray:
    """Chooses the places of the pictures that are fitted to, ascending: at most 20,000."""
    if count <= _MOST_PICTURES:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, _MOST_PICTURES, replace=False))


def fit_logistic(
    features: np.ndarray, labels: np.ndarray, classes: int, *, balanced: bool = False
) -> Linear | None:
    """Fits scikit-learn's logistic regression to standardised features.

    Of five penalties that one is taken which has the lowest loss on every fifth picture of each
    class after a fit to the others; then it is fitted to all. What standardises the features is
    part of the layer.

    Args:
        features: float (pictures, features).
        labels: int (pictures,), 0..classes-1; one that has no picture is never the answer.
        classes: number of them.
        balanced: whether all classes count the same, however many pictures they have.

    Returns:
        None where a feature is no number.
    """
    from sklearn.linear_model import LogisticRegression  # A second, and few programs need it.
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.class_weight import compute_sample_weight

    if not np.isfinite(features).all():
        return None
    features = features.astype(np.float64)
    there = np.unique(labels)
    whole = Linear(np.zeros((features.shape[1], classes)), np.full(classes, _NEVER))
    if len(there) == 1:
        whole.bias[there] = 0.0
        return whole
    weights = compute_sample_weight("balanced" if balanced else None, labels)
    # Each fit begins at the one before, whose penalty is stronger.
    model = LogisticRegression(max_iter=_ITERATIONS, solver="lbfgs", warm_start=True)
    held_out, strength = _every_fifth(labels), _STRENGTHS[len(_STRENGTHS) // 2]
    if held_out.any() and len(set(labels[~held_out])) == len(there):
        scaler, losses = StandardScaler().fit(features[~held_out]), []
        others, judged = (scaler.transform(features[part]) for part in (~held_out, held_out))
        for tried in _STRENGTHS:
            model.set_params(C=tried).fit(others, labels[~held_out], weights[~held_out])
            answers = model.predict_proba(judged)
            losses.append(log_loss(labels[held_out], answers, sample_weight=weights[held_out],
                                   labels=model.classes_))  # fmt: skip
        strength = _STRENGTHS[int(np.argmin(losses))]
    scaler = StandardScaler().fit(features)
    model.set_params(C=strength).fit(scaler.transform(features), labels, weights)
    kernel, bias = model.coef_.T, model.intercept_
    if len(there) == 2:  # The difference of two logits.
        kernel, bias = kernel * [-0.5, 0.5], bias * [-0.5, 0.5]
    kernel = kernel / scaler.scale_[:, None]
    whole.kernel[:, there], whole.bias[there] = kernel, bias - scaler.mean_ @ kernel
    return whole


def _every_fifth(labels: np.ndarray) -> np.ndarray:
    """Marks every fifth picture of each class, in their order."""
    marked = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        marked[np.flatnonzero(labels == label)[_HELD_OUT - 1 :: _HELD_OUT]] = True
    return marked
