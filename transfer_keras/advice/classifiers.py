"""The accuracy that classifiers reach on features, as a first answer before training."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from transfer_keras.results import BALANCED, TOP1, measure_accuracy

_PENALTIES = np.logspace(-1, 6, 15)
_NEIGHBOURS = 5
_FOLDS = 5
_LOGISTIC_C = (0.003, 0.01, 0.03)  # scikit-learn's; of standardised features.
_LOGISTIC = {"max_iter": 50, "tol": 1e-3}  # Enough to compare by.
_LEAST_PROBABILITY = 1e-9


def linear_top1(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    measure: str = TOP1,
) -> float:
    """Fits a ridge classifier and measures its accuracy on pictures that it was not fitted to.

    Those are the other pictures, and each training picture, by a fit without it (leave-one-out, in
    closed form; Rifkin and Lippert 2007, "Notes on Regularized Least Squares"): of all of them
    less is left to chance. Features are standardised; of 15 penalties from 0.1 to 1,000,000 that
    one is taken which predicts each training picture best from all others.

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
    if not _is_finite(features, test_features):
        return float("nan")
    weights = "balanced" if measure == BALANCED else None
    scaler = StandardScaler().fit(features.astype(np.float64))
    standard = scaler.transform(features.astype(np.float64))
    penalty = RidgeClassifierCV(_PENALTIES, class_weight=weights).fit(standard, labels).alpha_
    # With a score, scikit-learn keeps predictions in place of errors.
    again = {"scoring": "accuracy", "store_cv_results": True, "class_weight": weights}
    ridge = RidgeClassifierCV([penalty], **again).fit(standard, labels)
    left_out = ridge.cv_results_[..., 0]
    places = left_out.argmax(axis=1) if left_out.shape[1] > 1 else np.int64(left_out[:, 0] > 0)
    answers = ridge.predict(scaler.transform(test_features.astype(np.float64)))
    return _measure((labels, ridge.classes_[places]), (test_labels, answers), measure=measure)


def logistic_log_loss(features: np.ndarray, labels: np.ndarray, measure: str = TOP1) -> float:
    """Computes the log loss of penalised logistic regression by five-fold cross-validation.

    Features are standardised; the best of three penalties counts. As a proper scoring rule it
    leaves less to chance than an accuracy.

    Args:
        features: float (pictures, features).
        labels: int (pictures,), of at least two classes.
        measure: see `results.measure_accuracy`; for balanced accuracy all classes count the same.

    Returns:
        In nats a picture, lower is better; NaN where a feature is no number, all features are
        constant or a class has a single picture.
    """
    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not _is_finite(features) or counts.min() < 2:
        return float("nan")
    standard = StandardScaler().fit_transform(features.astype(np.float64))
    # As many coordinates as pictures have the same distances and penalties.
    squares, vectors = np.linalg.eigh(standard @ standard.T)
    kept = squares > squares.max() * np.finfo(float).eps * len(labels)
    coordinates = vectors[:, kept] * np.sqrt(squares[kept])
    if not kept.any():  # The unit answers the same to all pictures.
        return float("nan")
    balanced = measure == BALANCED
    weights = (len(labels) / (len(classes) * counts))[places] if balanced else None
    folds = StratifiedKFold(min(_FOLDS, counts.min()), shuffle=True, random_state=0)
    losses = []
    for c in _LOGISTIC_C:
        model = LogisticRegression(C=c, class_weight="balanced" if balanced else None, **_LOGISTIC)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            answers = cross_val_predict(
                model, coordinates, places, cv=folds, method="predict_proba"
            )
        right = np.maximum(answers[np.arange(len(labels)), places], _LEAST_PROBABILITY)
        losses.append(np.average(-np.log(right), weights=weights))
    return float(min(losses))


def neighbours_top1(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    measure: str = TOP1,
) -> float:
    """Measures the accuracy of the five nearest neighbours by cosine similarity.

    Those of the other pictures, and of each training picture among all others. That asks nothing of
    what is above a unit, not even that classes are linearly separable (Renggli et al. 2022, "Which
    Model to Transfer? Finding the Needle in the Growing Haystack").

    Args:
        features, labels, test_features, test_labels, measure: see `linear_top1`.

    Returns:
        0 to 1; NaN where a feature is no number.
    """
    if not _is_finite(features, test_features):
        return float("nan")
    nearest = KNeighborsClassifier(min(_NEIGHBOURS, len(labels) - 1), metric="cosine")
    nearest.fit(features.astype(np.float64), labels)
    left_out, answers = nearest.predict(None), nearest.predict(test_features.astype(np.float64))
    return _measure((labels, left_out), (test_labels, answers), measure=measure)


def _is_finite(*features: np.ndarray) -> bool:
    return all(np.isfinite(values).all() for values in features)


def _measure(*answered: tuple[np.ndarray, np.ndarray], measure: str) -> float:
    """Measures the answers to some pictures, each as labels and answers, together."""
    labels, answers = (np.concatenate(of) for of in zip(*answered, strict=True))
    return measure_accuracy(labels, answers, measure).estimate
