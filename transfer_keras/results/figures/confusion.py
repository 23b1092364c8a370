"""The confusion matrix."""

import io
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot

_MOST_NAMES = 60


def fractions(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(true class, predicted class): of the images of each class, the part with each answer."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (label, predicted), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def draw(
    label: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], *, title: str
) -> bytes:
    """A PNG: a row for each true class, with the fraction of its images that got each answer.

    Args:
        label, predicted: int (images,), 0..classes-1.
        class_names: of all classes; written where there are few enough to be read.
        title: above.
    """
    classes = len(class_names)
    side = 3 + 0.16 * min(classes, _MOST_NAMES)
    figure, axis = pyplot.subplots(figsize=(side + 0.8, side), layout="constrained")
    shown = axis.imshow(
        fractions(label, predicted, classes),
        cmap="magma_r",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    figure.colorbar(shown, ax=axis, label="fraction of the class's images", shrink=0.8)
    if classes <= _MOST_NAMES:
        axis.set_xticks(range(classes), class_names, rotation=90, fontsize=6, parse_math=False)
        axis.set_yticks(range(classes), class_names, fontsize=6, parse_math=False)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(title, fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    pyplot.close(figure)
    return file.getvalue()
