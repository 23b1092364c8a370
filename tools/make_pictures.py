"""Makes a folder of JPEGs of ImageNet's sizes, to try and to time what ImageNet would do.

python tools/make_pictures.py --output=pictures --classes=1000 --train=5 --val=1
python -m transfer_keras.train --dataset=folder:pictures --network=alexnet

The pictures are noise of many scales in the colour of their class: 500x375 pixels (every fourth
375x500), 90 KB, as ImageNet's are on average; there is next to nothing to learn. Run again, only
what is missing is made.
"""

import concurrent.futures
import functools
import io
import itertools
import os
import pathlib

import numpy as np
import tqdm
from absl import app, flags
from PIL import Image

_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)
_CLASSES = flags.DEFINE_integer("classes", 1000, "How many.", 2)
_TRAIN = flags.DEFINE_integer("train", 5, "Training pictures of each class.", 1)
_VAL = flags.DEFINE_integer("val", 1, "Validation pictures of each class.", 1)

_QUALITY = 92
_SCALES = (4, 16, 64, 500)  # Side of the noise, in pixels of the picture's long side.


def picture(label: int, number: int) -> bytes:
    """Makes a JPEG, a function of class and number alone."""
    rng = np.random.default_rng([label, number])
    size = (500, 375) if number % 4 else (375, 500)
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for scale, strength in zip(_SCALES, (40, 25, 18, 17), strict=True):
        noise = rng.normal(0, 1, (scale * 3 // 4 + 1, scale, 3)).astype(np.float32)
        pixels += strength * _enlarged(noise, size)
    pixels += np.random.default_rng(label).uniform(60, 195, 3)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _enlarged(noise: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    channels = (Image.fromarray(noise[..., c]).resize(size, Image.BILINEAR) for c in range(3))
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def write(root: pathlib.Path, split: str, label: int, number: int) -> int:
    """Writes one picture if it is missing; gives its size in bytes."""
    path = root / split / f"class{label:04d}" / f"{number:05d}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(picture(label, number))
        partial.replace(path)
    return path.stat().st_size


def main(_) -> None:
    """Writes the folder of pictures, and prints the command that trains from it."""
    root = pathlib.Path(_OUTPUT.value).expanduser()
    amounts = {"train": range(_TRAIN.value), "val": range(_TRAIN.value, _TRAIN.value + _VAL.value)}
    pictures = [
        (split, label, number)
        for split, numbers in amounts.items()
        for label, number in itertools.product(range(_CLASSES.value), numbers)
    ]
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        made = pool.map(functools.partial(write, root), *zip(*pictures, strict=True), chunksize=64)
        sizes = list(tqdm.tqdm(made, total=len(pictures), unit=" pictures"))
    print(f"{len(sizes):,} pictures, {np.mean(sizes) / 1e3:.0f} KB on average, in {root}")
    print(f"python -m transfer_keras.train --dataset=folder:{root} --network=alexnet --dry_run")


if __name__ == "__main__":
    app.run(main)
