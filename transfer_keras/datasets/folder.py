"""Reads `folder:PATH`: pictures of any size in `class/file` or `split/class/file`."""

import dataclasses
import hashlib
import itertools
import os
import pathlib
import stat
from collections.abc import Mapping, Sequence

import numpy as np

from transfer_keras.config import (
    DECODED,
    FOLDER,
    UserError,
    file_suffix,
    first_few,
    image_folders,
    is_picture,
    printable,
)
from transfer_keras.datasets.bad_images import refuse_bad_images
from transfer_keras.datasets.contents import Contents, read_contents
from transfer_keras.datasets.division import USUAL, Classes, Division, File, divide
from transfer_keras.datasets.leave_out import check_list, name_in_list, read_list
from transfer_keras.datasets.picture_size import find_large_file
from transfer_keras.datasets.records import Records, of_files


class Folder:
    """A dataset in folders of a person's own, one folder for each class.

    It has the attributes and methods of `sources.Source` that `TaskPair` uses.

    Args:
        name: "folder:PATH". PATH holds a folder for each class; or a folder `train` (or
            `training`) and one `val` (`validation`, `valid` or, where there is none of these,
            `test`), each with a folder for each class. Upper and lower case are the same. Of `test`
            beside `val` see `held_out`.
        bad_images: "error" or "skip", the policy of `bad_images.refuse_bad_images`. It applies to
            files that are seen to be bad without being decoded.
        division: which pictures are validated on, if PATH has neither `train` nor `val`, or if it
            has folds: then all pictures are divided anew, but for those of `test`. At least one
            picture of a class is validated on, and at least one is trained on.
        leave_out: a list of pictures that are not used, see `leave_out.read_list`; None: all are.

    Attributes:
        name: as it was asked for.
        class_names: names of the classes, sorted.
        identity: the folder's name and a digest of the names and sizes of the files of each split.
        unusable: (path, fault) of each file that is seen to be bad without being decoded.
        skipped: a line for each file that is left out.
        train, test: names of the two splits.
        square: False, since the shapes of the pictures are not known.
        at_hand, names_known: True; see `sources.Source`.

    Raises:
        UserError: if a split or a class is missing, a class has too few pictures, a file or
            folder cannot be used, or pictures lie where they would not be used.
    """

    square = False
    at_hand = names_known = True

    def __init__(
        self,
        name: str,
        *,
        bad_images: str = "error",
        division: Division = USUAL,
        leave_out: str | os.PathLike | None = None,
    ):
        self.name = name
        self._folds = division.folds
        self._root = image_folders.path_of(name).resolve()
        self._left_out = read_list(leave_out) if leave_out else frozenset()
        seen: set[str] = set()  # Lines of the list that name a picture.
        folders = self._layout()
        self.class_names = self._classes(folders)
        self.unusable: list[tuple[str, str]] = []
        splits = [self._list(folder, self.unusable, seen) for folder in folders]
        if leave_out:
            self._list_held_out(seen)
            check_list(leave_out, self._left_out - seen, name, self._root)
        refuse_bad_images(self.unusable, bad_images, where=f"--dataset={name}")
        self.skipped = [f"{path} {fault}" for path, fault in self.unusable]
        for entry in filter(is_picture, itertools.chain(*map(self._entries, folders))):
            self.skipped.append(f"{printable(entry.path)} is in the folder of no class")
        self.skipped += [f"{line} is in --leave_out" for line in sorted(self._left_out & seen)]
        for folder, classes in zip(folders, splits, strict=True):
            self._check_filled(folder, classes)
        if len(splits) == 2 and not division.folds:
            self.train, self.test = (folder.name for folder in folders)
        else:
            self.train, self.test = "train", "validation"
            every = {label: [*itertools.chain.from_iterable(split[label] for split in splits)]
                     for label in self.class_names}  # fmt: skip
            self._check_divisible(every)
            splits = divide(name, every, division)
        self._files = dict(zip((self.train, self.test), splits, strict=True))
        self.identity = f"{FOLDER}{printable(self._root.name)}/{_digest(self._files)[:12]}"

    def prepare(self) -> None:
        """Does nothing, since the pictures are on disk already."""

    @property
    def root(self) -> pathlib.Path:
        """Gives the folder that the classes or the splits are in."""
        return self._root

    def files(self) -> dict[str, Classes]:
        """Lists the pictures of each split, and those of `test` that no split has."""
        return self._files | self._list_held_out(set())

    def size(self, split: str) -> int:
        """Counts the pictures of a split."""
        return sum(map(len, self._files[split].values()))

    def contents(self, kept: pathlib.Path) -> Contents:
        """Gives a digest of the bytes of all pictures of both splits; see `read_contents`."""
        files = {
            os.fsencode(f"{split} {label}/{file.name}"): file.path
            for split, classes in self._files.items()
            for label, files in classes.items()
            for file in files
        }
        return read_contents(files, kept, where=f"--dataset={self.name}")

    def records(self, split: str) -> Records:
        """Gives the pictures of a split on disk, in the order of their classes and names."""
        return _records_of(self._files[split])

    def held_out(self) -> Records | None:
        """Gives the pictures in `test`, which no split has; with folds beside `train` alone too.

        Files that are seen to be bad without being decoded are left out.

        Returns:
            None where there is no such folder.

        Raises:
            UserError: if it has not the same classes, or no picture.
        """
        if not (folder := self._held_out_folder()):
            return None
        if (found := self._class_folders(folder)) != [*self.class_names]:
            expected = first_few(self.class_names, 3)
            raise UserError(
                f"--dataset={self.name}: {folder.name}/ is not used: expected a folder for "
                f"each class, {expected}; found {first_few(found, 3) or 'no folder'}."
            )
        (classes,) = self._list_held_out(set()).values()
        if not any(classes.values()):
            raise UserError(
                f"--dataset={self.name}: {folder.name}/ is not used: it has no picture."
            )
        return _records_of(classes)

    def _list_held_out(self, left_out: set[str]) -> dict[str, Classes]:
        """Lists the pictures in `test` of the classes that it has: name of the split -> files."""
        if not (folder := self._held_out_folder()):
            return {}
        there = {*self._class_folders(folder)} & {*self.class_names}
        classes = self._list(folder, [], left_out, sorted(there))
        return {folder.name: {name: classes.get(name, []) for name in self.class_names}}

    def _held_out_folder(self) -> pathlib.Path | None:
        name = image_folders.held_out_folder(self.name, folds=bool(self._folds))
        return self._root / name if name else None

    def _layout(self) -> list[pathlib.Path]:
        """Finds the folders that hold the classes: `train` and `val`, or PATH alone."""
        names = image_folders.split_folders(self.name)
        if names and self._folds:
            held_out = image_folders.held_out_folder(self.name, folds=True)
            names = [name for name in names if name != held_out]
        return [self._root / name for name in names] if names else [self._root]

    def _classes(self, folders: Sequence[pathlib.Path]) -> tuple[str, ...]:
        """Finds the names of the classes, sorted, and checks that both splits have the same."""
        classes = [self._class_folders(folder) for folder in folders]
        for (split, names), (other_split, other_names) in itertools.permutations(
            zip(folders, classes, strict=True), 2
        ):
            if missing := sorted({*names} - {*other_names}):
                raise UserError(
                    f"--dataset={self.name}: {len(missing)} classes are in {split.name}/ and not "
                    f"in {other_split.name}/: {first_few(missing, 3)}. Each needs pictures in both."
                )
        if len(classes[0]) < 2:
            for name in classes[0]:
                self._check_flat(folders[0], name, self._entries(folders[0] / name))
            pictures = sum(map(is_picture, self._entries(folders[0])))
            contents = [*classes[0], *([f"{pictures} pictures in no folder"] if pictures else [])]
            raise UserError(
                f"--dataset={self.name}: expected two or more folders, a class each, in "
                f"{printable(folders[0])}; found {first_few(contents, 3) or 'no folder'}. Pictures "
                f"belong in {image_folders.LAYOUTS}."
            )
        return tuple(classes[0])

    def _class_folders(self, folder: pathlib.Path) -> list[str]:
        """Lists the names of the folders in a folder, each a class, sorted."""
        names = []
        for entry in self._entries(folder):
            if not os.path.exists(entry.path):
                raise UserError(
                    f"--dataset={self.name}: {printable(entry.path)} is a broken link. Mend or "
                    "remove it: it may be a class."
                )
            if image_folders.is_folder(entry):
                names.append(entry.name)
        image_folders.check_classes(f"--dataset={self.name}", names)
        return names

    def _list(
        self,
        folder: pathlib.Path,
        unusable: list[tuple[str, str]],
        left_out: set[str],
        names: Sequence[str] | None = None,
    ) -> Classes:
        """Lists the pictures of each class.

        Args:
            folder: that has a folder for each class.
            unusable: where bad ones are added: (path, fault).
            left_out: where those are added that are to be left out, as lines of the list.
            names: of the classes; None: all.
        """
        classes = {name: [] for name in (self.class_names if names is None else names)}
        for name, files in classes.items():
            entries = self._entries(folder / name)
            self._check_flat(folder, name, entries)
            for entry in filter(is_picture, entries):
                if (line := name_in_list(entry.path, self._root)) in self._left_out:
                    left_out.add(line)
                elif fault := _find_fault(entry):
                    unusable.append((printable(entry.path), fault))
                else:
                    files.append(File(entry.path, entry.stat().st_size))
        return classes

    def _entries(self, folder: pathlib.Path) -> list[os.DirEntry]:
        return image_folders.entries(self.name, folder)

    def _check_flat(self, folder: pathlib.Path, name: str, entries: Sequence[os.DirEntry]) -> None:
        """Checks that no folder inside that of a class holds pictures; they would not be used."""
        known = {os.path.realpath(self._root), os.path.realpath(folder / name)}
        deeper = (
            image_folders.picture_below(self.name, entry.path, known)
            for entry in entries
            if not is_picture(entry) and image_folders.is_folder(entry)
        )
        if picture := next(filter(None, deeper), None):
            advice = f"Move them up into {printable(name)}."
            if folder == self._root and not any(map(is_picture, entries)):
                path = f"{image_folders.without_slash(self.name)}/{name}"
                advice = f"If the classes are in there, give --dataset={path}; else m{advice[1:]}"
            raise UserError(
                f"--dataset={self.name}: pictures lie in folders within the class "
                f"{printable(name)}, as {printable(os.path.relpath(picture, self._root))}, and "
                f"would not be used. {advice}"
            )

    def _check_filled(self, folder: pathlib.Path, classes: Classes) -> None:
        for name, files in classes.items():
            if not files:
                raise UserError(
                    f"--dataset={self.name}: {os.path.relpath(folder / name, self._root)} has no "
                    f"picture (a file that ends in {', '.join(sorted(DECODED))}). Add some, or "
                    "remove the folder."
                )

    def _check_divisible(self, classes: Classes) -> None:
        if single := [name for name, files in classes.items() if len(files) < 2]:
            raise UserError(
                f"--dataset={self.name}: {len(single)} classes have a single picture: "
                f"{first_few(single, 3)}. Expected two or more, to train and to validate on. Add "
                "some, remove the folder, or give PATH/train/CLASS and PATH/val/CLASS."
            )


def _records_of(classes: Classes) -> Records:
    files = [file.path for of_class in classes.values() for file in of_class]
    counts = [len(of_class) for of_class in classes.values()]
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    # Paths are passed on as bytes, since the name of a file need not be text.
    pictures = of_files(list(map(os.fsencode, files)), labels)
    return dataclasses.replace(pictures, name=lambda place: printable(files[place]))


def _digest(splits: Mapping[str, Classes]) -> str:
    """Computes the SHA-256 of the names and sizes of all files."""
    digest = hashlib.sha256()
    for split, classes in splits.items():
        for name, files in classes.items():
            for file in files:
                digest.update(os.fsencode(f"{split} {name}/{file.name} {file.size}\n"))
    return digest.hexdigest()


def _find_fault(entry: os.DirEntry) -> str | None:
    """Describes why a picture cannot be used, as far as is seen without decoding it."""
    if (ending := file_suffix(entry)) in image_folders.NOT_DECODED:
        return f"is {ending}, which TensorFlow does not decode: convert it to JPEG or PNG"
    try:
        return find_file_fault(entry.path)
    except OSError as error:
        what = "is a broken link" if entry.is_symlink() else "cannot be read"
        return f"{what} ({error.strerror})"


def find_file_fault(path: str) -> str | None:
    """Describes why the file of a picture cannot be used, as far as is seen without decoding it.

    Raises:
        OSError: if it cannot be read.
    """
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        return "is no file"
    return find_large_file(facts.st_size) or find_palette(path)


def find_palette(path: str) -> str | None:
    """Describes why a BMP cannot be used whose bytes are numbers of colours, not shades of grey.

    Raises:
        OSError: if the file of a BMP cannot be read.
    """
    if pathlib.PurePath(path).suffix.lower() != ".bmp":
        return None
    with open(path, "rb") as file:
        head = file.read(2048)
    # The bits of a pixel stand at byte 28; with fewer or more than 8 the bytes are no numbers.
    if int.from_bytes(head[28:30], "little") != 8:
        return None
    # The palette begins after the file's header of 14 bytes and that of the picture, whose size
    # stands at byte 14. The pixels begin where byte 10 says.
    header, pixels = (int.from_bytes(head[at : at + 4], "little") for at in (14, 10))
    palette = head[14 + header : pixels]
    shades = bytes(range(256))[: len(palette) // 4]
    if all(palette[channel::4] == shades for channel in range(3)):
        return None
    return "has a palette, which TensorFlow does not heed in a BMP: convert it to PNG"
