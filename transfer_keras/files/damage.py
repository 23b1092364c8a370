"""What is said of a file that cannot be used, and where it goes if it can be made again."""

import pathlib
from collections.abc import Callable

from transfer_keras.config import UserError, one_line, printable

# Characters of a reason that are shown.
_MOST = 200


class DamagedFile(UserError):
    """A file that is not what this program writes; the message names it.

    Args:
        path: of the file.
        found: what is wrong with it: the end of a sentence whose subject is the file.
        remedy: what to do, as a sentence; "": the caller says it.
    """

    def __init__(self, path: pathlib.Path, found: object, remedy: str = ""):
        self.path, self.found = path, printable(one_line(found, _MOST)).rstrip(" .")
        super().__init__(f"{printable(path)}: {self.found}.{f' {remedy}' if remedy else ''}")


def set_aside(error: DamagedFile, log: Callable[[str], None], then: str) -> None:
    """Renames a damaged file, so that it can be made again, and says so.

    Args:
        error: that names it.
        log: called with a line.
        then: what happens now: the end of a sentence, as "it is measured again".

    Raises:
        OSError: if it cannot be renamed.
    """
    aside = error.path.with_name(f"{error.path.name}.damaged")
    error.path.replace(aside)
    log(f"{error} It was renamed to {aside.name}, and {then}.")
