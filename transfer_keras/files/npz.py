"""The .npz files of version 0.1.0: checkpoints, predictions, statistics of pixels, indices."""

import hashlib
import json
import math
import os
import pathlib
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

from transfer_keras.config import memory
from transfer_keras.files.damage import DamagedFile

_FACTS = "facts"  # Of a checkpoint: text in JSON, as an array.
_DIGEST = hashlib.sha256().digest_size * 2  # Of a checkpoint: in hexadecimal, after the archive.
_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, SyntaxError,
    NotImplementedError, RuntimeError, OSError, MemoryError, OverflowError, RecursionError,
)  # fmt: skip


def read_npz(file: BinaryIO, path: pathlib.Path, remedy: str) -> tuple[dict[str, np.ndarray], Any]:
    """Reads all arrays of an open file.

    Returns:
        The arrays by their names, and the facts of a checkpoint, else None.

    Raises:
        DamagedFile: if it is damaged, or would need more than the memory.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(member.file_size for member in archive.infolist()) > memory.process_memory():
                raise DamagedFile(path, "would fill more than the memory", remedy)
            arrays = {
                member.filename.removesuffix(".npy"): _read_member(archive, member)
                for member in archive.infolist()
            }
    except _ERRORS as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(path, f"is damaged: {error or type(error).__name__}", remedy) from error
    if _FACTS not in arrays:
        return arrays, None
    if not _has_its_digest(file):
        raise DamagedFile(path, "is damaged: its content is not what was written", remedy)
    try:
        # Python's own reader: these facts may hold NaN, which JSON does not have.
        return arrays, json.loads(str(arrays.pop(_FACTS)))
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, f"is damaged: {error}", remedy) from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Reads an array whose header claims no more than the member has; ValueError if it does."""
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(member)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename} claims {shape} of {dtype}")
    with archive.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _has_its_digest(file: BinaryIO) -> bool:
    """Tells whether the file ends with the digest of what stands before."""
    remaining = os.fstat(file.fileno()).st_size - _DIGEST
    digest = hashlib.sha256()
    file.seek(0)
    while remaining > 0 and (block := file.read(min(remaining, 1 << 20))):
        digest.update(block)
        remaining -= len(block)
    return digest.hexdigest().encode() == file.read()
