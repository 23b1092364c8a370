"""Reads text files that list something, a name or a path in each line."""

import os
import stat

from transfer_keras.config.errors import UserError

# Bytes: the paths of a million pictures have a hundred million.
_MOST = 2**27


def read_lines(where: str, path: str | os.PathLike, what: str) -> list[str]:
    """Reads the lines of a text file in UTF-8, with or without a byte order mark.

    Args:
        where: the flag, with its value.
        path: of the file; `~` is the home folder.
        what: stands in each line, for the message.

    Returns:
        The lines, those that are empty too; only line feeds end them, after a carriage return or
        not.

    Raises:
        UserError: if it is no such file.
    """
    expected = f"Expected a text file in UTF-8, with {what} in each line."
    try:
        # A pipe must not block.
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise UserError(f"{where}: is no file. {expected}")
            if facts.st_size > _MOST:
                raise UserError(
                    f"{where}: has {facts.st_size:,} bytes, more than {_MOST:,}. {expected}"
                )
            text = file.read(_MOST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not text in UTF-8 ({error.reason}). {expected}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{where}: cannot be read ({reason}). {expected}") from error
    if "\0" in text:
        raise UserError(f"{where}: is no text: it has a zero byte. {expected}")
    return [line.removesuffix("\r") for line in text.split("\n")]
