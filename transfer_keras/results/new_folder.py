"""Whether a folder can become a workdir, or a folder in it; and which of these there are."""

import os
import pathlib

from transfer_keras.config import UserError, is_treatment_name
from transfer_keras.files import DamagedFile, is_partial
from transfer_keras.results import lock


def check_new_folder(folder: pathlib.Path, expected: str) -> None:
    """Refuses a folder that cannot be written, or that holds files of something else.

    Args:
        folder: it need not exist.
        expected: the name of the file that every workdir has.

    Raises:
        UserError: then.
    """
    if not os.access(_nearest_existing(folder), os.W_OK):
        raise UserError(f"--workdir={folder}: cannot be written. Give another folder.")
    if folder.is_dir() and not all(map(_is_left_over, folder.iterdir())):
        raise UserError(
            f"--workdir={folder}: holds other files and no {expected}. Give a new or empty "
            "folder, or one of an earlier run."
        )


def check_folder_place(folder: pathlib.Path) -> None:
    """Refuses what lies in the place of a folder that is written to; a link is not followed.

    Raises:
        DamagedFile: then.
    """
    if folder.is_symlink():
        raise DamagedFile(folder, "is a link, expected a folder", "Move it away.")
    if folder.exists() and not folder.is_dir():
        raise DamagedFile(folder, "is no folder, and one is to be made", "Move it away.")


def names_of_folders(folder: pathlib.Path, file: str) -> list[str]:
    """Lists the names of the folders in a workdir that have a file of a name, sorted.

    Raises:
        DamagedFile: if something else lies in the place of a network's folder.
    """
    names = []
    for path in folder.glob("*"):
        if is_treatment_name(path.name) and not path.is_dir():
            raise DamagedFile(path, "is no folder, expected that of a network", "Move it away.")
        if os.path.lexists(path / file):
            names.append(path.name)
    return sorted(names)


def _is_left_over(path: pathlib.Path) -> bool:
    """Tells whether a first run that was killed before it wrote anything may have left a file."""
    return path.name == lock.NAME or is_partial(path)


def _nearest_existing(folder: pathlib.Path) -> pathlib.Path:
    """Finds the folder, or the nearest one above it that exists."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
