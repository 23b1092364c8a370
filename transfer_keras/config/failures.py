"""What the system says when something cannot be done, in words that name what to do."""

import errno
import os
import sys
from collections.abc import Mapping

from transfer_keras.config.text import one_line

_FULL = "the disk is full. Make room, or give another folder"
_MENDS = {
    errno.ENOENT: "there is no such file or folder. Make it, or correct its name",
    errno.EACCES: "there is no right to do that. Change its permissions, or give another",
    errno.EPERM: "there is no right to do that. Change its permissions, or give another",
    errno.EROFS: "its file system takes no writing. Give another",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the quota of the disk is used up. Make room, or give another folder",
    errno.EFBIG: "the file would be larger than is allowed. Raise the limit (ulimit -f)",
    errno.EEXIST: "something of that name is there already. Move it away",
    errno.EISDIR: "a folder stands where a file is expected. Move it away",
    errno.ENOTDIR: "a file stands where a folder is expected. Move it away",
    errno.ENOTEMPTY: "the folder holds something else. Move that away",
    errno.ELOOP: "its links lead round in a circle, or a link stands where none may. Remove it",
    errno.ENAMETOOLONG: "a name in it is longer than the file system takes. Give a shorter one",
    errno.EMFILE: "too many files are open. Raise the limit (ulimit -n)",
    errno.EIO: "the disk does not answer rightly. Give a folder on another",
    errno.ESTALE: "the file is gone from its server. Run the same again",
    errno.ENOMEM: "the memory does not suffice. End other programs",
    errno.EAGAIN: "no more processes or threads may begin. Raise the limit (ulimit -u)",
}
_NETWORK = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH}


def describe_os_error(error: OSError, given: Mapping[str, str]) -> str:
    """Writes what a failed call of the system was about: the flag, the path, and what to do.

    Args:
        error: as it was raised.
        given: flag -> its value, of flags that may be paths.
    """
    path = error.filename2 or error.filename
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    reason = one_line(error.strerror or error)
    if isinstance(error, ConnectionError | TimeoutError) or error.errno in _NETWORK:
        return f"{reason}: another machine does not answer. Try again later."
    mend = _MENDS.get(error.errno)
    if not isinstance(path, str):
        return f"{reason}: {mend}." if mend else f"{reason}."
    flag = _flag_of(path, given)
    about = f"--{flag}={given[flag]}: {path}" if flag else path
    return f"{about}: {mend} ({reason})." if mend else f"{about}: {reason}."


def is_out_of_memory(error: Exception) -> bool:
    """Tells whether Python or TensorFlow asked for more memory than there is."""
    tensorflow = sys.modules.get("tensorflow")  # Not imported for this question.
    errors = getattr(tensorflow, "errors", None)
    exhausted = getattr(errors, "ResourceExhaustedError", MemoryError)
    return isinstance(error, MemoryError | exhausted)


def _flag_of(path: str, given: Mapping[str, str]) -> str | None:
    """Finds the flag whose path is this one, or the nearest above it."""
    try:
        whole, best, longest = os.path.abspath(path), None, 0
    except OSError:  # The folder in which the program runs was removed.
        return None
    for flag, value in given.items():
        candidate = value.removeprefix("folder:") if value else ""
        if not candidate:
            continue
        above = os.path.abspath(os.path.expanduser(candidate))
        if (whole == above or whole.startswith(above.rstrip("/") + "/")) and len(above) > longest:
            best, longest = flag, len(above)
    return best
