"""Ctrl-C and SIGTERM wait for the end of a step."""

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator

from transfer_keras.config import StoppedAtOnce


@dataclasses.dataclass
class Stop:
    """Whether to end after the step, and save.

    Attributes:
        deadline: a moment of `time.monotonic()`; None: there is none.
        signalled: whether a signal has come.
    """

    deadline: float | None = None
    signalled: bool = False

    @property
    def requested(self) -> bool:
        """Whether a signal has come or the deadline is past."""
        return self.signalled or (self.deadline is not None and time.monotonic() > self.deadline)


@contextlib.contextmanager
def signals_wait(deadline: float | None = None) -> Iterator[Stop]:
    """Within it, the first SIGINT or SIGTERM only requests the stop; the second stops at once.

    Outside the main thread, where Python allows no handlers, nothing is changed.

    Args:
        deadline: see `Stop`.

    Raises:
        StoppedAtOnce: at the second signal.
    """
    stop = Stop(deadline)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number, frame):
        if stop.signalled:
            raise StoppedAtOnce
        stop.signalled = True
        with contextlib.suppress(OSError):  # Whoever read it may be stopped already.
            os.write(2, b"\nStopping: a checkpoint is saved first. Again to stop at once.\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
