"""Writes predictions as a table that spreadsheets open."""

import csv
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from transfer_keras.config import cell, printable
from transfer_keras.deployment.classifier import Prediction
from transfer_keras.files import write_whole

UNKNOWN = "unknown"
_SHOWN = 5  # Most probable classes.


def write_table(
    path: pathlib.Path,
    predictions: Iterable[Prediction],
    classes: Sequence[str],
    threshold: float = 0.0,
) -> Iterator[Prediction]:
    """Writes predictions as they come, and passes them on; the file is whole or not there.

    Args:
        path: of a CSV file in UTF-8: path, class, its probability, the next four with theirs, and
            why a picture cannot be read.
        predictions: what to write.
        classes: names.
        threshold: below which probability the class is "unknown"; a last column then has the most
            probable one.
    """
    shown = min(_SHOWN, len(classes))
    columns = ["path", "class", "probability"]
    for place in range(2, shown + 1):
        columns += [f"class_{place}", f"probability_{place}"]
    with write_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns.append("fault")
        writer.writerow([*columns, "most_probable"] if threshold else columns)
        for prediction in predictions:
            cells = [cell(printable(prediction.path))]
            if prediction.probabilities is None:
                cells += [""] * (2 * shown) + [cell(prediction.fault)]
            else:
                order = np.argsort(-prediction.probabilities, kind="stable")[:shown]
                for place in order:
                    value = float(prediction.probabilities[place])
                    cells += [cell(classes[place]), f"{value:.6f}"]
                cells.append("")
                if threshold:
                    cells.append(cells[1])
                if prediction.probabilities[order[0]] < threshold:
                    cells[1] = UNKNOWN
            writer.writerow(cells)
            yield prediction
