"""Folders of pictures whose colours encode their split, class and number."""

import hashlib

import numpy as np
from PIL import Image

from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

CLASSES = ["Ärger", "b c", "dog", "emu"]


def write(root, *, train=6, val=3, classes=CLASSES):
    """Writes pictures of one colour each, which encodes split, class and number."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                colour = (40 * label, 20 * number, 200 if split == "val" else 0)
                size = tuple(int(side) for side in rng.integers(33, 50, 2))
                Image.new("RGB", size, colour).save(folder / f"{number}.png")
    return f"folder:{root}"


def read(name, **arguments):
    pair = TaskPair(name, None, "0", **arguments)
    return pair, *pair.read(Preprocessing(32, 32, augment=False), batch_size=4)


def write_flat(root, classes=CLASSES):
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 40), (9, 9, 9)).save(root / name / f"{number}.png")
    return f"folder:{root}"


def names_of(files):
    """Names the folder of each file."""
    return [path.parent.name for path in files]


def validation_files(pictures):
    """Finds the two pictures of each class whose digests come first."""

    def place(path):
        facts = ("0", path.parent.name, path.name)
        return hashlib.sha256("\0".join(facts).encode()).digest()

    return [
        path
        for folder in sorted(pictures.iterdir())
        for path in sorted(folder.iterdir(), key=place)[:2]
    ]
