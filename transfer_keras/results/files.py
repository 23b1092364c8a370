"""Files that are whole or not there."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

# The beginning of a file's name while it is being written.
PARTIAL = ".partial-"


@contextlib.contextmanager
def write_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives another path to write to, and renames it to `path` once all went well.

    The folder of `path` is made where it is missing, but no folder above it: a workdir that was
    removed stays removed.
    """
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with write_whole(path) as partial:
        partial.write_text(text)
