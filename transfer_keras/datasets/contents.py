"""Digests of the bytes of a dataset's files, kept so that unchanged ones are not read again."""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tqdm

from transfer_keras.config import UserError, printable
from transfer_keras.files import DamagedFile, read_arrays, set_aside, write_arrays

KEPT = "contents.safetensors"
_BYTES = hashlib.sha256().digest_size
# What is kept of each file: the type and the width of a row.
_KINDS = {"names": (np.uint8, _BYTES), "digests": (np.uint8, _BYTES), "stamps": (np.int64, 4)}
# A change may leave a file's times as they are within so many nanoseconds: file systems are coarse.
_COARSE = 2 * 10**9


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """What the files of a dataset hold.

    Attributes:
        digest: of the names and the bytes of all files, in hexadecimal.
        arrays: "names" and "digests", uint8 (files, 32), of each file; "stamps", int64 (files, 4),
            by which a change is seen; of those files that are old enough.
        read: how many files were read, and not known already.
    """

    digest: str
    arrays: Mapping[str, np.ndarray]
    read: int

    def keep(self, path: pathlib.Path) -> None:
        """Writes the digests of the files, so that the next run need not read them."""
        if self.read or not path.exists():
            write_arrays(path, self.arrays)


def read_contents(
    files: Mapping[bytes, str | os.PathLike],
    kept: pathlib.Path,
    *,
    where: str,
    log: Callable[[str], None] = print,
) -> Contents:
    """Reads all files, but for those whose digests were kept and that did not change since.

    A change is seen by a file's size, its times of change and its number on the disk, so also where
    another file took its name.

    Args:
        files: name within the dataset -> path.
        kept: path of what `Contents.keep` wrote; it need not exist.
        where: the flag, with its value, that they come from.
        log: called with a line if that is damaged.

    Raises:
        UserError: if a file cannot be read.
    """
    known, known_stamps, known_digests = _read_kept(kept, log)
    begun = time.time_ns()
    paths = list(files.values())
    stamps = np.array([_stamp(path, where) for path in paths], np.int64).reshape(-1, 4)
    names = [hashlib.sha256(name).digest() for name in files]
    rows = np.array([known.get(name, -1) for name in names], np.int64)
    is_known = rows >= 0
    is_known[is_known] = (known_stamps[rows[is_known]] == stamps[is_known]).all(axis=1)
    digests = np.empty((len(paths), _BYTES), np.uint8)
    digests[is_known] = known_digests[rows[is_known]]
    unknown = np.flatnonzero(~is_known)
    digests[unknown] = _as_array(_read(paths, unknown, where))
    every = _as_array(names)
    total = hashlib.sha256(np.concatenate([every, digests], axis=1))
    settled = stamps[:, 1:3].max(axis=1, initial=0) < begun - _COARSE
    arrays = {"names": every, "digests": digests, "stamps": stamps}
    arrays = {name: array[settled] for name, array in arrays.items()}
    return Contents(total.hexdigest(), arrays, len(unknown))


def _read(paths: Sequence[str | os.PathLike], places: Sequence[int], where: str) -> list[bytes]:
    """Computes the digests of some files."""

    def digest(place: int) -> bytes:
        try:
            with open(paths[place], "rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise _unreadable(paths[place], where, error) from error

    if not len(places):
        return []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(digest, places)
        return list(tqdm.tqdm(done, "comparing data", len(places), unit=" files", leave=False))


def _stamp(path: str | os.PathLike, where: str) -> tuple[int, int, int, int]:
    """Gives what changes with a file: its size, its times and its number on the disk."""
    try:
        facts = os.stat(path)
    except OSError as error:
        raise _unreadable(path, where, error) from error
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino & (2**63 - 1)


def _unreadable(path: str | os.PathLike, where: str, error: OSError) -> UserError:
    return UserError(f"{where}: {printable(path)} cannot be read ({error.strerror}).")


def _as_array(digests: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _BYTES)


def _read_kept(
    path: pathlib.Path, log: Callable[[str], None]
) -> tuple[dict[bytes, int], np.ndarray, np.ndarray]:
    """Reads what was kept: digest of a file's name -> its row; stamps and digests of the rows."""
    nothing = {}, np.empty((0, 4), np.int64), np.empty((0, _BYTES), np.uint8)
    if not os.path.lexists(path):
        return nothing
    try:
        arrays = read_arrays(path).arrays
        rows = {array.shape[:1] for array in arrays.values()}
        kinds = {name: (array.dtype, *array.shape[1:]) for name, array in arrays.items()}
        if kinds != _KINDS or len(rows) != 1:
            raise DamagedFile(path, "has no digests of files")
    except DamagedFile as error:
        set_aside(error, log, "all data are read again")
        return nothing
    places = {name.tobytes(): row for row, name in enumerate(arrays["names"])}
    return places, arrays["stamps"], arrays["digests"]
