"""The accuracy that classifiers reach on features, as a first answer before training."""

import numpy as np
from sklearn.base import ClassifierMixin
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
    weights = "balanced" if measure == BALANCED else None
    ridge = RidgeClassifierCV(_PENALTIES, class_weight=weights)
    classifier = make_pipeline(StandardScaler(), ridge)
    return _test(classifier, (features, labels), (test_features, test_labels), measure)


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
    nearest = KNeighborsClassifier(min(_NEIGHBOURS, len(labels)), metric="cosine")
    return _test(nearest, (features, labels), (test_features, test_labels), measure)


def _test(
    classifier: ClassifierMixin,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    measure: str,
) -> float:
    """Fits a classifier to features and labels, and measures its accuracy on others."""
    (features, labels), (others, truth) = train, test
    if not (np.isfinite(features).all() and np.isfinite(others).all()):
        return float("nan")
    answers = classifier.fit(features.astype(np.float64), labels).predict(others.astype(np.float64))
    return measure_accuracy(np.asarray(truth), answers, measure).estimate
