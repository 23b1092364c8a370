"""Lists of pictures that are not to be used: text files, a path relative to the folder a line."""

import os
import pathlib
from collections.abc import Iterable

from transfer_keras.config import UserError, printable

COMMENT = "#"


def name_in_list(path: str | os.PathLike, root: pathlib.Path) -> str:
    """Gives the line of a picture in a list.

    Args:
        path: of the picture.
        root: the folder of the dataset.
    """
    line = printable(os.path.relpath(path, root)).replace("\n", "\\n").replace("\r", "\\r")
    return f"./{line}" if line.startswith(COMMENT) else line


def read_list(path: str | os.PathLike) -> frozenset[str]:
    """Reads a list; empty lines and those that begin with # count for nothing.

    Raises:
        UserError: if it cannot be read, or names nothing.
    """
    try:
        lines = pathlib.Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UserError(
            f"--leave_out={path}: cannot be read ({why}). Expected a text file with the path of a "
            "picture in each line."
        ) from error
    return frozenset(line for line in lines if line.strip() and not line.startswith(COMMENT))


def check_list(path: str | os.PathLike, unknown: Iterable[str], root: pathlib.Path) -> None:
    """Checks that each picture of a list exists.

    Args:
        path: of the list.
        unknown: its lines that are no picture of the dataset.
        root: the folder of the dataset.

    Raises:
        UserError: naming some that do not.
    """
    if missing := sorted(line for line in unknown if not os.path.lexists(root / line)):
        raise UserError(
            f"--leave_out={path}: {len(missing)} of its lines name no file in {printable(root)}: "
            f"{missing[0]!r}. Expected paths relative to that folder; make the list again by "
            "python -m transfer_keras.check_pictures --fix=list."
        )
