"""How pictures lie in `folder:PATH`, seen without opening one, nor importing TensorFlow."""

import os
import pathlib
import unicodedata
from collections.abc import Collection, Sequence

from transfer_keras.config.errors import UserError
from transfer_keras.config.paths import UNPRINTABLE
from transfer_keras.config.text import first_few

FOLDER = "folder:"  # Before the path of pictures; see `folder.Folder`.
LAYOUTS = "PATH/CLASS/picture.jpg, or PATH/train/CLASS/picture.jpg and PATH/val/CLASS/picture.jpg"
DECODED = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".jxl", ".png", ".webp"}
NOT_DECODED = {".avif", ".heic", ".heif", ".jp2", ".pgm", ".ppm", ".tif", ".tiff"}
_TRAIN, _VALIDATION, _TEST = ("train", "training"), ("val", "validation", "valid"), ("test",)
_LEFT_BY_MACS = "__MACOSX"  # In zips: a file of the same name beside each picture.
# ImageNet-21k has 21,841 classes, iNaturalist 10,000.
MOST_CLASSES = 100_000


def path_of(name: str) -> pathlib.Path:
    """Gives the path in "folder:PATH"."""
    return pathlib.Path(os.path.expanduser(name.removeprefix(FOLDER)))


def without_slash(name: str) -> str:
    """Gives the dataset "folder:PATH/" as "folder:PATH", any other as it is; links stay."""
    if not name.startswith(FOLDER):
        return name
    return name.rstrip("/") if name.strip("/") != FOLDER else name


def split_folders(name: str) -> tuple[str, str] | None:
    """Finds the folders for training and for validation, in any case; None where there is none.

    Raises:
        UserError: if one is missing, or there are two; or if pictures lie beside both.
    """
    root = path_of(name)
    folders = [entry.name for entry in entries(name, root) if is_folder(entry)]
    train, validation, test = (
        [folder for folder in folders if folder.lower() in names]
        for names in (_TRAIN, _VALIDATION, _TEST)
    )
    held_out = validation or test
    for same in (train, held_out):
        if len(same) > 1:
            raise UserError(
                f"--dataset={name}: {' and '.join(f'{folder}/' for folder in same)} are names of "
                "the same split. Leave one of them there."
            )
    if not train and not held_out:
        return None
    taken = (
        f"{(*train, *held_out)[0]}/ is taken for a split here: if it is a class, rename the folder."
    )
    for names, present, what in (
        (_TRAIN, train, "train"),
        ((*_VALIDATION, *_TEST), held_out, "validation"),
    ):
        if not present:
            raise UserError(
                f"--dataset={name}: no folder {' or '.join(names)} for {what}. Expected {LAYOUTS}; "
                f"found {first_few([printable(name) for name in folders], 3)}. {taken}"
            )
    known = {os.path.realpath(root / folder) for folder in ("", *train, *held_out)}
    for folder in folders:
        if folder not in (*train, *validation, *test) and (
            picture := picture_below(name, root / folder, known)
        ):
            raise UserError(
                f"--dataset={name}: {os.path.relpath(printable(picture), root)} lies beside "
                f"{train[0]}/ and {held_out[0]}/, and would not be used. Move {printable(folder)} "
                f"away, or its pictures into both. {taken}"
            )
    return train[0], held_out[0]


def held_out_folder(name: str, *, folds: bool = False) -> str | None:
    """Finds the folder `test` of a dataset that has folders for training and validation besides.

    Args:
        name: of the dataset.
        folds: whether its pictures are divided anew: then a folder for training suffices.

    Raises:
        UserError: see `split_folders`.
    """
    splits, root = split_folders(name), path_of(name)
    for entry in entries(name, root) if splits else ():
        is_split = entry.name in splits and not folds
        if entry.name.lower() in _TEST and not is_split and is_folder(entry):
            return entry.name
    return None


def entries(name: str, folder: str | os.PathLike) -> list[os.DirEntry]:
    """Lists what is in a folder of the dataset `name` and not hidden, sorted."""
    try:
        with os.scandir(folder) as scanned:
            seen = [e for e in scanned if not e.name.startswith(".") and e.name != _LEFT_BY_MACS]
    except OSError as error:
        raise UserError(
            f"--dataset={name}: the folder {printable(folder)} cannot be read ({error.strerror})."
        ) from error
    return sorted(seen, key=lambda entry: entry.name)


def picture_below(name: str, folder: str | os.PathLike, known: Collection[str]) -> str | None:
    """Finds the path of some picture in a folder or in those below it.

    Args:
        name: of the dataset.
        folder: where to look.
        known: real paths of folders that are not looked into, as links may lead back to them.
    """
    to_visit, seen = [os.fspath(folder)], {*known}
    while to_visit:
        folder = to_visit.pop()
        if (real := os.path.realpath(folder)) in seen:
            continue
        seen.add(real)
        for entry in entries(name, folder):
            if is_folder(entry):
                to_visit.append(entry.path)
            elif is_picture(entry):
                return entry.path
    return None


def is_picture(entry: os.DirEntry) -> bool:
    """Tells whether a file's name ends as those of pictures do."""
    return file_suffix(entry) in DECODED | NOT_DECODED


def file_suffix(entry: os.DirEntry) -> str:
    """Gives the ending of a file's name, as ".jpg", in lower case."""
    return pathlib.PurePath(entry.name).suffix.lower()


def is_folder(entry: os.DirEntry) -> bool:
    """Tells whether an entry is a folder, or a link to one; a link that leads to itself is none."""
    return os.path.isdir(entry.path)


def printable(path: str | os.PathLike) -> str:
    """Gives a path as text on one line, whatever its bytes are: control characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in UNPRINTABLE:
        return character
    return character.encode("unicode_escape").decode()


def normal_form(name: str) -> str:
    """Gives the form of a name by which two are compared that look the same (Unicode's NFC)."""
    return unicodedata.normalize("NFC", name)


def check_classes(where: str, names: Sequence[str]) -> None:
    """Checks the names of a dataset's classes.

    Args:
        where: the flag, with its value, that they come from.
        names: in any order.

    Raises:
        UserError: if there are too many; if one has characters that are not text; if two look the
            same.
    """
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{where}: has {len(names):,} classes. Expected at most {MOST_CLASSES:,}; take a part."
        )
    if odd := [name for name in names if printable(name) != name]:
        raise UserError(
            f"{where}: names of classes are expected in UTF-8 and on one line, found "
            f"{first_few([printable(name) for name in odd], 3)}. Rename these folders."
        )
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(normal_form(name), name)) is not name:
            raise UserError(
                f"{where}: two classes look the same, {name}, and differ in their bytes only: "
                f"{os.fsencode(other)!r} and {os.fsencode(name)!r} (Unicode's NFC and NFD). Put "
                "their pictures into one folder."
            )
