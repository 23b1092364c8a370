"""Damages one file or folder in a way that is fully told by plain values, so that it can be shown.

An operation is a tuple: its name and its arguments. `apply` does it to a path below a folder, in
which `outside/` holds files of somebody else.
"""

import hashlib
import os
import pathlib
import shutil

from support.forged import NotPossible, change_array, change_json, change_member, write_bytes

OUTSIDE = "outside"


def plant_outside(folder):
    """Writes what nobody but its owner may touch."""
    outside = folder / OUTSIDE
    (outside / "folder" / "A2B").mkdir(parents=True)
    for name in ("secret.txt", "folder/keep.txt", "folder/A2B/keep.txt", "folder/group.json"):
        (outside / name).write_text(f"of somebody else: {name}\n")


def apply(folder, path, operation):
    """Does an operation to a path below a folder.

    Returns:
        Paths of somebody else's files that it has put beside those of the program.

    Raises:
        Edited, NotPossible: after which the example says nothing.
    """
    name, *arguments = operation
    return OPERATIONS[name](folder / path, folder, *arguments) or []


def put_back(path, undamaged):
    """Puts a copy of an undamaged file in the place of a damaged one."""
    _clear(path)
    path.parent.mkdir(exist_ok=True)
    shutil.copy2(undamaged, path)


# Bytes.


def _at(content, place):
    """Gives an index into bytes of a place in 0..1."""
    if not content:
        raise NotPossible
    return min(int(place * len(content)), len(content) - 1)


def _flip(path, _, place, bit):
    content = bytearray(path.read_bytes())
    content[_at(content, place)] ^= 1 << bit
    write_bytes(path, bytes(content))


def _zeros(path, _, place, length):
    content = bytearray(path.read_bytes())
    start = _at(content, place)
    content[start : start + length] = bytes(len(content[start : start + length]))
    write_bytes(path, bytes(content))


def _truncate(path, _, place):
    content = path.read_bytes()
    write_bytes(path, content[: _at(content, place)])


def _append(path, _, more):
    write_bytes(path, path.read_bytes() + bytes.fromhex(more))


def _become(path, _, content):
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


# Files, folders and links.


def _clear(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def _remove(path, _):
    _clear(path)


def _folder(path, _):
    _clear(path)
    path.mkdir()


def _file(path, _):
    _clear(path)
    path.write_text("a file\n")


def _pipe(path, _):
    _clear(path)
    os.mkfifo(path)


def _link(path, folder, target):
    """Puts a link in place of something: to a file or folder of others, to nothing, to itself."""
    _clear(path)
    targets = {
        "file": folder / OUTSIDE / "secret.txt",
        "folder": folder / OUTSIDE / "folder",
        "nothing": folder / OUTSIDE / "nothing",
        "itself": path,
    }
    path.symlink_to(targets[target])


def _move(path, folder):
    """Moves something elsewhere and leaves a link to it, as people do whose disk is full."""
    moved = folder / OUTSIDE / "moved" / path.name
    moved.parent.mkdir()
    shutil.move(path, moved)
    path.symlink_to(moved)


def _litter(path, folder, name):
    """Puts a file of somebody else beside something, or into it."""
    own = os.fsdecode(name.encode("utf-8", "surrogateescape"))
    place = (path if path.is_dir() else path.parent) / own
    if place.exists() or place.is_symlink():
        raise NotPossible
    if name.endswith("/"):
        place.mkdir()
        place /= "mine.txt"
    place.write_text("of somebody else\n")
    return [place]


def _future(path, _):
    os.utime(path, (4e9, 4e9))


def _exchange(path, folder, other):
    other = folder / other
    if path.read_bytes() == other.read_bytes():
        raise NotPossible
    spare = path.with_name("spare-name")
    path.rename(spare)
    other.rename(path)
    spare.rename(other)


def _huge_picture(path, _):
    """Writes the header of a picture of ten thousand million pixels."""
    header = bytearray(b"BM" + bytes(52))
    header[10:18] = (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    header[18:26] = (100_000).to_bytes(4, "little") * 2
    header[26:30] = b"\x01\x00\x18\x00"
    path.write_bytes(bytes(header) + bytes(1000))


OPERATIONS = {
    "flip a bit": _flip, "zeros": _zeros, "truncate": _truncate, "append": _append,
    "become": _become, "json": change_json, "array": change_array, "member": change_member,
    "remove": _remove, "a folder": _folder, "a file": _file, "a pipe": _pipe, "a link": _link,
    "move": _move,
    "litter": _litter, "future": _future, "exchange": _exchange, "huge picture": _huge_picture,
}  # fmt: skip


def snapshot(folder):
    """Gives path -> what it is, of all below a folder: for files their size, digest and time."""
    entries = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = pathlib.Path(root, name)
            entries[os.fsencode(path.relative_to(folder)).decode("utf-8", "replace")] = _entry(path)
    return entries


def _entry(path):
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    if path.is_dir():
        return "folder"
    if not path.is_file():
        return "special"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
