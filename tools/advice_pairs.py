"""Pairs of a donor and pictures for `benchmark_advice.py`, made from photographs that are at hand.

`--shared` names a folder with `donors/efficientnet_lite0_96.keras`, `pictures/ants_bees` (train and
val), `pictures/flowers`, `pictures/flowers_test`, and `data/tiny-imagenet-40.zip`.
"""

import io
import pathlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from PIL import Image

# A picture's file, and what its file will be named.
Source = tuple[str, Callable[[], bytes]]
_MAN_MADE = 5  # Classes of Tiny ImageNet.


class Pair(NamedTuple):
    """A donor and pictures.

    Attributes:
        name: of the pair.
        donor: path of a `.keras` file.
        units: what n counts; see `--units`.
        pictures: folder with `train` and `val`, which is what advice is asked for.
        truth: folder with the same `train`, whose `val` holds pictures that nothing is chosen by.
    """

    name: str
    donor: pathlib.Path
    units: str
    pictures: pathlib.Path
    truth: pathlib.Path


def make_pairs(names: Sequence[str], shared: pathlib.Path, folder: pathlib.Path) -> Iterator[Pair]:
    """Makes the pairs that are named; what is there already is taken as it is."""
    for name in names:
        pictures, truth = folder / "pictures" / name, folder / "truth" / name
        if not truth.exists():
            _write(_PAIRS[name](shared), pictures, truth)
        own = name == "tiny_manmade"
        donor = _own_base(shared, folder) if own else shared / "donors/efficientnet_lite0_96.keras"
        yield Pair(name, donor, "unit" if own else "block", pictures, truth)


def _write(
    splits: Mapping[str, Mapping[str, Sequence[Source]]],
    pictures: pathlib.Path,
    truth: pathlib.Path,
) -> None:
    for split, classes in splits.items():
        parent = truth / "val" if split == "truth" else pictures / split
        for label, sources in classes.items():
            (parent / label).mkdir(parents=True, exist_ok=True)
            for name, read in sources:
                (parent / label / name).write_bytes(read())
    (truth / "train").symlink_to((pictures / "train").resolve())


def _files(folder: pathlib.Path) -> dict[str, list[Source]]:
    """Lists the pictures of each class in a folder."""
    return {
        label.name: [(path.name, path.read_bytes) for path in sorted(label.iterdir())]
        for label in sorted(folder.iterdir())
    }


def _divide(
    classes: Mapping[str, Sequence[Source]], train: int | float, val: int
) -> dict[str, dict[str, Sequence[Source]]]:
    """Takes so many pictures of each class to train on, or such a part, and so many to validate."""
    counts = {c: train if train >= 1 else round(train * len(of)) for c, of in classes.items()}
    return {
        "train": {c: of[: counts[c]] for c, of in classes.items()},
        "val": {c: of[counts[c] : counts[c] + val] for c, of in classes.items()},
    }


def _ants_bees(shared: pathlib.Path):
    pictures = shared / "pictures/ants_bees"
    return {**_divide(_files(pictures / "train"), 0.65, 10**6), "truth": _files(pictures / "val")}


def _flowers(shared: pathlib.Path, *, train: int = 60, val: int = 15, grey: bool = False):
    splits = _divide(_files(shared / "pictures/flowers"), train, val)
    splits["truth"] = _files(shared / "pictures/flowers_test")
    if not grey:
        return splits
    return {
        split: {c: [(name, _grey(read)) for name, read in of] for c, of in classes.items()}
        for split, classes in splits.items()
    }


def _grey(read: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: _jpeg(Image.open(io.BytesIO(read())).convert("L").convert("RGB"))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _shapes(shared: pathlib.Path):
    """Draws fractals and contours by formula, five classes."""
    from transfer_keras.datasets import formula

    classes = {}
    for label in formula.class_names(10)[::2]:
        images = formula.draw_class(label, 155, 96, seed=7)
        classes[label] = [
            (f"{number:03d}.jpg", lambda image=image: _jpeg(Image.fromarray(image)))
            for number, image in enumerate(images)
        ]
    truth = {label: sources[55:] for label, sources in classes.items()}
    return {**_divide(classes, 40, 15), "truth": truth}


def _tiny(shared: pathlib.Path, *, natural: bool):
    """Takes five classes of Tiny ImageNet; its own validation pictures are the truth."""
    from transfer_keras.config import tasks

    archive = zipfile.ZipFile(shared / "data/tiny-imagenet-40.zip")
    names = archive.namelist()
    root = next(name for name in names if name.endswith("wnids.txt")).removesuffix("wnids.txt")
    wnids = archive.read(f"{root}wnids.txt").decode().split()
    task_a, task_b = tasks.split_classes(wnids, tasks.NATURAL_SPLIT)
    chosen = (task_a if natural else task_b).class_names[:_MAN_MADE]
    rows = archive.read(f"{root}val/val_annotations.txt").decode().splitlines()
    val = [line.split("\t")[:2] for line in rows]

    def source(path: str) -> Source:
        return path.rpartition("/")[2], lambda: archive.read(path)

    classes = {
        wnid: [source(path) for path in sorted(names) if f"train/{wnid}/images/" in path
               and path.upper().endswith(".JPEG")]
        for wnid in chosen
    }  # fmt: skip
    truth = {
        wnid: [source(f"{root}val/images/{file}") for file, label in val if label == wnid]
        for wnid in chosen
    }
    return {**_divide(classes, 50, 20), "truth": truth}


def _own_base(shared: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Trains a base on the natural classes of Tiny ImageNet, by the program."""
    workdir = folder / "natural_base"
    network = workdir / "baseA" / "network.keras"
    if not network.exists():
        command = [sys.executable, "-m", "transfer_keras.train", "--dataset=tiny_imagenet"]
        command += [f"--data_dir={shared / 'data/tiny-imagenet-40.zip'}", "--split=natural"]
        command += ["--treatments=baseA", "--steps=3000", f"--workdir={workdir}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return network


_PAIRS = {
    "ants_bees": _ants_bees,
    "flowers": _flowers,
    "flowers_10": lambda shared: _flowers(shared, train=10, val=10),
    "tiny_manmade": lambda shared: _tiny(shared, natural=False),
    "flowers_grey": lambda shared: _flowers(shared, train=30, grey=True),
    "tiny_natural": lambda shared: _tiny(shared, natural=True),
    "shapes": _shapes,
}
NAMES = tuple(_PAIRS)
