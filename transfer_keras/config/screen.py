"""The streams that a program prints to, whatever becomes of who reads them."""

import contextlib
import errno
import io
import os
import re
import sys

from transfer_keras.config.escaping import visible

# What a write ends with when a pipe's reader has ended, a terminal is closed, a connection is cut.
_GONE = {errno.EPIPE, errno.EIO, errno.ECONNRESET}
_NAMES = {1: "stdout", 2: "stderr"}
_BAR = re.compile(r"(?:\r|\n|\x1b\[A)*")  # Back to the line's beginning, or to lines above.
_REPLACED = []  # Streams that would close their descriptors if nothing held them.
_SPOKEN = {1: "standard output", 2: "standard error"}


class _Output(io.FileIO):
    """Writes to a descriptor; once nobody reads there any more, what is written goes nowhere."""

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            # Of TensorFlow's own words too; and the end of the program does not try again.
            _open_nowhere(self.fileno())
            if error.errno in _GONE:
                return len(data)
            raise OSError(error.errno, error.strerror, _SPOKEN[self.fileno()]) from error


class _Text(io.TextIOWrapper):
    """Writes text whose characters steer no screen; what the progress bar needs passes."""

    def write(self, text):
        begin = _BAR.match(text)[0]
        super().write(begin + visible(text[len(begin) :]))
        return len(text)


def prepare_streams() -> None:
    """Makes the standard streams such that a program never ends for want of a reader.

    A stream that is closed is opened to nowhere: else the next file that is opened would take its
    number, and TensorFlow's words would be written into that file. What the screen's encoding does
    not have is written as its number, and so is what would steer the screen, in a name for one.

    Raises:
        OSError: not here, but at a later print, where a stream is a file and its disk is full.
    """
    for number in (0, *_NAMES):
        try:
            os.fstat(number)
        except OSError:
            _open_nowhere(number)
    for number, name in _NAMES.items():
        before = getattr(sys, name)
        if before is not None:
            try:
                if before.fileno() != number:
                    continue  # It was replaced, and who did so knows why.
            except (OSError, ValueError, AttributeError):
                continue
            with contextlib.suppress(OSError):
                before.flush()
        stream = _Text(
            io.BufferedWriter(_Output(number, "wb", closefd=False)),
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors="backslashreplace",
            line_buffering=getattr(before, "line_buffering", True),
            write_through=getattr(before, "write_through", False),
        )
        _REPLACED.append(before)
        setattr(sys, name, stream)


def _open_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
