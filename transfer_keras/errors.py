"""What a person can do wrong."""


class UserError(ValueError):
    """A setting, file or folder that cannot be used: one line, no traceback.

    The message names the flag and says what was found, what was expected and what to do.
    """
