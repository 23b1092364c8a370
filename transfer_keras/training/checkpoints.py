"""Checkpoints in the middle of a training: each with a digest, the last two kept."""

import math
import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from transfer_keras.files import DamagedFile, read_arrays, write_arrays

_KEPT = 2
_FLOAT = "not finite"  # The key of a float that JSON does not have.
# Version 0.1.0 wrote .npz, which is read as well.
_NAME = re.compile(r"\d{10}\.(safetensors|npz)")


class Checkpoints:
    """The checkpoints of one training in a folder of their own.

    A file under its final name is complete unless the disk has lost a part of it; then its digest
    does not match. See `files.write_arrays`.

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
        named = {f"{place:06d}": array for place, array in enumerate(arrays)}
        write_arrays(self._folder / f"{step:010d}.safetensors", named, _as_json(facts))
        _flush_folder(self._folder)
        for old in [path for path in self._paths() if path.is_file()][:-_KEPT]:
            old.unlink()
        self._last = time.monotonic()

    def latest(self) -> tuple[list[np.ndarray], dict[str, Any]] | None:
        """Reads the last undamaged checkpoint; renames the damaged ones.

        Returns:
            Its arrays and facts; None if there is no undamaged checkpoint.
        """
        for path in reversed(self._paths()):
            try:
                arrays, facts = read_arrays(path)
                if not isinstance(facts, Mapping) or not isinstance(facts.get("step"), int):
                    raise DamagedFile(path, "is damaged: it does not tell its step")
                return [arrays[name] for name in sorted(arrays)], _from_json(facts)
            except DamagedFile as error:
                self._set_aside(path, error.found)
            except FileNotFoundError:
                if path.is_symlink():  # Else another process has removed it.
                    self._set_aside(path, "is a link to nothing")
        return None

    def _set_aside(self, path: pathlib.Path, found: str) -> None:
        """Renames what cannot be read, be it a folder or a link, which lose nothing by that."""
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        self._warn(f"Checkpoint {path} {found}: set aside as {aside.name}.")

    def _paths(self) -> list[pathlib.Path]:
        """Lists the checkpoints, the earliest first."""
        return sorted(path for path in self._folder.glob("*") if _NAME.fullmatch(path.name))


def _as_json(value: Any) -> Any:
    """Gives facts without floats that JSON does not have: losses may be infinite, or no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if isinstance(value, Mapping):
        return {name: _as_json(each) for name, each in value.items()}
    return [_as_json(each) for each in value] if isinstance(value, list | tuple) else value


def _from_json(value: Any) -> Any:
    """Gives the facts that `_as_json` was given."""
    if isinstance(value, Mapping):
        if value.keys() == {_FLOAT} and value[_FLOAT] in ("nan", "inf", "-inf"):
            return float(value[_FLOAT])
        return {name: _from_json(each) for name, each in value.items()}
    return [_from_json(each) for each in value] if isinstance(value, list) else value


def _flush_folder(folder: pathlib.Path) -> None:
    """Makes a rename last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
