"""What can be said of data, checked without importing TensorFlow (which takes seconds)."""

import difflib
import functools
import importlib.util
import os
import pathlib
import re
import zipfile
from collections.abc import Sequence

from transfer_keras.config import paths
from transfer_keras.config.errors import UserError
from transfer_keras.config.image_folders import (
    FOLDER,
    LAYOUTS,
    MOST_CLASSES,
    path_of,
    printable,
    split_folders,
)

OWN = ("formula_images", "tiny_imagenet")
FORMULA_DEFAULT = "40x300x32"  # Classes, images a class, pixels of `formula_images`.
# Pixels of all pictures of a class, which are drawn at once: for each it takes some 360 bytes.
_DRAWN = 2**26


def names() -> list[str]:
    """Lists our datasets and TFDS's image-classification ones, from the package's files."""
    return sorted({*OWN, *_tfds_names()})


def check(name: str, data_dir: str | None, division: Sequence[str] = ()) -> None:
    """Checks `--dataset` and `--data_dir` as far as can be done without reading data.

    Args:
        name: "dataset" or "dataset/config", or "folder:PATH".
        data_dir: for `tiny_imagenet` the zip or folder with the pictures; for any other the
            folder in which TFDS keeps prepared datasets (None: TFDS's own default).
        division: flags that were given to say how a folder's pictures are divided.

    Raises:
        UserError: if there is no such dataset, or no such zip or folder, or its path is no text;
            or if a folder's splits are not clear, or given and so not to be divided.
    """
    if name.startswith(FOLDER):
        if data_dir:
            raise UserError(f"--data_dir={data_dir}: {name} says where it is. Leave this flag out.")
        if (text := printable(name)) != name:
            raise UserError(
                f"--dataset={text}: expected a path in UTF-8, without line breaks. Rename it, or "
                "make a link to it."
            )
        if paths.is_url(name.removeprefix(FOLDER)):
            raise UserError(
                f"--dataset={name}: expected a folder of this machine. Copy the pictures to one, "
                "or mount that place."
            )
        if name == FOLDER or not os.path.isdir(path_of(name)):
            raise UserError(
                f"--dataset={name}: no such folder. Expected {FOLDER}PATH with {LAYOUTS}."
            )
        if (splits := split_folders(name)) and division:
            raise UserError(
                f"--{division[0]}: {name} is divided already, in {splits[0]}/ and {splits[1]}/. "
                "Leave this flag out."
            )
        return
    dataset, _, config = name.partition("/")
    folder = pathlib.Path(os.path.expanduser(data_dir)) if data_dir else None
    if data_dir and (paths.is_url(data_dir) or printable(data_dir) != data_dir):
        raise UserError(
            f"--data_dir={printable(data_dir)}: expected a path of this machine, in UTF-8 and "
            "without line breaks. Copy the data to one."
        )
    is_own = re.fullmatch(r"\w[\w.-]*", dataset) and folder and os.path.isdir(folder / dataset)
    if dataset not in names() and not is_own:
        near = difflib.get_close_matches(dataset[:100], names(), n=3, cutoff=0.5)
        advice = f"Did you mean {' or '.join(near)}?" if near else "See the TFDS catalogue."
        raise UserError(f"--dataset={printable(name)}: no such image dataset. {advice}")
    if dataset == "formula_images" and config:
        try:
            parse_amounts(config)
        except ValueError as error:
            raise UserError(f"--dataset={printable(name)}: after the slash, {error}") from error
    if dataset == "tiny_imagenet":
        _check_tiny_imagenet(folder)
    elif folder and not os.path.isdir(folder):
        raise UserError(
            f"--data_dir={data_dir}: no such folder. Give the folder where TFDS keeps prepared "
            "datasets (make an empty one for the first time), or leave the flag out."
        )


def parse_amounts(text: str) -> dict[str, int]:
    """Reads "40x300x32" as {"classes": 40, "images_per_class": 300, "size": 32}.

    Raises:
        ValueError: if it is not three such numbers, or they are too small or too large to be a
            dataset.
    """
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})x([0-9]{1,9})", text)
    if not match:
        raise ValueError(f"expected CLASSESxIMAGESxSIZE, as {FORMULA_DEFAULT}. Received: {text!r}")
    classes, images, size = map(int, match.groups())
    if classes < 4 or images < 6 or size < 8:
        raise ValueError(
            f"expected at least 4 classes, 6 images a class, 8 pixels. Received: {text!r}"
        )
    if classes > MOST_CLASSES:
        raise ValueError(f"expected at most {MOST_CLASSES:,} classes. Received: {text!r}")
    if images * size**2 > _DRAWN:
        raise ValueError(
            f"expected at most {_DRAWN:,} pixels in all pictures of a class. Received: {text!r}"
        )
    return {"classes": classes, "images_per_class": images, "size": size}


def _check_tiny_imagenet(source: pathlib.Path | None) -> None:
    if source is None:
        raise UserError(
            "--dataset=tiny_imagenet needs --data_dir=PATH: tiny-imagenet-200.zip, as "
            "distributed at http://cs231n.stanford.edu/tiny-imagenet-200.zip, or its folder."
        )
    if not os.path.isdir(source) and not (os.path.isfile(source) and zipfile.is_zipfile(source)):
        there = os.path.lexists(source)
        fault = "is neither a zip nor a folder" if there else "does not exist"
        if os.path.isfile(source):
            with source.open("rb") as file:
                if file.read(2) == b"PK":
                    fault = "is a zip that is cut short: its table of files is missing"
        raise UserError(
            f"--data_dir={source}: {fault}. Give the distributed tiny-imagenet zip or its folder."
        )


@functools.cache
def _tfds_names() -> frozenset[str]:
    root = pathlib.Path(importlib.util.find_spec("tensorflow_datasets").origin).parent
    names = {path.name for path in (root / "datasets").iterdir() if path.is_dir()}
    for path in (root / "image_classification").rglob("*.py"):
        classes = re.findall(r"^class (\w+)\(", path.read_text(), re.MULTILINE)
        names |= {_snake_case(c) for c in classes if not c.endswith(("Config", "Info", "Test"))}
    return frozenset(name for name in names if not name.startswith("_"))


def _snake_case(name: str) -> str:
    """Applies TFDS's own rule, whose function cannot be imported without TensorFlow."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
