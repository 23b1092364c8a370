"""Compares what a network says of pictures with the classes that they are of."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from sklearn import metrics

from transfer_keras.config import align_columns, printable, render_template
from transfer_keras.datasets import thumbnail
from transfer_keras.deployment.calibration import calibration_error
from transfer_keras.deployment.classifier import Prediction
from transfer_keras.results import BALANCED, measure_accuracy

_MISTAKES = 24  # That are shown, at the most.
_MATRIX = 40  # Classes of the confusion matrix that is shown, at the most.
_CONFUSIONS = 20  # Pairs of classes that are listed, at the most.


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a network does on pictures whose classes are known.

    Attributes:
        predictions: of the pictures that can be read.
        labels: int (pictures,), their classes.
        classes: names.
        threshold: below which probability no class is given; 0: always one.
        unreadable: how many other pictures there are.
    """

    predictions: Sequence[Prediction]
    labels: np.ndarray
    classes: Sequence[str]
    threshold: float = 0.0
    unreadable: int = 0

    @property
    def probabilities(self) -> np.ndarray:
        """Gives float32 (pictures, classes)."""
        return np.stack([prediction.probabilities for prediction in self.predictions])

    @property
    def predicted(self) -> np.ndarray:
        """Gives the most probable class of each picture, whatever the threshold."""
        return self.probabilities.argmax(axis=-1)

    @property
    def answered(self) -> np.ndarray:
        """Tells of which pictures a class is given."""
        return self.probabilities.max(axis=-1) >= self.threshold

    def lines(self) -> list[str]:
        """Writes what it comes to, for people; accuracies are those of the answers given."""
        answered, every = self.answered, len(self.labels)
        lines = []
        if self.threshold:
            refused = every - answered.sum()
            lines.append(
                f"--threshold={self.threshold:g}: {refused:,} of {every:,} are unknown "
                f"({refused / every:.1%}); what follows is of the others."
            )
        if not answered.any():
            return lines
        labels, predicted = self.labels[answered], self.predicted[answered]
        top1 = measure_accuracy(labels, predicted)
        balanced = measure_accuracy(labels, predicted, BALANCED)
        f1 = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
        error = calibration_error(self.probabilities[answered], labels)
        return [
            *lines,
            f"Accuracy {_interval(top1)}, over {len(labels):,} pictures.",
            f"Balanced accuracy {_interval(balanced)}; macro-F1 {f1:.3f}; expected calibration "
            f"error {error:.3f}.",
        ]

    def table(self) -> str:
        """Draws precision, recall and F1 of each class."""
        return align_columns([["class", "pictures", "precision", "recall", "F1"], *self._rows()])

    def page(self, title: str) -> str:
        """Draws a page of one file that needs no network; names in it are text."""
        matrix = metrics.confusion_matrix(
            self.labels, self.predicted, labels=range(len(self.classes))
        )
        return render_template(
            "deployment",
            "evaluation.html",
            title=title,
            lines=self.lines(),
            unreadable=self.unreadable,
            rows=self._rows(),
            classes=list(self.classes),
            matrix=matrix.tolist() if len(self.classes) <= _MATRIX else None,
            confusions=self._confusions(matrix),
            mistakes=self._mistakes(),
        )

    def _rows(self) -> list[list[str]]:
        answered = self.answered
        if not answered.any():
            return []
        scores = metrics.precision_recall_fscore_support(
            self.labels[answered],
            self.predicted[answered],
            labels=range(len(self.classes)),
            zero_division=np.nan,
        )
        return [
            [name, f"{int(pictures):,}", *(_or_dash(x) for x in (precision, recall, f1))]
            for name, precision, recall, f1, pictures in zip(self.classes, *scores, strict=True)
        ]

    def _confusions(self, matrix: np.ndarray) -> list[dict[str, object]]:
        """Lists which class was most often taken for which."""
        wrong = matrix - np.diag(np.diag(matrix))
        order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
        places = [np.unravel_index(place, wrong.shape) for place in order]
        return [
            {"label": self.classes[a], "predicted": self.classes[b], "pictures": int(wrong[a, b])}
            for a, b in places
            if wrong[a, b]
        ]

    def _mistakes(self) -> list[dict[str, object]]:
        """Shows the pictures that it is wrong about, the most certain first."""
        predicted, certainty = self.predicted, self.probabilities.max(axis=-1)
        wrong = np.flatnonzero(predicted != self.labels)
        wrong = wrong[np.argsort(-certainty[wrong], kind="stable")][:_MISTAKES]
        return [
            {
                "path": printable("/".join(pathlib.PurePath(self.predictions[k].path).parts[-2:])),
                "image": thumbnail(self.predictions[k].path),
                "label": self.classes[self.labels[k]],
                "predicted": self.classes[predicted[k]],
                "probability": float(certainty[k]),
            }
            for k in wrong
        ]


def _interval(interval) -> str:
    estimate, low, high = interval
    return f"{estimate:.3f} (95 % {low:.3f} to {high:.3f})"


def _or_dash(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"
