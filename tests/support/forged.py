"""Rewrites JSON, arrays and archives so that their form stays right and their content does not."""

import contextlib
import functools
import hashlib
import io
import json
import zipfile
import zlib

import numpy as np
import safetensors

from transfer_keras import files

DIGEST = 64  # Of a checkpoint of an older version, in hexadecimal, at its end.
DEEP = "[" * 100_000 + "]" * 100_000
BOMB = 3 << 30  # Bytes of zeros, of which a zip makes three megabytes.


class Edited(Exception):
    """What an operation made is a valid file that says something else: nobody could know."""


class NotPossible(Exception):
    """An operation does not suit the file as it is."""


# JSON.


def write_bytes(path, content):
    """Writes damaged bytes; those of a JSON file that say the same in other words are no damage."""
    before = path.read_bytes()
    if path.suffix == ".json":
        _refuse_plausible(before, content)
    if before == content:
        raise NotPossible
    path.write_bytes(content)


def _refuse_plausible(before, after):
    with contextlib.suppress(ValueError, RecursionError):
        old, new = json.loads(before), json.loads(after)
        if _plausible(old, new):
            raise Edited


def _plausible(old, new):
    """Tells whether a value could have been written in place of another."""
    if type(old) is not type(new):
        return False
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_plausible(old[key], new[key]) for key in old)
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_plausible, old, new))
    if isinstance(old, float):
        return new - new == 0 and new >= 0
    if isinstance(old, int) and not isinstance(old, bool):
        return 0 <= new < 1 << 31
    if isinstance(old, str):
        return new.isprintable() and not {"/", "."} & {*new} and len(new) < 100 and bool(new)
    return True


def _edit_json(text, places, change, value):
    """Edits a document at a place; gives the text of it."""
    document = {"": json.loads(text)}
    parent, key = document, ""
    for place in places:
        child = parent[key]
        if not (isinstance(child, dict | list) and child):
            break
        keys = sorted(child) if isinstance(child, dict) else range(len(child))
        parent, key = child, keys[min(int(place * len(keys)), len(keys) - 1)]
    mark = "\ue000"
    if change == "replace":
        parent[key] = mark
    elif change == "remove" and parent is not document:
        del parent[key]
    elif change == "add" and isinstance(parent[key], dict):
        parent[key]["an unknown key"] = mark
    elif change == "append" and isinstance(parent[key], list):
        parent[key].append(mark)
    else:
        raise NotPossible
    return json.dumps(document[""], indent=2).replace(json.dumps(mark), value)


def change_json(path, _, places, change, value):
    try:
        text = _edit_json(path.read_text(), places, change, DEEP if value == "deep" else value)
    except (ValueError, RecursionError) as error:
        raise NotPossible from error
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


# Arrays.


class _Code:
    """Leaves a file outside when it is unpickled."""

    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('outside/ran').touch()",))


def _large(dtype):
    """Gives a number that no index, label or count is."""
    return min(10**9, np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 10**9


def _changed(array, change):
    """Gives another array in place of one."""
    flat = np.asarray(array)
    number = np.issubdtype(flat.dtype, np.number)
    changes = {
        "object": lambda: np.array([_Code()], object),
        "text": lambda: np.full(flat.shape, "x"),
        "shorter": lambda: flat[:-1] if flat.ndim and len(flat) else flat[None],
        "another axis": lambda: flat[None],
        "empty": lambda: flat[:0] if flat.ndim else np.zeros(0, flat.dtype),
        # Integers without a sign wrap around.
        "negative": lambda: -np.abs(flat) - np.ones_like(flat) if number else flat[None],
        "out of range": lambda: flat + _large(flat.dtype) if number else flat[None],
        "nan": lambda: np.full(flat.shape, np.nan),
        "complex": lambda: np.full(flat.shape, 1j),
    }
    return changes[change]()


def change_array(path, folder, which, change):
    """Rewrites one array of a file whose form stays right, its digest too."""
    if path.suffix == ".safetensors":
        return _safetensors(path, which, change)
    content = path.read_bytes()
    digest = hashlib.sha256(content[:-DIGEST]).hexdigest().encode() == content[-DIGEST:]
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        named = {name: arrays[name] for name in arrays.files}
    name = sorted(named)[min(int(which * len(named)), len(named) - 1)]
    buffer = io.BytesIO()
    if change in ("huge", "bomb", "missing"):
        del named[name]
    elif change == "unknown":
        named["an unknown array"] = named[name]
    elif change == "facts":
        named[_facts_of(named)] = np.array('{"step": "x"}')
    else:
        named[name] = _changed(named[name], change)
    np.savez(buffer, **named)
    if change in ("huge", "bomb"):
        _forge_member(buffer, f"{name}.npy", change)
    made = buffer.getvalue()
    path.write_bytes(made + hashlib.sha256(made).hexdigest().encode() if digest else made)


def _facts_of(named):
    if "facts" not in named:
        raise NotPossible
    return "facts"


def _forge_member(buffer, name, change):
    """Adds an array to a zip whose header claims terabytes, or that really grows to gigabytes."""
    shape = "(100000000000000,)" if change == "huge" else f"({BOMB},)"
    header = f"{{'descr': '|i1', 'fortran_order': False, 'shape': {shape}, }}"
    header = f"{header:117}\n".encode()
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(buffer, "a") as archive:
        if name in archive.namelist():
            raise NotPossible
        if change == "bomb":
            _add_bomb(archive, name, start)
        else:
            archive.writestr(name, start + bytes(1000))


def _add_bomb(archive, name, start=b""):
    """Adds a member of gigabytes of zeros to an archive, without making them all."""
    stream, checksum, size = _deflated_zeros(start)
    info = zipfile.ZipInfo(name)
    info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, size
    info.compress_size, info.CRC, info.header_offset = len(stream), checksum, archive.start_dir
    archive.fp.seek(archive.start_dir)
    archive.fp.write(info.FileHeader(zip64=True) + stream)
    archive.start_dir = archive.fp.tell()
    archive.filelist.append(info)
    archive.NameToInfo[name] = info
    archive._didModify = True


@functools.cache
def _deflated_zeros(start):
    """Gives a stream of some bytes and gigabytes of zeros, its checksum, and its size."""
    block, count = bytes(1 << 24), BOMB >> 24
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = compressor.compress(start) + compressor.flush(zlib.Z_FULL_FLUSH)
    repeated = compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.crc32(start)
    for _ in range(count):
        checksum = zlib.crc32(block, checksum)
    return stream + repeated * count + compressor.flush(), checksum, len(start) + BOMB


def _safetensors(path, which, change):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = sorted(set(header) - {"__metadata__"})
    if not names:
        raise NotPossible
    name = names[min(int(which * len(names)), len(names) - 1)]
    if change in ("text", "object"):
        header[name]["dtype"] = change
    elif change == "huge":
        header[name]["shape"] = [10**14]
    elif change == "bomb":
        header[name]["data_offsets"] = [0, BOMB]
    else:
        _rewrite_arrays(path, name, change)
        return
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _rewrite_arrays(path, name, change):
    """Writes other arrays as the programs do, so that their digest is right."""
    arrays, facts = files.read_arrays(path)
    if change == "missing":
        del arrays[name]
    elif change == "unknown":
        arrays["an unknown array"] = arrays[name]
    elif change == "facts":
        if not facts:
            raise NotPossible
        facts = dict.fromkeys(facts, "x") if isinstance(facts, dict) else "x"
    else:
        arrays[name] = _changed(arrays[name], change)
    try:
        files.write_arrays(path, arrays, facts)
    except (safetensors.SafetensorError, OSError) as error:  # No file can hold such an array.
        raise NotPossible from error


# Archives of Keras.


def change_member(path, _, which, change, places=(), value="null"):
    """Rewrites an archive with one member changed, its checksums right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    documents = [name for name in sorted(members) if name.endswith(".json")]
    chosen = documents if change == "json" else sorted(members)
    name = chosen[min(int(which * len(chosen)), len(chosen) - 1)]
    if change == "json":
        edited = _edit_json(members[name], places, "replace", DEEP if value == "deep" else value)
        _refuse_plausible(members[name], edited)
        members[name] = edited.encode("utf-8", "surrogateescape")
    elif change == "remove":
        del members[name]
    elif change == "empty":
        members[name] = b""
    elif change == "text":
        members[name] = b"no such thing"
    elif change == "climb":
        members["../outside/secret.txt"] = b"climbed"
    elif change == "bomb":
        del members[name]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    if change == "bomb":
        with zipfile.ZipFile(path, "a") as archive:
            _add_bomb(archive, name)
