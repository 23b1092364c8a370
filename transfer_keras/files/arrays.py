"""Arrays in files: safetensors, with a digest of what they hold."""

import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from transfer_keras.config import memory
from transfer_keras.files.damage import DamagedFile
from transfer_keras.files.npz import read_npz
from transfer_keras.files.opening import open_regular
from transfer_keras.files.typed_json import check_json
from transfer_keras.files.whole import write_whole

SUFFIX = ".safetensors"
# The one entry of the file's metadata; several would be written in any order.
_KEY = "transfer_keras"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


class _Metadata(msgspec.Struct):
    """What stands beside the arrays: the digest of them and of the facts, and the facts."""

    sha256: str
    facts: Any


class ArraysFile(NamedTuple):
    """The content of a file: arrays by their names, and facts of types that JSON has."""

    arrays: dict[str, np.ndarray]
    facts: Any


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray], facts: Any = None) -> None:
    """Writes arrays into a safetensors file, whole or not at all.

    Args:
        path: it ends in .safetensors.
        arrays: of numbers or truth values, each of any shape.
        facts: what else to keep, of types that JSON has.

    Raises:
        OSError: if it cannot be written.
    """
    dense = {name: _dense(np.asarray(array)) for name, array in arrays.items()}
    metadata = {"sha256": _digest(dense, facts), "facts": facts}
    text = {_KEY: json.dumps(metadata, allow_nan=False)}
    with write_whole(path) as partial:
        try:
            safetensors.numpy.save_file(dense, partial, text)
        except safetensors.SafetensorError as error:
            # The library names the system's error in its text alone.
            if not (number := _OS_ERROR.search(str(error))):
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def read_arrays(path: pathlib.Path, remedy: str = "") -> ArraysFile:
    """Reads a file of `write_arrays`, or an .npz file of version 0.1.0.

    Sizes are compared with the file's before anything is read, and nothing in it is executed.

    Args:
        path: of the file.
        remedy: what to do if it is damaged, as a sentence.

    Raises:
        DamagedFile: if it is not what was written.
    """
    with open_regular(path, remedy) as file:
        size, most = os.fstat(file.fileno()).st_size, memory.process_memory()
        if size > most:
            raise DamagedFile(path, f"has {size:,} bytes, more than the memory ({most:,})", remedy)
        if path.suffix == ".npz":
            return ArraysFile(*read_npz(file, path, remedy))
    try:
        with safetensors.safe_open(path, framework="np") as opened:
            text = (opened.metadata() or {}).get(_KEY)
            arrays = opened.get_tensors()
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFile(path, f"is damaged: {error}", remedy) from error
    if text is None:
        raise DamagedFile(path, "was not written by transfer_keras", remedy)
    metadata = check_json(text.encode(), _Metadata, path, remedy)
    if metadata.sha256 != _digest(arrays, metadata.facts):
        raise DamagedFile(path, "is damaged: its content is not what was written", remedy)
    return ArraysFile(arrays, metadata.facts)


def _dense(array: np.ndarray) -> np.ndarray:
    """Gives an array in C order, with the machine's order of bytes."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _digest(arrays: Mapping[str, np.ndarray], facts: Any) -> str:
    """Computes the digest of arrays in C order, with names, types and shapes, and of facts."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()
