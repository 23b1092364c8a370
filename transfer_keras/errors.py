"""What a person can do wrong, and what can befall several machines."""


class UserError(ValueError):
    """A setting, file or folder that cannot be used: one line, no traceback.

    The message names the flag and says what was found, what was expected and what to do.
    """


class WorkerLost(Exception):
    """Another process of this training has ended; what it said."""
