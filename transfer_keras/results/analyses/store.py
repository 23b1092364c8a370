"""The records of analyses on disk: `WORKDIR/analyses/KIND-NETWORK….json`, a file for each."""

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from transfer_keras.files import DamagedFile, open_regular, read_json, set_aside, write_json
from transfer_keras.results.analyses.records import Record
from transfer_keras.results.new_folder import check_folder_place
from transfer_keras.results.workdir import Workdir

FOLDER = "analyses"
_AnyRecord = TypeVar("_AnyRecord", bound=Record)


class Store:
    """The records that a workdir keeps.

    Args:
        workdir: an existing one.
        log: called with a line for each damaged file.
    """

    def __init__(self, workdir: Workdir, log: Callable[[str], None]):
        self._workdir, self._log = workdir, log
        self._folder = workdir / FOLDER
        self._digests: dict[str, str] = {}

    def check_place(self) -> None:
        """Refuses what lies in the place of the folder; writes nothing.

        Raises:
            DamagedFile: naming it.
        """
        check_folder_place(self._folder)

    def find(self, kind: type[_AnyRecord], names: Sequence[str]) -> _AnyRecord | None:
        """Reads the record of some networks, where there is one of them as they are now.

        A damaged file is renamed.

        Raises:
            DamagedFile: if something else lies in its place.
        """
        return self._read(kind, self._path(kind, names), "the analysis is made again")

    def kept(self, kind: type[_AnyRecord]) -> list[_AnyRecord]:
        """Reads all records of a kind whose networks are as they were, sorted by their files.

        A damaged file is renamed and left out.

        Raises:
            DamagedFile: if something else lies in the place of one.
        """
        paths = sorted(self._folder.glob(f"{kind.KIND}-*.json")) if self._folder.is_dir() else []
        then = f"is left out; --analyses={kind.KIND} makes it again"
        return [record for path in paths if (record := self._read(kind, path, then))]

    def write(self, record: Record) -> None:
        """Writes a record, whole or not at all."""
        self._folder.mkdir(exist_ok=True)
        path = self._path(type(record), record.names)
        write_json(path, msgspec.to_builtins(record), indent=2)

    def digests(self, files: Iterable[pathlib.Path | str]) -> dict[str, str]:
        """Computes the SHA-256 of files.

        Args:
            files: as seen from the workdir.

        Raises:
            FileNotFoundError: if one is missing.
            DamagedFile: if one is no regular file.
        """
        return {str(file): self._digest(str(file)) for file in files}

    def _read(self, kind: type[_AnyRecord], path: pathlib.Path, then: str) -> _AnyRecord | None:
        try:
            record = read_json(path, kind)
            if path != self._path(kind, record.names):
                raise DamagedFile(path, f"is of other networks: {', '.join(record.names)}")
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            if not path.is_file():
                raise DamagedFile(path, error.found, "Move it away.") from error
            set_aside(error, self._log, then)
            return None
        return record if self._is_current(record) else None

    def _is_current(self, record: Record) -> bool:
        try:
            return self.digests(record.sources) == record.sources
        except FileNotFoundError:
            return False

    def _digest(self, file: str) -> str:
        if file not in self._digests:
            with open_regular(self._workdir / file) as opened:
                self._digests[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._digests[file]

    def _path(self, kind: type[Record], names: Sequence[str]) -> pathlib.Path:
        plain = [re.sub(r"[^\w+.-]+", ".", name) for name in names]
        return self._folder / f"{'-'.join([kind.KIND, *plain])}.json"
