"""Looks at each picture of a folder once: what its file is, and what it shows."""

import concurrent.futures
import dataclasses
import hashlib
import io
import os
import pathlib
import time
from collections.abc import Mapping

import imagehash
import numpy as np
import PIL.Image
import tqdm

from transfer_keras.datasets.bad_images import decode_picture, find_fault
from transfer_keras.datasets.division import Classes
from transfer_keras.datasets.orientation import UNREADABLE, open_upright, read_orientation

HASH_BITS = 256
_SIDE = 64  # Of the square, in pixels, that hash, emptiness and colour are computed from.


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a folder, and what was found in its file.

    Attributes:
        path: of the file.
        split, label: names of the split and of the class that it lies in.
        digest: of its bytes, in hexadecimal.
        fault: why it cannot be opened; None: it can, and then what follows is known.
        format: as "JPEG", by its first bytes.
        size: (width, height) in pixels, as it is looked at.
        orientation: 1 to 8; see `orientation.read_orientation`.
        contrast: the standard deviation of its grey values, 0 to 127.5.
        colour: by how much the channels of a pixel differ on average, 0 to 255.
        hashes: uint64 (4, 4): perceptual hashes of 256 bits of the picture and of it turned by 90,
            180 and 270 degrees (imagehash.phash: Zauner 2010, "Implementation and Benchmarking of
            Perceptual Image Hash Functions").
    """

    path: str
    split: str
    label: str
    digest: str = ""
    fault: str | None = None
    format: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    contrast: float = 0.0
    colour: float = 0.0
    hashes: np.ndarray | None = None


def look_at_pictures(
    splits: Mapping[str, Classes],
    *,
    decode: bool = True,
    deadline: float | None = None,
    title: str = "checking pictures",
) -> list[Picture]:
    """Looks at all pictures, in the order of their splits.

    Args:
        splits: name of a split -> its files.
        decode: whether each is also decoded as for training, which finds more faults.
        deadline: a moment of `time.monotonic()` after which no more are looked at; None: all are.
        title: of the progress bar.
    """
    places = [
        (file.path, split, label)
        for split, classes in splits.items()
        for label, files in classes.items()
        for file in files
    ]
    if deadline is not None:  # If there is no time for all, a part of each class and split is seen.
        order = np.random.default_rng(0).permutation(len(places))
        places = [places[k] for k in order]

    def look(place: tuple[str, str, str]) -> Picture | None:
        late = deadline is not None and time.monotonic() > deadline
        return None if late else look_at(*place, decode=decode)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm.tqdm(pool.map(look, places), title, len(places), unit=" pictures", leave=False)
        seen = [picture for picture in bar if picture]
    return sorted(seen, key=lambda picture: list(splits).index(picture.split))


def look_at(path: str, split: str, label: str, *, decode: bool = True) -> Picture:
    """Looks at one picture.

    Args:
        path: of its file.
        split, label: where it lies.
        decode: see `look_at_pictures`.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        return Picture(path, split, label, fault=f"cannot be read ({error.strerror})")
    digest = hashlib.sha256(data).hexdigest()
    fault = find_fault(data, (None, None, 3)) if decode else None
    if not fault:
        try:
            with PIL.Image.open(io.BytesIO(data)) as as_stored:
                kind, (width, height) = as_stored.format, as_stored.size
            upright = open_upright(data, least=4 * _SIDE)
        except UNREADABLE:  # JPEG XL for one, which TensorFlow decodes and Pillow does not.
            fault = find_fault(data, (None, None, 3))
            if not fault:
                upright = PIL.Image.fromarray(decode_picture(data))
                kind, (width, height) = "", upright.size
    if fault:
        return Picture(path, split, label, digest, fault=fault)
    orientation = read_orientation(data)
    small = upright.resize((_SIDE, _SIDE), PIL.Image.Resampling.BOX)
    pixels, grey = np.asarray(small, float), small.convert("L")
    return Picture(
        path,
        split,
        label,
        digest,
        format=kind,
        size=(height, width) if orientation >= 5 else (width, height),
        orientation=orientation,
        contrast=float(np.std(np.asarray(grey, float))),
        colour=float(np.mean(pixels.max(axis=-1) - pixels.min(axis=-1))),
        hashes=np.stack([_hash(grey.rotate(degrees)) for degrees in (0, 90, 180, 270)]),
    )


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts the bits in which hashes differ.

    Args:
        first: uint64 (a, 4).
        second: uint64 (b, 4).

    Returns:
        int64 (a, b), 0 to 256.
    """
    differ = first[:, None, :] ^ second[None, :, :]
    return np.bitwise_count(differ).sum(axis=-1, dtype=np.int64)


def _hash(grey: PIL.Image.Image) -> np.ndarray:
    bits = imagehash.phash(grey, hash_size=int(HASH_BITS**0.5)).hash
    return np.packbits(bits.ravel()).view(np.uint64)
