"""The accuracy that a linear classifier reaches on features, as a first answer before training."""

import numpy as np
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transfer_keras.results import BALANCED, TOP1, measure_accuracy

_PENALTIES = np.logspace(-1, 6, 15)


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
    if not (np.isfinite(features).all() and np.isfinite(test_features).all()):
        return float("nan")
    weights = "balanced" if measure == BALANCED else None
    ridge = RidgeClassifierCV(_PENALTIES, class_weight=weights)
    classifier = make_pipeline(StandardScaler(), ridge)
    classifier.fit(features.astype(np.float64), labels)
    answers = classifier.predict(test_features.astype(np.float64))
    return measure_accuracy(np.asarray(test_labels), answers, measure)[0]
