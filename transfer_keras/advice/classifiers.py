"""The accuracy that classifiers reach on features, as a first answer before training."""

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transfer_keras.results import BALANCED, TOP1, measure_accuracy

_PENALTIES = np.logspace(-1, 6, 15)
_NEIGHBOURS = 5


def linear_top1(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    measure: str = TOP1,
) -> float:
    """Fits a ridge classifier and measures its accuracy on other pictures.

    Features are standardised; of 15 penalties from 0.1 to 1,000,000 that one is taken which
    predicts each training picture best from all others (leave-one-out, in closed form; Rifkin and
    Lippert 2007, "Notes on Regularized Least Squares").

    Args:
        features: float (pictures, features).
        labels: int (pictures,), of at least two classes.
        test_features: float (other pictures, features).
        test_labels: int (other pictures,).
        measure: see `results.measure_accuracy`; for balanced accuracy all classes count the same
            in the fit too.

    Returns:
        0 to 1; NaN where a feature is no number.
    """
    if not _are_finite(features, test_features):
        return float("nan")
    weights = "balanced" if measure == BALANCED else None
    ridge = RidgeClassifierCV(_PENALTIES, class_weight=weights)
    classifier = make_pipeline(StandardScaler(), ridge)
    classifier.fit(features.astype(np.float64), labels)
    answers = classifier.predict(test_features.astype(np.float64))
    return measure_accuracy(np.asarray(test_labels), answers, measure)[0]


def neighbours_top1(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    measure: str = TOP1,
) -> float:
    """Measures the accuracy of the five nearest neighbours by cosine similarity.

    It asks nothing of what is above a unit, not even that classes are linearly separable (Renggli
    et al. 2022, "Which Model to Transfer? Finding the Needle in the Growing Haystack").

    Args:
        features, labels, test_features, test_labels, measure: see `linear_top1`.

    Returns:
        0 to 1; NaN where a feature is no number.
    """
    if not _are_finite(features, test_features):
        return float("nan")
    nearest = KNeighborsClassifier(min(_NEIGHBOURS, len(labels)), metric="cosine")
    nearest.fit(features.astype(np.float64), labels)
    answers = nearest.predict(test_features.astype(np.float64))
    return measure_accuracy(np.asarray(test_labels), answers, measure)[0]


def _are_finite(*arrays: np.ndarray) -> bool:
    return all(np.isfinite(array).all() for array in arrays)
