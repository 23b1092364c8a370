"""Files that are whole or not there."""

import contextlib
import json
import os
import pathlib
import re
import secrets
from collections.abc import Iterator

from transfer_keras.files.damage import DamagedFile

# The beginning of a file's name while it is being written.
PARTIAL = ".partial-"
# Versions before wrote `.partial-row.json`.
_PARTIAL_NAME = re.compile(
    r"\.partial-([0-9a-f]{16}(\.\w+)?"
    r"|(row|experiment|group|plan|donors|opened|classes|results)\.json|network\.keras|best\.keras"
    r"|predictions\.npz|pixels-[AB]\.npz|filters\.png|curve\.(png|svg)|run\.flags|report\.html)"
)


def is_partial(path: pathlib.Path) -> bool:
    """Tells whether a file has the name that `write_whole` gives to one that is being written."""
    return bool(_PARTIAL_NAME.fullmatch(path.name))


@contextlib.contextmanager
def write_whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives another path to write to, and renames it to `path` once all went well.

    The folder of `path` is made where it is missing, but no folder above it: a workdir that was
    removed stays removed. The other path has a random name and is an empty file of this process,
    so that nothing that lies there is followed or overwritten. Where `path` is a link, the link is
    replaced, and not what it points to.

    Raises:
        OSError: if it cannot be written; it names a file.
        DamagedFile: if a folder lies in the way.
    """
    if path.is_dir() and not path.is_symlink():
        raise DamagedFile(path, "is a folder, and a file is to be written there", "Move it away.")
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}{path.suffix}")
    with open(partial, "xb"):
        pass
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        # A disk that is full is named by no file.
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with write_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, value: object, indent: int | None = None) -> None:
    """Writes a JSON file, whole or not at all.

    Raises:
        ValueError: for NaN and infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, f"{text}\n")
