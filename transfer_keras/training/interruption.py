"""Ctrl-C and SIGTERM wait for the end of a step."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class Interrupted(Exception):
    """A training was stopped by a signal, and what it had reached is saved."""


class StoppedAtOnce(KeyboardInterrupt):
    """The second signal came before the step had ended."""


class Stop:
    """Attributes: requested: whether a signal has come."""

    requested = False


@contextlib.contextmanager
def signals_wait() -> Iterator[Stop]:
    """Within it, the first SIGINT or SIGTERM only sets `requested`; the second stops at once.

    Outside the main thread, where Python allows no handlers, nothing is changed.

    Raises:
        StoppedAtOnce: at the second signal.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number, frame):
        if stop.requested:
            raise StoppedAtOnce
        stop.requested = True
        with contextlib.suppress(OSError):  # Whoever read it may be stopped already.
            os.write(2, b"\nStopping: a checkpoint is saved first. Again to stop at once.\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
