"""The confusion matrix of one network."""

import io
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot

# Names of more classes than these could not be read.
_MOST_NAMES = 60


def fractions(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts predictions, as fractions of the images of each class.

    Args:
        label: int (images,), 0..classes-1.
        predicted: int (images,), 0..classes-1.
        classes: number of classes.

    Returns:
        float (true class, predicted class); a class without images has zeros.
    """
    counts = np.zeros((classes, classes))
    np.add.at(counts, (label, predicted), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def draw(
    label: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], *, title: str
) -> bytes:
    """Draws the confusion matrix: a row for each true class, a column for each predicted one.

    Args:
        label: int (images,), 0..classes-1.
        predicted: int (images,), 0..classes-1.
        class_names: of all classes; written where there are few enough to be read.
        title: text above the figure.

    Returns:
        The bytes of a PNG file.
    """
    classes = len(class_names)
    side = 3 + 0.16 * min(classes, _MOST_NAMES)
    figure, axis = pyplot.subplots(figsize=(side + 0.8, side), layout="constrained")
    image = axis.imshow(
        fractions(label, predicted, classes),
        cmap="magma_r",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    figure.colorbar(image, ax=axis, label="fraction of the class's images", shrink=0.8)
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
