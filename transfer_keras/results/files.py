"""Files that are whole or not there."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

PARTIAL = ".partial-"  # Before the name of a file that is being written.


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives another name to write to, and renames it to `path` once all went well."""
    path.parent.mkdir(exist_ok=True)  # Not above it: a workdir that is gone stays gone.
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
    with whole(path) as partial:
        partial.write_text(text)
