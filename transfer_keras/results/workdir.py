"""The folder of one experiment: what it leaves on disk, each file whole or not there.

WORKDIR/experiment.json         the settings that make it what it is, tasks, versions
WORKDIR/run.flags               the flags of the last run: `--flagfile=` repeats it
WORKDIR/<treatment>/row.json    the result; written last, so a treatment that has it has all files
WORKDIR/<treatment>/network.keras, predictions.npz, filters.png, TensorBoard's events
WORKDIR/experiment/, curve/     TensorBoard's events of the experiment as a whole
WORKDIR/pixels-A.npz, …         statistics of the pixels in a task's training images
WORKDIR/curve.png               the transfer curve so far
WORKDIR/checkpoints/<group>/    a group in training: its treatments, and its last checkpoints
WORKDIR/.lock                   the process that trains in this folder
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np

from transfer_keras.config import Treatment, UserError
from transfer_keras.results import lock
from transfer_keras.results.files import PARTIAL, write_text, write_whole
from transfer_keras.results.rows import Row

EXPERIMENT_FILE = "experiment.json"
_ROW = "row.json"
_NETWORK = "network.keras"
_PREDICTIONS = "predictions.npz"
_FILTERS = "filters.png"
_CHECKPOINTS = "checkpoints"
_GROUP = "group.json"


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The folder of one experiment, and all that is read from it and written to it.

    Attributes:
        path: the folder; it need not exist before something is written.

    Example:
        >>> import tempfile
        >>> from transfer_keras.results import Workdir
        >>> folder = tempfile.TemporaryDirectory()
        >>> workdir = Workdir(folder.name)
        >>> workdir.write_facts({"n": 3}, data={"classes": 10}, versions={})
        >>> workdir.has_facts, workdir.done
        (True, [])
        >>> workdir.read_facts()["settings"]
        {'n': 3}
        >>> workdir.network_path("A3B").relative_to(workdir.path).as_posix()
        'A3B/network.keras'
        >>> workdir.begin_group(["A3B", "A5B"]).name
        'A3B-2-4543d28b'
        >>> workdir.groups
        [('A3B', 'A5B')]
        >>> folder.cleanup()
    """

    path: pathlib.Path

    def __post_init__(self):
        object.__setattr__(self, "path", pathlib.Path(self.path))

    def __str__(self):
        return str(self.path)

    def __truediv__(self, name: str | os.PathLike) -> pathlib.Path:
        return self.path / name

    def check(self, identity: Mapping) -> None:
        """Refuses a folder that belongs to another experiment; writes nothing.

        Args:
            identity: the settings that make the experiment what it is; see
                `config.Experiment.identity`.

        Raises:
            UserError: naming every setting that differs, or what else is wrong with the folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--workdir={self}: is a file. Give a folder.")
        if not self.has_facts:
            self._check_usable()
            return
        written = self.read_facts()["settings"]
        given = _as_written(identity)
        differing = [
            f"{key} is {written.get(key)!r} there, {given.get(key)!r} here"
            for key in sorted({*written, *given})
            if written.get(key) != given.get(key)
        ]
        if differing:
            raise UserError(
                f"--workdir={self}: holds another experiment: {'; '.join(differing)}. "
                "Give another --workdir, or the settings that it was begun with."
            )

    def _check_usable(self) -> None:
        """Refuses a folder that cannot be written, or that holds files of something else."""
        if not os.access(_nearest_existing(self.path), os.W_OK):
            raise UserError(f"--workdir={self}: cannot be written. Give another folder.")
        if self.path.is_dir() and not all(map(_is_left_over, self.path.iterdir())):
            raise UserError(
                f"--workdir={self}: holds other files and no {EXPERIMENT_FILE}. Give a new or "
                "empty folder, or one of an earlier run."
            )

    @property
    def has_facts(self) -> bool:
        """Tells whether an experiment was begun in the folder."""
        return (self / EXPERIMENT_FILE).exists()

    def read_facts(self) -> dict:
        """Reads what the experiment is: "settings", "data", "versions".

        Raises:
            UserError: if the file is damaged.
        """
        path = self / EXPERIMENT_FILE
        try:
            facts = json.loads(path.read_text())
            return {name: facts[name] for name in ("settings", "data", "versions")}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"--workdir={self}: {path} cannot be read ({error}).") from error

    def write_facts(self, identity: Mapping, *, data: Mapping, versions: Mapping) -> None:
        """Writes what the experiment is; where an earlier run has, checks that the data are equal.

        Args:
            identity: the settings that make the experiment what it is; see
                `config.Experiment.identity`.
            data: facts of the dataset as it was read.
            versions: name of each package -> its version, for the record.

        Raises:
            UserError: if the folder's results were made with other data.
        """
        if not self.has_facts:
            facts = {"settings": identity, "data": data, "versions": versions}
            write_text(self / EXPERIMENT_FILE, json.dumps(facts, indent=2) + "\n")
            return
        written, given = self.read_facts()["data"], _as_written(data)
        if written != given:
            differing = ", ".join(key for key in given if written.get(key) != given[key])
            raise UserError(
                f"--workdir={self}: its networks were trained on other data ({differing} "
                "differ). Give another --workdir, or the data that it was begun with."
            )

    def network_path(self, name: str) -> pathlib.Path:
        """Gives the path of a treatment's trained network."""
        return self / name / _NETWORK

    def filters_path(self, name: str) -> pathlib.Path:
        """Gives the path of the picture of a network's first filters.

        The picture is written only where the filters have one or three channels.
        """
        return self / name / _FILTERS

    def pixels_path(self, task: str) -> pathlib.Path:
        """Gives the path of the pixel statistics of a task's training images."""
        return self / f"pixels-{task}.npz"

    def is_done(self, name: str) -> bool:
        """Tells whether a treatment has all its files."""
        return all((self / name / file).exists() for file in (_ROW, _NETWORK, _PREDICTIONS))

    @property
    def done(self) -> list[str]:
        """Lists the names of all treatments that are done, in alphabetical order."""
        names = (path.parent.name for path in self.path.glob(f"*/{_ROW}"))
        return sorted(name for name in names if self.is_done(name))

    def missing(self, treatments: Iterable[Treatment]) -> list[Treatment]:
        """Lists those treatments that are not done yet, in the order given."""
        return [treatment for treatment in treatments if not self.is_done(treatment.name)]

    def row(self, name: str) -> Row:
        """Reads the row of a treatment that is done.

        Raises:
            UserError: if the file is damaged.
        """
        path = self / name / _ROW
        try:
            fields = json.loads(path.read_text())
            fields["validation"] = tuple(tuple(test) for test in fields["validation"])
            return Row(**fields)
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, error) from error

    def write_row(self, row: Row) -> None:
        """Writes the row of a finished network; to be called after all its other files."""
        text = json.dumps(dataclasses.asdict(row), indent=2, allow_nan=False)
        write_text(self / row.treatment / _ROW, text + "\n")

    def row_written_at(self, name: str) -> int:
        """Tells when a treatment's row was written, in nanoseconds of the file system's clock."""
        return (self / name / _ROW).stat().st_mtime_ns

    def predictions(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads what a network predicts for the test images of its target.

        Returns:
            (label, predicted), each int32 (test images,), in one order for all networks of a
            target.

        Raises:
            UserError: if the file is damaged.
        """
        path = self / name / _PREDICTIONS
        try:
            with np.load(path) as arrays:
                return arrays["label"], arrays["predicted"]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _unreadable(path, error) from error

    def write_predictions(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes what a network predicts for the test images: arrays with one entry an image."""
        with write_whole(self / name / _PREDICTIONS) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Lists the names of the treatments of each group that was begun and not finished."""
        paths = [folder / _GROUP for folder in self.checkpoint_folders]
        return [tuple(json.loads(path.read_text())) for path in paths if path.exists()]

    def group_folder(self, names: Sequence[str]) -> pathlib.Path:
        """Gives the path of the folder for a group's checkpoints."""
        digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]
        return self / _CHECKPOINTS / f"{names[0]}-{len(names)}-{digest}"

    def begin_group(self, names: Sequence[str]) -> pathlib.Path:
        """Makes the folder of a group; it names the treatments until it is removed.

        Returns:
            The folder.
        """
        folder = self.group_folder(names)
        folder.parent.mkdir(exist_ok=True)
        if not (folder / _GROUP).exists():
            write_text(folder / _GROUP, json.dumps(names) + "\n")
        return folder

    def remove_group(self, names: Sequence[str]) -> None:
        """Removes the checkpoints of one group that is done; other groups may be in training."""
        shutil.rmtree(self.group_folder(names), ignore_errors=True)

    def remove_finished_groups(self) -> None:
        """Removes the checkpoints of groups that are done, and rests of an earlier removal."""
        for folder in self.checkpoint_folders:
            path = folder / _GROUP
            if not path.exists() or all(map(self.is_done, json.loads(path.read_text()))):
                shutil.rmtree(folder)

    @property
    def checkpoint_folders(self) -> list[pathlib.Path]:
        """Lists the folders of all groups that were begun and not removed, sorted."""
        return sorted((self / _CHECKPOINTS).glob("*"))

    def lock(
        self, *, log: Callable[[str], None], timeout: float = 0
    ) -> AbstractContextManager[None]:
        """Holds the folder's lock within a `with` statement.

        Args:
            log: called with a line if the last holder did not end by itself.
            timeout: seconds to wait for another process.

        Raises:
            UserError: if another process holds it, naming that process.
        """
        return lock.hold_lock(self.path, log=log, timeout=timeout)

    def check_lock(self) -> None:
        """Refuses a folder in which another process trains; writes nothing.

        Raises:
            UserError: naming that process.
        """
        lock.check_lock(self.path)


def _as_written(facts: Mapping) -> dict:
    """Gives facts as they are after they were written as JSON: lists in place of tuples."""
    return json.loads(json.dumps(facts))


def _is_left_over(path: pathlib.Path) -> bool:
    """Tells whether a first run that was killed before it wrote anything may have left a file."""
    return path.name == lock.NAME or path.name.startswith(PARTIAL)


def _nearest_existing(folder: pathlib.Path) -> pathlib.Path:
    """Finds the folder, or the nearest one above it that exists."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())


def _unreadable(path: pathlib.Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}). Remove its folder to train it again.")
