"""The folder of one experiment: what it leaves on disk, each file whole or not there.

WORKDIR/experiment.json         the settings that make it what it is, tasks, versions
WORKDIR/run.flags               the flags of the last run: `--flagfile=` repeats it
WORKDIR/<treatment>/row.json    the result; written last, so a treatment that has it has all files
WORKDIR/<treatment>/network.keras, predictions.safetensors, filters.png, TensorBoard's events
WORKDIR/experiment/, curve/     TensorBoard's events of the experiment as a whole
WORKDIR/pixels-A.safetensors, … statistics of the pixels in a task's training images
WORKDIR/curve.png               the transfer curve so far
WORKDIR/checkpoints/<group>/    a group in training: its treatments, and its last checkpoints
WORKDIR/.lock                   the process that trains in this folder

Version 0.1.0 wrote .npz in place of .safetensors; these files are read as well.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np

from transfer_keras.config import (
    Treatment,
    UserError,
    is_treatment_name,
    parse_treatment,
)
from transfer_keras.files import (
    DamagedFile,
    read_arrays,
    read_json,
    remove_files,
    remove_folder,
    set_aside,
    write_arrays,
    write_json,
)
from transfer_keras.results import group_folders, lock
from transfer_keras.results.facts import (
    ExperimentFacts,
    as_written,
    differing_settings,
    read_facts,
)
from transfer_keras.results.new_folder import check_folder_place, check_new_folder, names_of_folders
from transfer_keras.results.pixel_statistics import read_pixels
from transfer_keras.results.predictions import read_predictions, write_predictions
from transfer_keras.results.rows import Row

EXPERIMENT_FILE = "experiment.json"
_ROW = "row.json"
_NETWORK = "network.keras"
_PREDICTIONS = "predictions"
_PIXELS = "pixels"
_FILTERS = "filters.png"
_CHECKPOINTS = "checkpoints"
_FOLDERS = (_CHECKPOINTS, "experiment", "curve")
_FILES = ("run.flags", "curve.png")  # That are written without a look at what was there.
_SUFFIXES = (".safetensors", ".npz")
# The names of all files that this program writes in a treatment's folder.
_OF_TREATMENT = re.compile(
    r"row\.json|network\.keras|predictions\.(safetensors|npz)|filters\.png"
    r"|events\.out\.tfevents\.\d+\.v2"
)
_AGAIN = "Remove its folder to train it again."


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
            check_new_folder(self.path, EXPERIMENT_FILE)
            return
        if differing := differing_settings(self.read_facts()["settings"], identity):
            raise UserError(
                f"--workdir={self}: holds another experiment: {'; '.join(differing)}. "
                "Give another --workdir, or the settings that it was begun with."
            )

    @property
    def has_facts(self) -> bool:
        """Tells whether an experiment was begun in the folder."""
        return (self / EXPERIMENT_FILE).exists()

    def read_facts(self, complete: bool = False) -> ExperimentFacts:
        """Reads what the experiment is: "settings", "data", "versions".

        Args:
            complete: whether it must have the settings by which studies are read.

        Raises:
            DamagedFile: if the file is damaged.
        """
        remedy = "Put it back, or give another --workdir."
        return read_facts(self / EXPERIMENT_FILE, remedy, complete)

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
            write_json(self / EXPERIMENT_FILE, facts, indent=2)
            return
        self.check_data(data)
        facts = self.read_facts()
        if data.keys() - facts["data"].keys():
            facts["data"] |= data
            write_json(self / EXPERIMENT_FILE, facts, indent=2)

    def check_data(self, data: Mapping) -> None:
        """Checks that an earlier run had the same data, if there was one; writes nothing.

        Args:
            data: facts of the dataset as it was read. What the earlier run's version did not write
                is not compared.

        Raises:
            UserError: if the folder's results were made with other data.
        """
        if not self.has_facts:
            return
        written, given = self.read_facts()["data"], as_written(data)
        differing = [key for key in written if written[key] != given.get(key)]
        if differing:
            raise UserError(
                f"--workdir={self}: its networks were trained on other data "
                f"({', '.join(differing)} differ), says {EXPERIMENT_FILE}. Give another --workdir, "
                "or the data that it was begun with."
            )

    def network_path(self, name: str) -> pathlib.Path:
        """Gives the path of a treatment's trained network."""
        return self / name / _NETWORK

    def filters_path(self, name: str) -> pathlib.Path:
        """Gives the path of the picture of a network's first filters.

        The picture is written only where the filters have one or three channels.
        """
        return self / name / _FILTERS

    def pixels(
        self, task: str, measure: Callable[[], Mapping[str, np.ndarray]], log: Callable[[str], None]
    ) -> dict[str, np.ndarray]:
        """Gives the pixel statistics of a task's training images, and keeps them.

        Args:
            task: "A" or "B".
            measure: gives the statistics, where there are none or they are damaged.
            log: called with a line in the latter case.
        """
        path = self._arrays_path(_PIXELS + f"-{task}")
        if path.exists():
            try:
                return read_pixels(path)
            except DamagedFile as error:
                set_aside(error, log, "the pixels are measured again")
        path = self / f"{_PIXELS}-{task}{_SUFFIXES[0]}"
        write_arrays(path, measure())
        return read_arrays(path).arrays

    def is_done(self, name: str) -> bool:
        """Tells whether a treatment has all its files; raises as `missing_files`."""
        return not self.missing_files(name)

    def missing_files(self, name: str) -> list[pathlib.Path]:
        """Lists the files that a treatment lacks; without its row, it is not done yet.

        Raises:
            DamagedFile: if something else lies in the place of one.
        """
        paths = (self / name / _ROW, self.network_path(name), self.predictions_path(name))
        for path in paths:
            if os.path.lexists(path) and not path.is_file():
                raise DamagedFile(path, "is no regular file, expected a file", "Move it away.")
        return [path for path in paths if not path.is_file()]

    def predictions_path(self, name: str) -> pathlib.Path:
        """Gives the path of a network's predictions."""
        return self._arrays_path(f"{name}/{_PREDICTIONS}")

    def _arrays_path(self, name: str) -> pathlib.Path:
        """Gives the path of a file of arrays: in the format of today, if there is no older one."""
        today, older = (self / f"{name}{suffix}" for suffix in _SUFFIXES)
        return older if older.exists() and not today.exists() else today

    @property
    def done(self) -> list[str]:
        """Lists the names of all treatments that are done, in alphabetical order."""
        return [name for name in self.with_row if self.is_done(name)]

    @property
    def with_row(self) -> list[str]:
        """Lists those with a row, whose other files someone may have removed since."""
        return names_of_folders(self.path, _ROW)

    def missing(self, treatments: Iterable[Treatment]) -> list[Treatment]:
        """Lists those treatments that are not done yet, in the order given."""
        return [treatment for treatment in treatments if not self.is_done(treatment.name)]

    def row(self, name: str) -> Row:
        """Reads the row of a treatment that is done.

        Raises:
            DamagedFile: if the file is damaged.
        """
        path = self / name / _ROW
        row = read_json(path, Row, _AGAIN)
        if row.treatment != name:
            raise DamagedFile(path, f"is the row of {row.treatment}, expected {name}", _AGAIN)
        if is_treatment_name(name):
            named = parse_treatment(name)
            of_row = (row.donor, row.n, row.target, row.mode)
            if of_row != (named.donor, named.n, named.target, named.mode):
                raise DamagedFile(path, f"is damaged: it does not say what {name} means", _AGAIN)
        return row

    def write_row(self, row: Row) -> None:
        """Writes the row of a finished network; to be called after all its other files."""
        write_json(self / row.treatment / _ROW, dataclasses.asdict(row), indent=2)

    def predictions(self, name: str, row: Row | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Reads what a network predicts for the test images of its target.

        Args:
            name: of the treatment.
            row: its result; None: it is read.

        Returns:
            (label, predicted), each int32 (test images,), in one order for all networks of a
            target.

        Raises:
            DamagedFile: if the file is damaged, or does not belong to the row.
        """
        path, row = self.predictions_path(name), row or self.row(name)
        return read_predictions(path, self._settings, row, _AGAIN)

    def write_predictions(
        self, name: str, arrays: Mapping[str, np.ndarray], loss: float | None = None
    ) -> None:
        """Writes what a network predicts for the test images; see `predictions`."""
        path = self / name / f"{_PREDICTIONS}{_SUFFIXES[0]}"
        write_predictions(path, name, self._settings, arrays, loss)

    @property
    def _settings(self) -> Mapping[str, object]:
        return self.read_facts()["settings"] if self.has_facts else {}

    def check_places(self, treatments: Iterable[Treatment]) -> None:
        """Refuses what lies in the way of the files of treatments; writes nothing.

        Raises:
            DamagedFile: naming the first.
        """
        names = [treatment.name for treatment in self.missing(treatments)]
        for name in (*names, *_FOLDERS):
            check_folder_place(self / name)
        for path in (*map(self.filters_path, names), *(self / name for name in _FILES)):
            if path.is_dir():
                raise DamagedFile(path, "is a folder, expected a file", "Move it away.")
        for folder in (self.path, *self.checkpoint_folders):
            lock.check_place(folder)

    def clear_treatment(self, name: str) -> None:
        """Removes the files of a treatment that is not done; other files in its folder are left."""
        remove_folder(self / name, _OF_TREATMENT)

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Lists the names of the treatments of each group that was begun and not finished.

        Raises:
            DamagedFile: if a group's file is damaged.
        """
        folders = [f for f in self.checkpoint_folders if (f / group_folders.NAMES).exists()]
        return list(map(group_folders.read_names, folders))

    def group_folder(self, names: Sequence[str]) -> pathlib.Path:
        """Gives the path of the folder for a group's checkpoints."""
        return group_folders.folder_of(self / _CHECKPOINTS, names)

    def features_folder(self, names: Sequence[str]) -> pathlib.Path:
        """Gives the path of the folder for the features that a group keeps on disk."""
        return self.group_folder(names) / group_folders.FEATURES

    def begin_group(self, names: Sequence[str]) -> pathlib.Path:
        """Makes the folder of a group; it names the treatments until it is removed.

        Returns:
            The folder.
        """
        folder = self.group_folder(names)
        folder.parent.mkdir(exist_ok=True)
        if not (folder / group_folders.NAMES).exists():
            write_json(folder / group_folders.NAMES, names)
        return folder

    def remove_group(self, names: Sequence[str]) -> None:
        """Removes the checkpoints of one group that is done; other groups may be in training."""
        group_folders.remove_group_folder(self.group_folder(names))

    def clean_up(self, log: Callable[[str], None]) -> None:
        """Removes checkpoints of groups that are done, and what killed processes left.

        The file of a group that is damaged is renamed: the group is planned again, and goes on from
        its checkpoint. Files of other programs are left.

        Args:
            log: called with a line for each damaged file.
        """
        remove_files(self.path)
        for folder in self.checkpoint_folders:
            if not group_folders.may_go_on(folder, self.is_done, log):
                group_folders.remove_group_folder(folder)

    @property
    def checkpoint_folders(self) -> list[pathlib.Path]:
        """Lists the folders of all groups that were begun and not removed, sorted."""
        return group_folders.find_folders(self / _CHECKPOINTS)

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
