"""Lists of pictures that are not to be used: text files, a path relative to the folder a line."""

import os
import pathlib
from collections.abc import Collection

from transfer_keras.config import UserError, printable, read_lines

COMMENT = "#"


def name_in_list(path: str | os.PathLike, root: pathlib.Path) -> str:
    """Gives the line of a picture in a list.

    Args:
        path: of the picture.
        root: the folder of the dataset.
    """
    line = printable(os.path.relpath(path, root))
    return f"./{line}" if line.startswith(COMMENT) else line


def read_list(path: str | os.PathLike) -> frozenset[str]:
    """Reads a list; empty lines and those that begin with # count for nothing.

    Raises:
        UserError: if it cannot be read.
    """
    lines = read_lines(f"--leave_out={path}", path, "the path of a picture")
    named = [line for line in lines if line.strip() and not line.startswith(COMMENT)]
    return frozenset(map(_normal, named))


def check_list(
    path: str | os.PathLike, unknown: Collection[str], dataset: str, root: pathlib.Path
) -> None:
    """Checks that each line of a list names a picture.

    Args:
        path: of the list.
        unknown: its lines that name none.
        dataset: its name.
        root: its folder.

    Raises:
        UserError: naming one of them.
    """
    if unknown:
        raise UserError(
            f"--leave_out={path}: {len(unknown)} of its lines name no picture of {dataset}, as "
            f"{min(unknown)[:200]!r}. Expected paths relative to {printable(root)}; make the "
            "list again by python -m transfer_keras.check_pictures --fix=list."
        )


def _normal(line: str) -> str:
    """Writes a path as `name_in_list` does."""
    line = printable(os.path.normpath(line))
    return f"./{line}" if line.startswith(COMMENT) else line
