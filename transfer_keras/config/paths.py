"""Paths and other text that a person gives, checked without opening anything."""

import errno
import hashlib
import os
import pathlib
import re
import unicodedata

from transfer_keras.config.errors import UserError

_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # As s3:// or gs://.
# Characters that end a line, steer a screen, or stand for bytes that are no text.
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_MENDS = {
    errno.ELOOP: "its links lead round in a circle. Mend the links",
    errno.ENAMETOOLONG: "a name in it is longer than the file system takes. Give a shorter one",
    errno.ENOTDIR: "a file stands where a folder is expected. Give another path",
}


def why_no_text(value: str) -> str | None:
    """Says why a value cannot be repeated from a file of flags, a line each; None where it can."""
    for character in value:
        if unicodedata.category(character) == "Cs":
            return "expected text in UTF-8. Rename what it names, or make a link to it"
        if unicodedata.category(character) in UNPRINTABLE:
            return (
                f"has a line break or another control character ({ascii(character)[1:-1]}). Rename "
                "what it names, or make a link to it"
            )
    if value != value.strip():
        return "begins or ends with white space. Rename what it names, or make a link to it"
    return None


def why_no_path(path: str) -> str | None:
    """Says why a path cannot be one of this machine; None where it can, there or not."""
    if path.startswith("~") and os.path.expanduser(path).startswith("~"):
        return f"there is no user {path.split('/')[0][1:]}. Give the folder's whole path"
    if service := _SERVICE.match(path):
        return (
            f"{service[0]} is no folder of this machine. Mount it, or copy it, and give that path"
        )
    if why := why_no_text(path):
        return why
    try:
        os.stat(os.path.expanduser(path))
    except OSError as error:
        return _MENDS.get(error.errno)
    except ValueError as error:  # Not to be written in the file system's encoding.
        return f"cannot be a path here ({error})"
    return None


def is_url(path: str | os.PathLike) -> bool:
    """Tells whether a path names a place of another kind than a folder, as gs://bucket."""
    return bool(_SERVICE.match(os.fspath(path)))


def short_name(name: str, most: int) -> str:
    """Gives a name of at most so many bytes: a longer one is cut, and a digest makes it unique."""
    data = os.fsencode(name)
    if len(data) <= most:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{data[: most - 9].decode('utf-8', 'ignore')}-{digest}"


def check_output(flag: str, path: pathlib.Path, *, is_folder: bool) -> None:
    """Checks that a file or folder can be written, before there is anything to write; writes
    nothing.

    Args:
        flag: that names it.
        path: of what will be written; it need not exist.
        is_folder: whether it will be a folder, and no file. The folders above it are made too.

    Raises:
        UserError: if it cannot.
    """
    given = f"--{flag}={path}"
    if is_folder and path.exists() and not path.is_dir():
        raise UserError(f"{given}: is a file. Give a folder.")
    if not is_folder and path.is_dir():
        raise UserError(f"{given}: is a folder. Give the name of a file.")
    if not is_folder and path.exists() and not path.is_file():
        raise UserError(f"{given}: is a device or a pipe. Give the name of a file.")
    above = path.absolute() if is_folder else path.absolute().parent
    existing = next(folder for folder in (above, *above.parents) if os.path.lexists(folder))
    if not existing.is_dir():
        raise UserError(f"{given}: {existing} is a file, and no folder. Give another.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"{given}: {existing} cannot be written. Change its permissions, or give another."
        )
