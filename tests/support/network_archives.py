"""Files of networks whose parts are other than Keras writes them: zips and HDF5.

All are made from files that Keras wrote.
"""

import functools
import io
import pathlib
import struct
import tempfile
import warnings
import zipfile

import h5py
import numpy as np

from support.networks import classifier

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@functools.cache
def _members() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "own.keras"
        classifier().save(path)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@functools.cache
def hdf5() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "own.h5"
        classifier().save(path)
        return path.read_bytes()


def members() -> dict[str, bytes]:
    """Gives what the `.keras` file of `classifier()` holds."""
    return dict(_members())


def write_members(path, content, compression=zipfile.ZIP_STORED):
    """Writes a zip; a member of the content None is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Names may be there twice.
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in content if isinstance(content, list) else content.items():
                if data is not None:
                    archive.writestr(name, data)


def zeros(size) -> bytes:
    return b"\0" * size


def lying(path, name, size):
    """Writes in a zip's directory and before the member that it has another size."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    struct.pack_into("<L", data, info.header_offset + 22, size)
    entry = data.index(b"PK\x01\x02")
    while True:
        length = struct.unpack_from("<H", data, entry + 28)[0]
        if data[entry + 46 : entry + 46 + length] == name.encode():
            break
        entry = data.index(b"PK\x01\x02", entry + 4)
    struct.pack_into("<L", data, entry + 24, size)
    path.write_bytes(data)


def packed_bomb(path, name, size, claimed=None):
    """Writes a `.keras` file with a packed member of zeros that expands to a size.

    Args:
        path: to write.
        name: of the member.
        size: what it expands to.
        claimed: the size that its headers tell; None: the true one.
    """
    write_members(path, members() | {name: None})
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w", force_zip64=size >= 2**31) as file,
    ):
        for _ in range(size // 2**24):
            file.write(zeros(2**24))
    if claimed is not None:
        lying(path, name, claimed)


def packed_weights(change) -> bytes:
    """Gives the weights of `classifier()` after a function has changed their HDF5 file."""
    file = io.BytesIO(members()[WEIGHTS])
    with h5py.File(file, "r+") as opened:
        change(opened)
    return file.getvalue()


FIRST = "layers/conv2d/vars/0"  # A kernel.


def replace(file, **options):
    del file[FIRST]
    file.create_dataset(FIRST, **options)


def _link(link):
    def change(file):
        del file[FIRST]
        file[FIRST] = link

    return change


def _outside(file):
    replace(file, shape=(3, 3, 3, 6), dtype="f4", external=[("/etc/passwd", 0, 648)])


def _virtual(file):
    del file[FIRST]
    layout = h5py.VirtualLayout(shape=(3, 3, 3, 6), dtype="f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", shape=(3, 3, 3, 6))
    file.create_virtual_dataset(FIRST, layout)


def _cycle(file):
    file["layers/conv2d/again"] = file["layers"]


def _text_in_place(file):
    replace(file, data=np.array([b"text"] * 162).reshape(3, 3, 3, 6))


def _references(file):
    replace(file, shape=(3, 3, 3, 6), dtype=h5py.ref_dtype)


def _no_numbers(file):
    file[FIRST][...] = np.nan


HDF5_TRICKS = {
    "a shape of 10^13": lambda f: replace(f, shape=(10**13,), dtype="f4", chunks=(16,)),
    "a shape of 10^9, packed": lambda f: replace(
        f, shape=(10**9,), dtype="f4", chunks=(2**20,), compression="gzip"
    ),
    "no values": lambda f: replace(f, shape=(3, 3, 3, 6), dtype="f4"),
    "an external link": _link(h5py.ExternalLink("/etc/passwd", "/x")),
    "a soft link": _link(h5py.SoftLink("/layers/conv2d_1/vars/0")),
    "a broken link": _link(h5py.SoftLink("/nowhere")),
    "values outside": _outside,
    "a virtual dataset": _virtual,
    "a group in itself": _cycle,
    "text": _text_in_place,
    "references": _references,
    "another shape": lambda f: replace(f, data=np.zeros((3, 3, 3, 7), np.float32)),
    "a scalar": lambda f: replace(f, data=1.0),
    "whole numbers": lambda f: replace(f, data=np.zeros((3, 3, 3, 6), np.int64)),
    "complex numbers": lambda f: replace(f, data=np.zeros((3, 3, 3, 6), np.complex64)),
    "no number": _no_numbers,
    "a missing kernel": lambda f: f.__delitem__(FIRST),
    "a missing layer": lambda f: f.__delitem__("layers/conv2d"),
    "a group for a kernel": lambda f: (f.__delitem__(FIRST), f.create_group(FIRST)),
    "no layers": lambda f: f.__delitem__("layers"),
}
