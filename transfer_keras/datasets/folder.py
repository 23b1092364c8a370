"""`folder:PATH`: pictures in `class/file` or `split/class/file`, of any number and any size."""

import dataclasses
import hashlib
import itertools
import os
import pathlib
import stat
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.config import (
    DECODED,
    FOLDER,
    UserError,
    few,
    image_folders,
    is_picture,
    shown,
    suffix,
)
from transfer_keras.datasets import records
from transfer_keras.datasets.bad_images import refuse_bad_images


class _File(NamedTuple):
    path: str
    size: int  # Bytes.

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


_Classes = Mapping[str, Sequence[_File]]  # Sorted.


class Folder:
    """Pictures of classes; see `sources.Source` for what it shares with datasets of TFDS.

    Args:
        name: "folder:PATH"; in PATH a folder a class; or a folder `train` (or `training`) and one
            `val` (`validation`, `valid` or, where there is none of these, `test`), and in each a
            folder a class. Upper and lower case are the same. A `test` beside `val` is not used.
        bad_images: see `bad_images.refuse_bad_images`; here of files that need not be decoded.
        validation_split: the part of each class that is validated on, above 0 and below 1, where
            PATH has neither `train` nor `val`; at least one picture, and one stays for training.
        validation_seed: which pictures these are. Others that come later move hardly any.

    Attributes:
        name: as it was asked for.
        class_names: sorted.
        identity: a digest of the names and sizes of the files of each split.
        skipped: a line for each file that is left out.
        train, test: names of the two splits.

    Raises:
        UserError: if a split or a class is missing, a class has too few pictures, a file or
            folder cannot be used, or pictures lie where they would not be used.
    """

    square = False  # Not known, and so not relied on.
    at_hand = names_known = True

    def __init__(
        self,
        name: str,
        *,
        bad_images: str = "error",
        validation_split: float = 0.2,
        validation_seed: int = 0,
    ):
        self.name = name
        self._root = image_folders.path_of(name).resolve()
        folders = self._layout()
        self.class_names = self._classes(folders)
        unusable: list[tuple[str, str]] = []
        found = [self._list(folder, unusable) for folder in folders]
        refuse_bad_images(unusable, bad_images, where=f"--dataset={name}")
        self.skipped = [f"{path} {why}" for path, why in unusable]
        for entry in filter(is_picture, itertools.chain(*map(self._entries, folders))):
            self.skipped.append(f"{shown(entry.path)} is in the folder of no class")
        for folder, classes in zip(folders, found, strict=True):
            self._check_filled(folder, classes)
        if len(found) == 2:
            self.train, self.test = (folder.name for folder in folders)
        else:
            self.train, self.test = "train", "validation"
            self._check_divisible(found[0])
            found = _divided(found[0], validation_split, validation_seed)
        self._files = dict(zip((self.train, self.test), found, strict=True))
        self.identity = f"{FOLDER}{shown(self._root.name)}/{_digest(self._files)[:12]}"

    def prepare(self) -> None:
        """It is on disk already."""

    def size(self, split: str) -> int:
        """Number of pictures in a split."""
        return sum(map(len, self._files[split].values()))

    def records(self, split: str) -> records.Records:
        """The pictures of a split, by class and name."""
        classes = list(self._files[split].values())
        paths = [file.path for files in classes for file in files]
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), list(map(len, classes)))
        # As bytes: a name need not be text.
        made = records.of_files(list(map(os.fsencode, paths)), labels)
        return dataclasses.replace(made, name=lambda place: shown(paths[place]))

    def _layout(self) -> list[pathlib.Path]:
        """The folders of classes: `train` and `val`, or PATH alone."""
        names = image_folders.split_folders(self.name)
        return [self._root / name for name in names] if names else [self._root]

    def _classes(self, folders: Sequence[pathlib.Path]) -> tuple[str, ...]:
        classes = [self._class_folders(folder) for folder in folders]
        for (here, names), (there, others) in itertools.permutations(
            zip(folders, classes, strict=True), 2
        ):
            if more := sorted({*names} - {*others}):
                raise UserError(
                    f"--dataset={self.name}: {len(more)} classes are in {here.name}/ and not in "
                    f"{there.name}/: {few(more)}. Each needs pictures in both."
                )
        if len(classes[0]) < 2:
            for name in classes[0]:
                self._check_flat(folders[0], name, self._entries(folders[0] / name))
            pictures = sum(map(is_picture, self._entries(folders[0])))
            found = [*classes[0], *([f"{pictures} pictures in no folder"] if pictures else [])]
            raise UserError(
                f"--dataset={self.name}: expected two or more folders, a class each, in "
                f"{shown(folders[0])}; found {few(found) or 'no folder'}. Pictures belong in "
                f"{image_folders.LAYOUTS}."
            )
        return tuple(classes[0])

    def _class_folders(self, folder: pathlib.Path) -> list[str]:
        names = []
        for entry in self._entries(folder):
            if not os.path.exists(entry.path):
                raise UserError(
                    f"--dataset={self.name}: {shown(entry.path)} is a broken link. Mend or remove "
                    "it: it may be a class."
                )
            if entry.is_dir():
                names.append(entry.name)
        if odd := [name for name in names if shown(name) != name]:
            raise UserError(
                f"--dataset={self.name}: names of classes are expected in UTF-8, found "
                f"{few(list(map(shown, odd)))}. Rename these folders."
            )
        return names

    def _list(self, folder: pathlib.Path, unusable: list[tuple[str, str]]) -> _Classes:
        classes = {name: [] for name in self.class_names}
        for name, files in classes.items():
            entries = self._entries(folder / name)
            self._check_flat(folder, name, entries)
            for entry in filter(is_picture, entries):
                if why := _fault(entry):
                    unusable.append((shown(entry.path), why))
                else:
                    files.append(_File(entry.path, entry.stat().st_size))
        return classes

    def _entries(self, folder: pathlib.Path) -> list[os.DirEntry]:
        return image_folders.entries(self.name, folder)

    def _check_flat(self, folder: pathlib.Path, name: str, entries: Sequence[os.DirEntry]) -> None:
        """That no folder in that of a class holds pictures, which would not be used."""
        known = {os.path.realpath(self._root), os.path.realpath(folder / name)}
        below = (
            image_folders.picture_below(self.name, entry.path, known)
            for entry in entries
            if not is_picture(entry) and entry.is_dir()
        )
        if picture := next(filter(None, below), None):
            advice = f"Move them up into {shown(name)}."
            if folder == self._root and not any(map(is_picture, entries)):
                path = f"{image_folders.without_slash(self.name)}/{name}"
                advice = f"If the classes are in there, give --dataset={path}; else m{advice[1:]}"
            raise UserError(
                f"--dataset={self.name}: pictures lie in folders within the class {shown(name)}, "
                f"as {shown(os.path.relpath(picture, self._root))}, and would not be used. {advice}"
            )

    def _check_filled(self, folder: pathlib.Path, classes: _Classes) -> None:
        for name, files in classes.items():
            if not files:
                raise UserError(
                    f"--dataset={self.name}: {os.path.relpath(folder / name, self._root)} has no "
                    f"picture (a file that ends in {', '.join(sorted(DECODED))}). Add some, or "
                    "remove the folder."
                )

    def _check_divisible(self, classes: _Classes) -> None:
        if single := [name for name, files in classes.items() if len(files) < 2]:
            raise UserError(
                f"--dataset={self.name}: {len(single)} classes have a single picture: "
                f"{few(single)}. Expected two or more, to train and to validate on. Add some, "
                "remove the folder, or give PATH/train/CLASS and PATH/val/CLASS."
            )


def _divided(classes: _Classes, fraction: float, seed: int) -> tuple[_Classes, _Classes]:
    """(training, validation), each class by itself."""
    if not 0 < fraction < 1:
        raise ValueError(
            f"validation_split must be above 0 and below 1. Received: validation_split={fraction}"
        )
    train, test = {}, {}
    for name, files in classes.items():

        def place(file, name=name):
            facts = map(os.fsencode, (str(seed), name, file.name))
            return hashlib.sha256(b"\0".join(facts)).digest()

        count = min(max(1, round(fraction * len(files))), len(files) - 1)
        chosen = set(sorted(files, key=place)[:count])
        train[name] = [file for file in files if file not in chosen]
        test[name] = [file for file in files if file in chosen]
    return train, test


def _digest(splits: Mapping[str, _Classes]) -> str:
    digest = hashlib.sha256()
    for split, classes in splits.items():
        for name, files in classes.items():
            for file in files:
                digest.update(os.fsencode(f"{split} {name}/{file.name} {file.size}\n"))
    return digest.hexdigest()


def _fault(entry: os.DirEntry) -> str | None:
    """Why a picture cannot be used, as far as is seen without decoding it."""
    if (ending := suffix(entry)) in image_folders.NOT_DECODED:
        return f"is {ending}, which TensorFlow does not decode: convert it to JPEG or PNG"
    try:
        if not stat.S_ISREG(entry.stat().st_mode):
            return "is no file"
        if ending == ".bmp" and _has_colours_in_palette(entry.path):
            return "has a palette, which TensorFlow does not heed in a BMP: convert it to PNG"
    except OSError as error:
        what = "is a broken link" if entry.is_symlink() else "cannot be read"
        return f"{what} ({error.strerror})"
    return None


def _has_colours_in_palette(path: str) -> bool:
    """Whether the bytes of a BMP are numbers of colours, and not shades of grey."""
    with open(path, "rb") as file:
        head = file.read(2048)
    if int.from_bytes(head[28:30], "little") != 8:  # Bits a pixel.
        return False
    start, end = (int.from_bytes(head[at : at + 4], "little") for at in (14, 10))
    palette = head[14 + start : end]
    shades = bytes(range(256))[: len(palette) // 4]
    return any(palette[channel::4] != shades for channel in range(3))
