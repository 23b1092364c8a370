"""Opens files of which nothing is known: no link, no folder and no pipe in place of a file."""

import errno
import os
import pathlib
import stat
from typing import BinaryIO, TextIO

from transfer_keras.files.damage import DamagedFile

# Bytes of a text or JSON file. The largest, a list of a million pictures, has a tenth of that.
MOST_TEXT = 2**30


def open_regular(path: pathlib.Path, remedy: str = "") -> BinaryIO:
    """Opens a file for reading.

    A link is followed, since reading changes nothing; a pipe does not block.

    Args:
        path: of the file.
        remedy: what to do if it cannot be read, as a sentence.

    Raises:
        FileNotFoundError: if it is not there.
        DamagedFile: if it is no regular file, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFile(path, f"cannot be read ({error.strerror})", remedy) from error
    return os.fdopen(_regular(descriptor, path, remedy), "rb")


def open_to_append(path: pathlib.Path, remedy: str = "") -> TextIO:
    """Opens a text file for reading and writing, and makes it where it is not there.

    Args:
        path: of the file; a link is not followed.
        remedy: what to do if it cannot be used, as a sentence.

    Raises:
        DamagedFile: if it is a link, or no regular file.
        OSError: if it cannot be opened for another reason.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedFile(path, "is a link, expected a file", remedy) from error
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise DamagedFile(path, "is not a regular file", remedy) from error
        raise
    file = os.fdopen(_regular(descriptor, path, remedy), "a+", encoding="utf-8", errors="replace")
    return file


def _regular(descriptor: int, path: pathlib.Path, remedy: str) -> int:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise DamagedFile(path, f"is {kind}, expected a file", remedy)
    return descriptor


def read_bytes(path: pathlib.Path, remedy: str = "", most: int = MOST_TEXT) -> bytes:
    """Reads a whole file.

    Args:
        path, remedy: see `open_regular`.
        most: bytes that it may have.

    Raises:
        FileNotFoundError: if it is not there.
        DamagedFile: if it cannot be read, or is larger.
    """
    with open_regular(path, remedy) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise DamagedFile(path, f"has {size:,} bytes, expected at most {most:,}", remedy)
        try:
            return file.read(most)
        except OSError as error:
            raise DamagedFile(path, f"cannot be read ({error.strerror})", remedy) from error


def read_text(path: pathlib.Path, remedy: str = "", most: int = MOST_TEXT) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark.

    Raises:
        DamagedFile: see `read_bytes`; or if it is no such text.
    """
    try:
        return read_bytes(path, remedy, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedFile(path, f"is no text in UTF-8 ({error.reason})", remedy) from error
