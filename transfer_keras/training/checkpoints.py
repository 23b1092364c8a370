"""Checkpoints in the middle of a training: each with a digest, the last two kept."""

import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

import numpy as np

_KEPT = 2
_FACTS = "facts"
_DIGEST_LENGTH = hashlib.sha256().digest_size * 2  # In hexadecimal, at the end of the file.


class Checkpoints:
    """The checkpoints of one training in a folder of their own.

    A file is a NumPy `.npz` followed by the SHA-256 of it in hexadecimal. It is written under
    another name, flushed to the disk and renamed. A file under its final name is thus complete
    unless the disk has lost a part of it; then its digest does not match.

    Args:
        folder: an existing one.
        every: seconds from one checkpoint to the next.
        warn: called with one line of text when a checkpoint cannot be used.
    """

    def __init__(self, folder: pathlib.Path, *, every: float, warn: Callable[[str], None]):
        self._folder, self._every, self._warn = folder, every, warn
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Tells whether it is time for the next checkpoint."""
        return time.monotonic() - self._last >= self._every

    def save(self, step: int, arrays: Sequence[np.ndarray], facts: dict) -> None:
        """Writes a checkpoint and removes all but the last two.

        Args:
            step: names the file; the highest is the latest.
            arrays: the state, in an order that the reader knows.
            facts: the rest of the state, of types that JSON has.

        Raises:
            OSError: if it cannot be written; the earlier checkpoints are left as they were.
        """
        path = self._folder / f"{step:010d}.npz"
        partial = self._folder / "next.partial"
        try:
            with partial.open("w+b") as file:
                named = {f"{place:06d}": array for place, array in enumerate(arrays)}
                np.savez(file, **named, **{_FACTS: np.array(json.dumps(facts))})
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0, os.SEEK_END)
                file.write(digest.encode())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _flush_folder(self._folder)
        finally:
            partial.unlink(missing_ok=True)
        for old in self._paths()[:-_KEPT]:
            old.unlink()
        self._last = time.monotonic()

    def latest(self) -> tuple[list[np.ndarray], dict] | None:
        """Reads the last undamaged checkpoint; renames the damaged ones.

        Returns:
            Its arrays and facts; None if there is no undamaged checkpoint.
        """
        for path in reversed(self._paths()):
            saved = _read(path)
            if saved:
                return saved
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            self._warn(f"Checkpoint {path} is damaged: set aside as {aside.name}.")
        return None

    def _paths(self) -> list[pathlib.Path]:
        """Lists the checkpoints, the earliest first."""
        return sorted(self._folder.glob("*.npz"))


def _read(path: pathlib.Path) -> tuple[list[np.ndarray], dict] | None:
    """Reads a checkpoint; gives None if its digest is not that of its content."""
    with path.open("rb") as file:
        size = path.stat().st_size - _DIGEST_LENGTH
        if size <= 0 or _digest(file, size) != file.read(_DIGEST_LENGTH):
            return None
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays[_FACTS]))
            return [arrays[name] for name in sorted(arrays.files) if name != _FACTS], facts


def _digest(file: BinaryIO, size: int) -> bytes:
    """Computes the digest of the next `size` bytes, in hexadecimal."""
    digest, remaining = hashlib.sha256(), size
    while remaining:
        block = file.read(min(remaining, 1 << 20))
        digest.update(block)
        remaining -= len(block)
    return digest.hexdigest().encode()


def _flush_folder(folder: pathlib.Path) -> None:
    """Makes a rename last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
