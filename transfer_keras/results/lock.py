"""A lock that one process at a time holds on a folder."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from transfer_keras.config import UserError, one_line, printable
from transfer_keras.files import DamagedFile, open_to_append

NAME = ".lock"
_MOST = 200  # Characters that say who holds it.
_REMEDY = "Remove it if no process trains here."


def check_lock(folder: pathlib.Path) -> None:
    """Refuses a folder that another process holds; writes nothing.

    Raises:
        UserError: if another process holds it, naming that process.
    """
    path = folder / NAME
    if path.exists() or path.is_symlink():
        with open_to_append(path, _REMEDY) as file:
            _take(file, folder)


def check_place(folder: pathlib.Path) -> None:
    """Refuses a folder where something else lies in the place of the lock.

    Raises:
        DamagedFile: then.
    """
    path = folder / NAME
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise DamagedFile(path, "is no regular file, expected a file", _REMEDY)


@contextlib.contextmanager
def hold_lock(
    folder: pathlib.Path, *, log: Callable[[str], None], timeout: float = 0
) -> Iterator[None]:
    """Holds a folder's lock; the system releases it when the process ends, however it ends.

    Args:
        folder: an existing folder: a workdir, or that of a group in training.
        log: called with a line if the last holder did not end by itself.
        timeout: seconds to wait for another process. A file system on the network needs a while
            to release the lock of a machine that has died.

    Raises:
        UserError: if another process holds it, naming that process.
    """
    with open_to_append(folder / NAME, _REMEDY) as file:
        _take(file, folder, timeout)
        if last_holder := _read(file):
            log(
                f"The last run on {folder}, {last_holder}, was cut off; going on from what it left."
            )
        now = datetime.datetime.now(datetime.UTC)
        _write(file, f"process {os.getpid()} on {socket.gethostname()} since {now:%F %T} UTC")
        try:
            yield
        finally:
            _write(file, "")


def _take(file: TextIO, folder: pathlib.Path, timeout: float = 0) -> None:
    """Takes the system's lock of the open file, and tries once a second while timeout lasts."""
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(1)
                continue
            raise UserError(
                f"--workdir={folder}: in use by {_read(file) or 'another process'}. Wait for it, "
                "stop it, or give another --workdir."
            ) from error


def _read(file: TextIO) -> str:
    file.seek(0)
    return printable(one_line(file.read(_MOST)))


def _write(file: TextIO, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()
