"""Stop requests: Ctrl-C and SIGTERM take effect at the end of a step."""

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
    """A request to end the training after the current step, and to save a checkpoint.

    Attributes:
        deadline: a moment of `time.monotonic()`, in seconds; None: there is none.
        signalled: whether a signal has come.
    """

    deadline: float | None = None
    signalled: bool = False

    @property
    def requested(self) -> bool:
        """Tells whether a signal has come or the deadline is past."""
        return self.signalled or (self.deadline is not None and time.monotonic() > self.deadline)


@contextlib.contextmanager
def defer_signals(deadline: float | None = None) -> Iterator[Stop]:
    """Makes the first SIGINT or SIGTERM only request a stop; the second stops at once.

    Outside the main thread, where Python allows no handlers, nothing is changed.

    Args:
        deadline: a moment of `time.monotonic()` from which on the stop is requested too; None:
            there is none.

    Yields:
        The stop request, which the training reads after each step.

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
        # The reader of a pipe may have been stopped by the same signal.
        with contextlib.suppress(OSError):
            os.write(2, b"\nStopping: a checkpoint is saved first. Again to stop at once.\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
