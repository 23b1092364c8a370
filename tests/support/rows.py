"""Rows of results for the tests."""

import dataclasses

import numpy as np

from transfer_keras.config import choices, parse_treatment
from transfer_keras.results import Row, Workdir


def make_row(treatment="A3B", **changes):
    named = parse_treatment(treatment)
    fields = {
        "treatment": treatment,
        "donor": named.donor,
        "n": named.n,
        "target": named.target,
        "mode": named.mode,
        "top1": 0.75,
        "loss": 0.5,
        "outcome": choices.TRAINED,
        "training_loss": 0.4,
        "test_images": 4,
        "classes": 2,
        "steps": 10,
        "group": 1,
        "seconds": 83.4,
        "parameters": 100,
        "trainable_parameters": 40,
        "validation": ((5, 0.6, 0.5), (10, 0.5, 0.75)),
    }
    return Row(**{**fields, **changes})


def write(workdir, row, right, *, network=True):
    """Writes all files of a treatment, of which `right` says what it got right.

    Its network, if at all, is an empty file.
    """
    workdir = Workdir(workdir)
    row = dataclasses.replace(row, top1=float(np.mean(right)), test_images=len(right))
    workdir.write_predictions(row.treatment, predictions(right))
    if network:
        workdir.network_path(row.treatment).touch()
    workdir.write_row(row)


def predictions(right):
    right = np.asarray(right)
    return {"label": np.zeros(right.size, np.int32), "predicted": 1 - right.astype(np.int32)}
