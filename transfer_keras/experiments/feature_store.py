"""Keeps the features of pictures: in memory up to a limit, beyond it in memory-mapped files."""

import collections
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from transfer_keras.files import DamagedFile, read_json, write_json

_FLUSHED_EVERY = 50  # Batches, after which a file tells how far it is.


class FeatureSpec(NamedTuple):
    """Which features: of what, by what, and how large.

    Attributes:
        key: a digest of all that their values depend on.
        shape: (views, examples, ...).
        dtype: a name that TensorFlow knows.
    """

    key: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Counts their bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * _numpy_dtype(self.dtype).itemsize


_Whole = Annotated[int, msgspec.Meta(ge=0)]
_Place = tuple[_Whole, _Whole, _Whole]


class _Facts(msgspec.Struct):
    """How far a file of features is.

    Attributes:
        batches: number of batches that it holds for sure; None: all.
        digest: of the whole file where it holds all, else of these batches in order.
        places: (view, first row, end) of each of these batches.
    """

    batches: _Whole | None
    digest: str | None
    places: list[_Place] = []


class FeatureStore:
    """The features that a process has computed, for all trainings that use them.

    Those in memory are held until others need the room.
    """

    def __init__(self):
        self._arrays: collections.OrderedDict[str, np.ndarray] = collections.OrderedDict()

    def __contains__(self, spec: FeatureSpec) -> bool:
        return spec.key in self._arrays

    def find(self, spec: FeatureSpec, folder: pathlib.Path | None) -> np.ndarray | None:
        """Gives features that this process has, or that are whole in a folder; else None.

        A file that is damaged is not used.
        """
        if spec in self:
            self._arrays.move_to_end(spec.key)
            return self._arrays[spec.key]
        facts = _read_facts(folder, spec) if folder else None
        if facts is None or facts.batches is not None:
            return None
        array = _open_file(folder, spec, "r")
        if _digest(array) != facts.digest:
            return None
        self._arrays[spec.key] = array
        return array

    def fill(
        self,
        specs: Sequence[FeatureSpec],
        batches: Callable[[int], Iterator[tuple[int, slice, Sequence[np.ndarray]]]],
        folder: pathlib.Path | None,
    ) -> list[np.ndarray]:
        """Computes features, and keeps them.

        Args:
            specs: of one set of pictures.
            batches: makes, from the number of the first batch wanted, (view, rows, values): the
                values of each of `specs` for those examples of a view.
            folder: where they are kept in files; None: in memory. What another process left there
                unfinished is gone on with.
        """
        if folder is None:
            arrays = [np.empty(spec.shape, _numpy_dtype(spec.dtype)) for spec in specs]
            done = 0
        else:
            folder.mkdir(parents=True, exist_ok=True)
            places = _places_done(folder, specs)
            done = len(places)
            if not done:
                for spec in specs:
                    _allocate_file(folder, spec)
            arrays = [_open_file(folder, spec, "r+") for spec in specs]
            digests = [_digest_of_places(array, places) for array in arrays]
        for number, (view, rows, values) in enumerate(batches(done), done + 1):
            for array, value in zip(arrays, values, strict=True):
                array[view, rows] = value
            if folder is None:
                continue
            places.append((view, *rows.indices(specs[0].shape[1])[:2]))
            for digest, array in zip(digests, arrays, strict=True):
                digest.update(_bytes(array[view, rows]))
            if number % _FLUSHED_EVERY == 0:
                for spec, array, digest in zip(specs, arrays, digests, strict=True):
                    facts = _Facts(number, digest.hexdigest(), places)
                    _write_facts(folder, spec, array, facts)
        if folder is not None:
            for spec, array in zip(specs, arrays, strict=True):
                _write_facts(folder, spec, array, _Facts(None, _digest(array)))
        for spec, array in zip(specs, arrays, strict=True):
            self._arrays[spec.key] = array
        return arrays

    def make_room(self, needed: Sequence[FeatureSpec], limit: int) -> bool:
        """Lets go of features that others need the room of, the longest unused first.

        Args:
            needed: those that have to be there together.
            limit: bytes of memory for all.

        Returns:
            Whether they fit.
        """
        keys = {spec.key for spec in needed}
        total = sum(spec.bytes for spec in needed)
        if total > limit:
            return False
        in_memory = {k: a.nbytes for k, a in self._arrays.items() if not isinstance(a, np.memmap)}
        for key in [key for key in in_memory if key not in keys]:
            if total + sum(n for k, n in in_memory.items() if k not in keys) <= limit:
                break
            del self._arrays[key], in_memory[key]
        return True


def _numpy_dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _paths(folder: pathlib.Path, spec: FeatureSpec) -> tuple[pathlib.Path, pathlib.Path]:
    return folder / f"{spec.key}.features", folder / f"{spec.key}.json"


def _allocate_file(folder: pathlib.Path, spec: FeatureSpec) -> None:
    """Begins a file with all its blocks, where the system can (macOS cannot): a disk that is full
    is an error here, where it would end the process later, on writing to a mapped page."""
    path, _ = _paths(folder, spec)
    path.unlink(missing_ok=True)  # A link that lies there would be followed.
    with path.open("xb") as file:
        file.truncate(spec.bytes)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, spec.bytes)


def _open_file(folder: pathlib.Path, spec: FeatureSpec, mode: str) -> np.memmap:
    path, _ = _paths(folder, spec)
    return np.memmap(path, _numpy_dtype(spec.dtype), mode, shape=spec.shape)


def _read_facts(folder: pathlib.Path, spec: FeatureSpec) -> _Facts | None:
    """Reads how far a file is, if it is of the right size; None: there is nothing to use."""
    path, facts = _paths(folder, spec)
    try:
        if path.stat().st_size != spec.bytes:
            return None
        return read_json(facts, _Facts)
    except (OSError, DamagedFile):
        return None


def _places_done(folder: pathlib.Path, specs: Sequence[FeatureSpec]) -> list[_Place]:
    """Lists where the batches lie that all files hold unharmed; none if a file is damaged."""
    facts = [_read_facts(folder, spec) for spec in specs]
    if any(fact is None or len(fact.places) != (fact.batches or 0) for fact in facts):
        return []
    places = min((fact.places for fact in facts), key=len)
    for spec, fact in zip(specs, facts, strict=True):
        array = _open_file(folder, spec, "r")
        if fact.places[: len(places)] != places:
            return []
        if _digest_of_places(array, fact.places).hexdigest() != fact.digest:
            return []
    return list(places)


def _digest_of_places(array: np.ndarray, places: Sequence[_Place]) -> "hashlib._Hash":
    """Begins a digest with what lies at some places, as far as the array has them."""
    digest = hashlib.sha256()
    for view, first, end in places:
        if view < len(array):
            digest.update(_bytes(array[view, first:end]))
    return digest


def _write_facts(folder: pathlib.Path, spec: FeatureSpec, array: np.memmap, facts: _Facts) -> None:
    """Writes how far a file is, once it is on the disk."""
    array.flush()
    write_json(_paths(folder, spec)[1], msgspec.to_builtins(facts))


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(_bytes(array)).hexdigest()


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint8)
