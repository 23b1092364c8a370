"""Looks into the files of networks before Keras does: what is in them, and how much it would take.

Keras reads what a file claims. So a file of a few bytes could fill the memory, or have another file
read; here sizes, links and members are checked against what is really there.
"""

import collections
import contextlib
import math
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import h5py
import keras

from transfer_keras.surgery import errors

MOST_BYTES = 2**33
WEIGHTS = "model.weights.h5"
_MOST_TEXT = 2**24  # Bytes of a config; that of the largest network of Keras has one.
_MOST_MEMBERS = 10_000
_FOLDS = 100  # Packed floats do not shrink to a hundredth, unless all are the same.
_FREE = 2**20  # What is smaller may be packed as it likes, or be more than the file holds.
_FLOAT = 4  # Bytes.
_PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NUMBERS = "biufV"  # Kinds of NumPy's types; V is bfloat16.


def check_archive(archive: zipfile.ZipFile, most_bytes: int) -> None:
    """Checks that the members of a zip are as large as it says, and that this is not too much.

    Raises:
        TooLarge: if they would take too much.
        UnreadableFile: if they are packed as Keras does not, encrypted, or there twice.
        zipfile.BadZipFile: if one is damaged, or larger than is said.
    """
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise errors.UnreadableFile(f"It has {len(members):,} members. Expected a few.")
    names = collections.Counter(info.filename for info in members)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise errors.UnreadableFile(f"It holds '{twice}' twice.")
    _check_size("It", sum(info.file_size for info in members), most_bytes)
    for info in members:
        if info.flag_bits & 1 or info.compress_type not in _PACKING:
            raise errors.UnreadableFile(
                f"'{info.filename}' in it is encrypted, or packed as Keras does not."
            )
        if info.file_size > _FREE + _FOLDS * info.compress_size:
            raise errors.UnreadableFile(
                f"'{info.filename}' in it is {errors.size(info.compress_size)} that would become "
                f"{errors.size(info.file_size)}, as no network does. It was made to fill memory."
            )
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED:
            # The size may be a lie. Zipfile notices at the end, and gives no more until then.
            with archive.open(info) as member:
                while member.read(_FREE):
                    pass


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Reads a small member of a zip.

    Raises:
        KeyError: if there is none of this name.
        UnreadableFile: if it is large.
    """
    with archive.open(name) as member:
        text = member.read(_MOST_TEXT + 1)
    check_text(text, name)
    return text


def check_text(text: str | bytes, name: str) -> None:
    """Checks that a config is no longer than networks have one.

    Raises:
        UnreadableFile: if it is.
    """
    _check_length(name, len(text))


def _check_length(name: str, length: int) -> None:
    if length > _MOST_TEXT:
        raise errors.UnreadableFile(
            f"'{name}' in it has more than {errors.size(_MOST_TEXT)}, as in no network."
        )


@contextlib.contextmanager
def opened_member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    """Gives a member of a zip as a file of its own, which is gone after the block."""
    with archive.open(name) as member, tempfile.SpooledTemporaryFile(2**28) as file:
        while piece := member.read(_FREE):
            file.write(piece)
        file.seek(0)
        yield file


def check_weights_file(path: pathlib.Path, most_bytes: int) -> int:
    """Checks the weights in a file, HDF5 or `.keras`; see `check_weights`.

    Raises:
        UnreadableFile: also if it is neither.
        OSError, zipfile.BadZipFile: if it is damaged.
    """
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            return check_weights(file, most_bytes)
    if not zipfile.is_zipfile(path):
        raise errors.UnreadableFile("It is neither an HDF5 file nor a .keras file.")
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, most_bytes)
        return check_member(archive, most_bytes)


def check_member(archive: zipfile.ZipFile, most_bytes: int) -> int:
    """Checks the weights in a `.keras` file, after `check_archive`; see `check_weights`."""
    if WEIGHTS not in archive.namelist():
        raise errors.UnreadableFile(f"It holds no {WEIGHTS}, so no weights.")
    with opened_member(archive, WEIGHTS) as weights, h5py.File(weights) as file:
        return check_weights(file, most_bytes)


def check_weights(file: h5py.File, most_bytes: int) -> int:
    """Checks that the arrays of an HDF5 file lie in it, as plain numbers.

    Returns:
        How many numbers they have.

    Raises:
        TooLarge: if they would take too much.
        UnreadableFile: if there is a link, or an array that lies elsewhere, is packed, holds no
            numbers, or fewer than it says.
    """
    groups, seen = [("", file)], set()
    numbers = taken = 0
    while groups:
        path, group = groups.pop()
        _check_attributes(group, path)
        if (place := h5py.h5o.get_info(group.id).addr) in seen:
            raise errors.UnreadableFile(f"The group '{path}' in it is there twice.")
        seen.add(place)
        for name in group:
            inner = f"{path}/{name}"
            if group.get(name, getlink=True, getclass=True) is not h5py.HardLink:
                raise errors.UnreadableFile(f"'{inner}' in it is a link. Expected an array.")
            member = group[name]
            if isinstance(member, h5py.Group):
                groups.append((inner, member))
            else:
                count = _check_array(member, inner)
                numbers += count
                taken += count * member.dtype.itemsize
                _check_size("It", taken, most_bytes)
    return numbers


def _check_attributes(holder: h5py.Group | h5py.Dataset, path: str) -> None:
    for name in holder.attrs:
        attribute = holder.attrs.get_id(name)
        claimed = math.prod(attribute.shape or ()) * attribute.dtype.itemsize
        _check_length(f"{path}@{name}", claimed)


def _check_array(array: h5py.Dataset, path: str) -> int:
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in _NUMBERS:
        raise errors.UnreadableFile(f"'{path}' in it is no array of numbers.")
    _check_attributes(array, path)
    if array.is_virtual or array.external:
        raise errors.UnreadableFile(f"'{path}' in it lies in another file.")
    if array.id.get_create_plist().get_nfilters():
        # HDF5 unpacks a piece whatever becomes of it.
        raise errors.UnreadableFile(
            f"'{path}' in it is packed, which Keras does not do: `h5repack -f NONE` unpacks it."
        )
    # Of any size: NumPy's product would run over.
    count = math.prod(map(int, array.shape or ()))
    claimed, held = count * array.dtype.itemsize, array.id.get_storage_size()
    if held < claimed:
        raise errors.UnreadableFile(
            f"'{path}' in it says that it has {errors.size(claimed)}, and {errors.size(held)} of "
            "them are there. It is damaged, or was made to fill memory."
        )
    return count


def _check_size(what: str, found: int, most: int) -> None:
    if found > most:
        raise errors.TooLarge(what, found, most)


def check_inputs(config, most_bytes: int) -> None:
    """Checks that no input of a network's config is larger than the memory.

    Raises:
        TooLarge: if one is.
    """
    if isinstance(config, dict):
        for name in ("batch_shape", "batch_input_shape"):
            shape = config.get(name)
            if isinstance(shape, list):
                sizes = [size for size in shape if isinstance(size, int) and size > 0]
                _check_size("One input of it", _FLOAT * math.prod(sizes), most_bytes)
        config = list(config.values())
    for item in config if isinstance(config, list) else ():
        check_inputs(item, most_bytes)


@contextlib.contextmanager
def limited_weights(most_bytes: int, stored: int | None = None) -> Iterator[None]:
    """Lets layers make no more weights than fit, and than there are values for.

    Args:
        most_bytes: what all weights made in the block may take.
        stored: how many numbers are there for them; None: not known.

    Raises:
        TooLarge: within the block.
        UnreadableFile: likewise, if there are far fewer numbers than weights.
    """
    own = keras.Layer.add_weight
    made = 0

    def add_weight(layer, shape=None, *args, **kwargs):
        nonlocal made
        sizes = [int(size) for size in (shape if isinstance(shape, list | tuple) else ())]
        made += math.prod(sizes)
        _check_size(f"With the weights of layer '{layer.name}' it", _FLOAT * made, most_bytes)
        if stored is not None and made > _FREE + 2 * stored:
            raise errors.UnreadableFile(
                f"Layer '{layer.name}' would bring its weights to {errors.digits(made)}, and "
                f"{errors.digits(stored)} are in the file. Its config is another network's, or "
                "was made to fill memory."
            )
        return own(layer, shape, *args, **kwargs)

    # Every layer makes its weights by this method, and Keras asks nobody how large they may be.
    keras.Layer.add_weight = add_weight
    try:
        yield
    finally:
        keras.Layer.add_weight = own
