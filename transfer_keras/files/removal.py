"""Removes what this program wrote, and nothing else."""

import errno
import pathlib
import re
import stat
import time

from transfer_keras.files.whole import is_partial

# Seconds after which nobody writes a partial file any more: the process was killed.
_ABANDONED = 3600
NOTHING = re.compile(r"(?!)")


def remove_files(folder: pathlib.Path, own: re.Pattern = NOTHING) -> None:
    """Removes files whose names are this program's from a folder.

    What else lies there, folders and what links point to included, is left. Files that a killed
    process was writing are removed an hour after their last change.

    Args:
        folder: it need not exist.
        own: matches the whole name of each file that is removed.

    Raises:
        OSError: if a file cannot be removed.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        facts = path.lstat()
        abandoned = is_partial(path) and time.time() - facts.st_mtime > _ABANDONED
        if (own.fullmatch(path.name) or abandoned) and not stat.S_ISDIR(facts.st_mode):
            path.unlink(missing_ok=True)


def remove_folder(folder: pathlib.Path, own: re.Pattern) -> None:
    """Removes this program's files from a folder, and the folder if nothing else is in it.

    Args:
        folder, own: see `remove_files`.

    Raises:
        OSError: see `remove_files`.
    """
    remove_files(folder, own)
    if folder.is_dir() and not folder.is_symlink():
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
