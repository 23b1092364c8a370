"""One process at a time on a workdir."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator

from transfer_keras.config import UserError

NAME = ".lock"


def check_lock(workdir: pathlib.Path) -> None:
    """Refuses a workdir that another process holds; writes nothing.

    Raises:
        UserError: see `hold`.
    """
    if (workdir / NAME).exists():
        with (workdir / NAME).open("r+") as file:
            _take(file, workdir)


@contextlib.contextmanager
def hold_lock(
    workdir: pathlib.Path, *, say: Callable[[str], None], patience: float = 0
) -> Iterator[None]:
    """Holds the workdir's lock; the system releases it when the process ends, however it does.

    Args:
        workdir: an existing folder.
        say: called with a line if the last holder did not end by itself.
        patience: seconds to wait for another process; a file system on the network gives the lock
            of a machine that has died back after a while.

    Raises:
        UserError: if another process holds it, naming that.
    """
    with (workdir / NAME).open("a+") as file:
        _take(file, workdir, patience)
        if left := _read(file):
            say(f"The last run on {workdir}, {left}, was cut off; going on from what it left.")
        now = datetime.datetime.now(datetime.UTC)
        _write(file, f"process {os.getpid()} on {socket.gethostname()} since {now:%F %T} UTC")
        try:
            yield
        finally:
            _write(file, "")


def _take(file, workdir: pathlib.Path, patience: float = 0) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() < end:
                time.sleep(1)
                continue
            raise UserError(
                f"--workdir={workdir}: in use by {_read(file) or 'another process'}. Wait for it, "
                "stop it, or give another --workdir."
            ) from error


def _read(file) -> str:
    file.seek(0)
    return file.read().strip()


def _write(file, text: str) -> None:
    file.truncate(0)
    file.write(text)
    file.flush()
