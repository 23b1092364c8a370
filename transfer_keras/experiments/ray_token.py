"""The file of the secret that lets a process use a Ray cluster."""

import errno
import os
import pathlib
import secrets
import stat

from transfer_keras.config import UserError

# Where one of these is set, the secret is elsewhere.
_ELSEWHERE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_OTHERS = 0o077  # Rights of the group and of all.


def protect_token(*, make: bool) -> None:
    """Sees to it that only its owner can read Ray's token, which Ray writes for all to read.

    Args:
        make: whether one is made where there is none, as a cluster of this machine needs it.

    Raises:
        UserError: if the file is a link, or belongs to somebody else.
    """
    if any(os.environ.get(name) for name in _ELSEWHERE):
        return
    path = pathlib.Path.home() / ".ray" / "auth_token"
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    if make and not os.path.lexists(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass  # Another program was faster; its file is checked as any other.
        else:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
    try:
        descriptor = os.open(path, flags | os.O_RDONLY)
    except FileNotFoundError:
        return
    except OSError as error:
        found = "is a link" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
        raise UserError(f"{path} {found}. Expected a file with Ray's token; remove it.") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.getuid():
            raise UserError(
                f"{path} is no file of yours. Expected one with Ray's token; remove it."
            )
        if facts.st_mode & _OTHERS:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
