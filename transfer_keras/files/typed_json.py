"""JSON of a known type, by msgspec: every value is checked as it is read."""

import pathlib
from typing import TypeVar

import msgspec

from transfer_keras.files.damage import DamagedFile
from transfer_keras.files.opening import MOST_TEXT, read_bytes

_Kind = TypeVar("_Kind")


def read_json(
    path: pathlib.Path, kind: type[_Kind], remedy: str = "", most: int = MOST_TEXT
) -> _Kind:
    """Reads a JSON file.

    NaN and infinity are no JSON. Nesting is as deep as Python's limit of recursion allows.

    Args:
        path: of the file.
        kind: what it must hold: a dataclass, `dict[str, int]` and the like, with the ranges that
            `msgspec.Meta` gives. Keys that a dataclass does not have are ignored.
        remedy: what to do if it is damaged, as a sentence.
        most: bytes that it may have.

    Raises:
        DamagedFile: naming the first value that is not as expected.
    """
    return check_json(read_bytes(path, remedy, most), kind, path, remedy)


def check_type(value: object, kind: type[_Kind], path: pathlib.Path, remedy: str = "") -> _Kind:
    """Turns what was read from a file into a type, strictly; see `read_json`."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
        raise DamagedFile(path, f"is damaged: {error}", remedy) from error


def check_json(data: bytes, kind: type[_Kind], path: pathlib.Path, remedy: str = "") -> _Kind:
    """Reads JSON from the bytes of a file, or of a part of it; see `read_json`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
        raise DamagedFile(path, f"is damaged: {error}", remedy) from error
