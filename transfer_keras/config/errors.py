"""Errors of the user, and the ways in which a program can end early."""


class UserError(ValueError):
    """A setting, file or folder that cannot be used: one line, no traceback.

    The message names the flag and says what was found, what was expected and what to do.
    """


class WorkerLost(Exception):
    """Another process of this training has ended; the message is TensorFlow's."""


class Interrupted(Exception):
    """A training was stopped, and what it had reached is saved."""


class StoppedAtOnce(KeyboardInterrupt):
    """The second signal came before the step had ended."""
