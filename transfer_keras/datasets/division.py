"""How the pictures of a folder are divided into those to train on and those to validate on."""

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from transfer_keras.config import UserError, first_few, printable


class File(NamedTuple):
    """A picture of a folder.

    Attributes:
        path: of the file.
        size: in bytes.
    """

    path: str
    size: int

    @property
    def name(self) -> str:
        """Gives the name without the folder."""
        return os.path.basename(self.path)


# Name of a class -> its files; both are sorted by name.
Classes = Mapping[str, Sequence[File]]


class Division(NamedTuple):
    """How pictures are divided that lie in no folders `train` and `val`.

    Attributes:
        part: the fraction of each class that is validated on, above 0 and below 1; with groups
            one of so many equal parts as come nearest.
        seed: decides which.
        folds: into how many parts all pictures are divided, those of `train` and `val` together;
            one of them is validated on. None: by `part`.
        fold: which one.
        group_by: a regular expression that is searched in the name of each file; what its first
            group matches, or else all of it, names a group, which is never divided. None: each
            file may go anywhere.
    """

    part: float = 0.2
    seed: int = 0
    folds: int | None = None
    fold: int = 0
    group_by: str | None = None


USUAL = Division()


def divide(name: str, classes: Classes, division: Division) -> tuple[Classes, Classes]:
    """Divides the pictures of each class.

    Args:
        name: of the dataset.
        classes: with two pictures or more each.
        division: how.

    Returns:
        Those to train on, and those to validate on.

    Raises:
        UserError: if a file is in no group, or a class has no picture on one side.
    """
    if division.folds is None and division.group_by is None:
        return _divide_by_hash(classes, division)
    folds = division.folds or max(2, round(1 / division.part))
    if few := [label for label, files in classes.items() if len(files) < folds]:
        raise UserError(
            f"--dataset={name}: {len(few)} classes have fewer pictures than the {folds} parts: "
            f"{first_few(few, 3)}. Give fewer --folds, a larger --validation_split, or more "
            "pictures."
        )
    labels = np.repeat(np.arange(len(classes)), list(map(len, classes.values())))
    files = list(itertools.chain.from_iterable(classes.values()))
    groups = np.arange(len(files))
    if division.group_by is not None:
        groups = np.unique(_groups(name, files, division.group_by), return_inverse=True)[1]
    if (count := len(np.unique(groups))) < folds:
        raise UserError(
            f"--dataset={name}: {count} groups of pictures cannot be divided into {folds} parts. "
            "Give fewer --folds, a larger --validation_split, or another --group_by."
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=division.seed)
    parts = [test for _, test in splitter.split(files, labels, groups)]
    used = parts if division.folds else parts[division.fold : division.fold + 1]
    _check_parts(name, list(classes), labels, used)
    held_out = {files[place] for place in parts[division.fold]}
    return _part(classes, lambda file: file not in held_out), _part(classes, held_out.__contains__)


def _part(classes: Classes, belongs: Callable[[File], bool]) -> Classes:
    return {label: list(filter(belongs, files)) for label, files in classes.items()}


def _groups(name: str, files: Sequence[File], pattern: str) -> list[str]:
    found = [re.search(pattern, printable(file.name)) for file in files]
    if missing := [printable(f.name) for f, match in zip(files, found, strict=True) if not match]:
        raise UserError(
            f"--group_by={pattern}: is found in the names of all but {len(missing)} of "
            f"{len(files)} pictures of {name}: {first_few(missing, 3)}. Expected all."
        )
    return [match.group(1 if match.re.groups else 0) or "" for match in found]


def _check_parts(
    name: str, classes: Sequence[str], labels: np.ndarray, parts: Sequence[np.ndarray]
) -> None:
    """Checks that each class can be trained and validated on with each part."""
    counts = np.bincount(labels)
    for part in parts:
        there = np.bincount(labels[part], minlength=len(classes))
        if poor := [classes[k] for k in np.flatnonzero((there == 0) | (there == counts))]:
            raise UserError(
                f"--dataset={name}: of {len(poor)} classes all pictures are on one side: "
                f"{first_few(poor, 3)}. Give fewer --folds, another --validation_split or "
                "--group_by, or more pictures."
            )


def _divide_by_hash(classes: Classes, division: Division) -> tuple[Classes, Classes]:
    """Divides each class by a hash of (seed, class, file name): the first are validated on.

    So a file keeps its place among the others, however many files are added.
    """
    if not 0 < division.part < 1:
        raise ValueError(
            "validation_split must be above 0 and below 1. Received: "
            f"validation_split={division.part}"
        )
    train, test = {}, {}
    for name, files in classes.items():

        def sort_key(file, name=name):
            identity = map(os.fsencode, (str(division.seed), name, file.name))
            return hashlib.sha256(b"\0".join(identity)).digest()

        count = min(max(1, round(division.part * len(files))), len(files) - 1)
        held_out = set(sorted(files, key=sort_key)[:count])
        train[name] = [file for file in files if file not in held_out]
        test[name] = [file for file in files if file in held_out]
    return train, test
