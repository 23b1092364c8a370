"""`folder:PATH`: pictures in `split/class/file`, of any number and any size."""

import hashlib
import os
import pathlib
from typing import ClassVar

import numpy as np

from transfer_keras.datasets import records
from transfer_keras.datasets.catalogue import FOLDER
from transfer_keras.errors import UserError

_TRAIN, _TEST = ("train", "training"), ("val", "validation", "valid", "test")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp"}  # What TensorFlow decodes.
_NAMED = 3


class Folder:
    """Pictures of classes; see `sources.Source` for what it shares with datasets of TFDS.

    Args:
        name: "folder:PATH"; in PATH a folder `train` (or `training`), one `val` (`validation`,
            `valid` or `test`), and in each a folder a class.

    Attributes:
        name: as it was asked for.
        class_names: sorted.
        identity: a digest of the names and sizes of the files.
        train, test: names of the two splits.

    Raises:
        UserError: if a split or a class is missing, or a class has no picture.
    """

    square = False  # Not known, and so not relied on.
    at_hand = names_known = True
    skipped: ClassVar[list[str]] = []  # When it was prepared, which it is not.

    def __init__(self, name: str):
        self.name = name
        self._root = pathlib.Path(name.removeprefix(FOLDER)).expanduser().resolve()
        self.train = self._split("train", _TRAIN)
        self.test = self._split("validation", _TEST)
        classes = {split: _folders(self._root / split) for split in (self.train, self.test)}
        self.class_names = tuple(classes[self.train])
        self._check_classes(classes)
        self._files = {split: self._list(split) for split in classes}
        digest = hashlib.sha256()
        for split, (paths, _) in self._files.items():
            for path in paths:
                place = os.path.relpath(path, self._root / split)
                digest.update(f"{split} {place} {os.path.getsize(path)}\n".encode())
        self.identity = f"{FOLDER}{self._root.name}/{digest.hexdigest()[:12]}"

    def prepare(self) -> None:
        """It is on disk already."""

    def size(self, split: str) -> int:
        """Number of pictures in a split."""
        return len(self._files[split][0])

    def records(self, split: str) -> records.Records:
        """The pictures of a split, by class and name."""
        paths, labels = self._files[split]
        return records.of_files(paths, labels)

    def _split(self, what: str, names: tuple[str, ...]) -> str:
        found = [name for name in names if (self._root / name).is_dir()]
        if not found:
            there = _folders(self._root) if self._root.is_dir() else []
            raise UserError(
                f"--dataset={self.name}: no folder {' or '.join(names)} for {what}. Expected "
                f"PATH/train/CLASS/picture.jpg and PATH/val/CLASS/picture.jpg; found "
                f"{', '.join(there[:_NAMED]) or 'no folder'}."
            )
        return found[0]

    def _check_classes(self, classes: dict[str, list[str]]) -> None:
        train, test = (set(classes[split]) for split in (self.train, self.test))
        for here, there, more in ((self.train, self.test, train - test),
                                  (self.test, self.train, test - train)):  # fmt: skip
            if more:
                raise UserError(
                    f"--dataset={self.name}: {len(more)} classes are in {here}/ and not in "
                    f"{there}/: {', '.join(sorted(more)[:_NAMED])}. Each needs pictures in both."
                )

    def _list(self, split: str) -> tuple[list[str], np.ndarray]:
        paths, labels = [], []
        for label, name in enumerate(self.class_names):
            with os.scandir(self._root / split / name) as entries:
                files = sorted(e.path for e in entries if e.is_file() and _is_picture(e.name))
            if not files:
                raise UserError(
                    f"--dataset={self.name}: {split}/{name} has no picture (a file that ends in "
                    f"{', '.join(sorted(_SUFFIXES))})."
                )
            paths += files
            labels += [label] * len(files)
        return paths, np.array(labels, np.int32)


def _folders(path: pathlib.Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and pathlib.PurePath(name).suffix.lower() in _SUFFIXES
