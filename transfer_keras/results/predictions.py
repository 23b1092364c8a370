"""What a network predicts for the test images, with what tells whose predictions they are."""

import pathlib
from collections.abc import Mapping

import numpy as np

from transfer_keras.files import DamagedFile, read_arrays, write_arrays
from transfer_keras.results.facts import as_written
from transfer_keras.results.rows import Row

# What sets the experiments of a study apart, of their settings.
_VARIANT = ("split", "seed", "examples_per_class")


def write_predictions(
    path: pathlib.Path,
    name: str,
    settings: Mapping,
    arrays: Mapping[str, np.ndarray],
    loss: float | None,
) -> None:
    """Writes arrays with one entry an image.

    Args:
        path: of the file.
        name: of the treatment.
        settings: of the experiment.
        arrays: "label" and "predicted", and what else there is.
        loss: of the row that they belong to, if it has one.
    """
    of_row = {} if loss is None else {"loss": loss}
    write_arrays(path, arrays, _owner(name, settings) | of_row)


def read_predictions(
    path: pathlib.Path, settings: Mapping, row: Row, remedy: str
) -> tuple[np.ndarray, np.ndarray]:
    """Reads them, and checks that they belong to a row of an experiment.

    Args:
        path: of the file.
        settings: of the experiment.
        row: of the network.
        remedy: what to do if the file is damaged, as a sentence.

    Returns:
        (label, predicted), each int32 (test images,).

    Raises:
        DamagedFile: if they do not.
    """
    arrays, owner = read_arrays(path, remedy)
    if owner is not None:  # Version 0.1.0 did not write whose they are, and later not all of it.
        expected = _owner(row.treatment, settings)
        if not isinstance(owner, Mapping) or owner.get("treatment") != row.treatment:
            raise DamagedFile(path, "holds the predictions of another network", remedy)
        expected["loss"] = row.loss
        for key in [key for key in expected if key in owner]:
            if owner[key] != expected[key]:
                other = "row.json" if key == "loss" else "experiment.json"
                raise DamagedFile(
                    path,
                    f"and {other} do not belong together: {key} is {owner[key]!r} here, "
                    f"{expected[key]!r} there",
                    f"Put back the one that is in the wrong folder. {remedy}",
                )
    label, predicted = arrays.get("label"), arrays.get("predicted")
    if fault := row.fault_of(label, predicted):
        raise DamagedFile(path, fault, remedy)
    return label, predicted


def _owner(name: str, settings: Mapping) -> dict[str, object]:
    """Says whose predictions they are, as JSON has it."""
    variant = {key: settings[key] for key in _VARIANT if key in settings}
    return as_written({"treatment": name, **variant})
