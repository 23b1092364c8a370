"""A dataset's classes -> tasks A and B."""

import dataclasses
import difflib
import importlib.util
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from transfer_keras.config.errors import UserError
from transfer_keras.config.image_folders import normal_form
from transfer_keras.config.list_files import read_lines
from transfer_keras.config.text import first_few

NATURAL_SPLIT = "natural"
MOST_SPLITS = 2**32  # Seeds that `RandomState` takes.
WHOLE_SPLIT = "whole"  # No split: all classes are A.
DONOR_SPLIT = "donor"  # All classes are B: A is what the donor was trained on elsewhere.

# Positions among the 1000 sorted wnids of ILSVRC 2012 (Yosinski et al. 2014, section 4.2, and
# the authors' published lists): 449 natural classes, 551 man-made.
_NATURAL_POSITIONS = frozenset({*range(398), *range(936, 959), 970, *range(972, 999)})

_CIFAR10_ANIMALS = {"bird", "cat", "deer", "dog", "frog", "horse"}
_CIFAR10_VEHICLES = {"airplane", "automobile", "ship", "truck"}
# A comment in a list of classes; that of C# is called `c#`.
_COMMENT = re.compile(r"(^|(?<=\s))#.*")


@dataclasses.dataclass(frozen=True)
class Task:
    """A dataset restricted to some of its classes.

    Attributes:
        name: "A" or "B".
        labels: the dataset's labels of the classes, in the order of the new labels 0..k-1.
        class_names: in the same order.
    """

    name: str
    labels: tuple[int, ...]
    class_names: tuple[str, ...]

    def __len__(self):
        return len(self.labels)


def check_split(split: str) -> None:
    """Checks `--split` as far as can be done without the dataset.

    Raises:
        UserError: if it is no number, not "natural" or "whole", and no file.
    """
    if is_file(split):
        read_class_list(split)
    elif not _is_named(split) or (split.isdecimal() and int(split) >= MOST_SPLITS):
        raise UserError(
            f"--split={split}: expected a number (0 to 3 are the paper's random halves), "
            f"'{NATURAL_SPLIT}', '{WHOLE_SPLIT}' (all classes are A), or a file that lists "
            "the classes of A, one a line."
        )


def is_file(split: str) -> bool:
    """Tells whether `--split` names a file."""
    return not _is_named(split) and os.path.isfile(os.path.expanduser(split))


def is_by_number(split: str) -> bool:
    """Tells whether it takes no names of classes to make it."""
    return split.isdecimal() or split in (WHOLE_SPLIT, DONOR_SPLIT)


def _is_named(split: str) -> bool:
    return split.isdecimal() or split in (NATURAL_SPLIT, WHOLE_SPLIT, DONOR_SPLIT)


def read_class_list(path: str) -> list[str]:
    """Reads the class names in a file, sorted: one a line.

    `#` begins a comment at the beginning of a line or after a space.

    Raises:
        UserError: if it cannot be read as text.
    """
    lines = read_lines(f"--split={path}", path, "the name of a class")
    return sorted({name for line in lines if (name := _COMMENT.sub("", line).strip())})


def split_classes(class_names: Sequence[str], split: str) -> tuple[Task, ...]:
    """Splits the classes of a dataset into tasks A and B.

    Args:
        class_names: in the order of the dataset's labels. Wnids are sorted first, so that a
            class has the paper's index whatever the order of the dataset's labels is.
        split: a number s: A is the half drawn by `RandomState([s])`, as the paper's authors
            did; "natural": the dissimilar split; "whole": A is all of them, and there is no B;
            "donor": B is all of them, and A is not of this dataset; or the path of a file that
            lists A's classes.

    Returns:
        (A, B), or (A,) of "whole", or (B,) of "donor", relabelled in sorted order.

    Raises:
        UserError: if the dataset has no natural half that is known, or a class no such name.
    """
    order = list(range(len(class_names)))
    if _are_wnids(class_names):
        order.sort(key=lambda label: class_names[label])
    ordered = [class_names[label] for label in order]
    if split.isdecimal():
        everything = np.arange(len(ordered))
        drawn = np.random.RandomState([int(split)]).choice(
            everything, len(ordered) // 2, replace=False
        )
        in_a = set(drawn.tolist())
    elif split in (WHOLE_SPLIT, DONOR_SPLIT):
        return (Task("A" if split == WHOLE_SPLIT else "B", tuple(order), tuple(ordered)),)
    elif split == NATURAL_SPLIT:
        in_a = {place for place, name in enumerate(ordered) if _is_natural(name, ordered)}
    else:
        in_a = _listed(split, ordered)
    if not 2 <= len(in_a) <= len(ordered) - 2:
        raise UserError(
            f"--split={split}: A has {len(in_a)} of {len(ordered)} classes. Expected at least two "
            "in A and two left for B."
        )
    return tuple(
        Task(name, tuple(order[p] for p in places), tuple(ordered[p] for p in places))
        for name, places in (
            ("A", sorted(in_a)),
            ("B", [p for p in range(len(ordered)) if p not in in_a]),
        )
    )


def _are_wnids(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"n\d{8}", name) for name in names)


def _is_natural(name: str, all_names: Sequence[str]) -> bool:
    if _are_wnids([name]):
        return _is_natural_wnid(name)
    if set(all_names) == _CIFAR10_ANIMALS | _CIFAR10_VEHICLES:
        return name in _CIFAR10_ANIMALS
    family = name.split("_")[0]
    if family in ("fractal", "contour"):
        return family == "fractal"
    raise UserError(
        f"--split={NATURAL_SPLIT}: not known which classes of this dataset are natural (class "
        f"{name!r}). Give a file that lists the classes of A, one a line."
    )


def _is_natural_wnid(wnid: str) -> bool:
    """Decides by its place in ILSVRC 2012; one that is not there, by both its neighbours."""
    wnids = _ilsvrc_wnids()
    place = int(np.searchsorted(wnids, wnid))
    if place < len(wnids) and wnids[place] == wnid:
        return place in _NATURAL_POSITIONS
    sides = {p in _NATURAL_POSITIONS for p in (place - 1, place) if 0 <= p < len(wnids)}
    if len(sides) == 2:
        raise UserError(
            f"--split={NATURAL_SPLIT}: {wnid} is not among the 1000 classes of ILSVRC 2012 and "
            "lies between a natural and a man-made one. Give a file that lists the classes of A."
        )
    return sides.pop()


def _ilsvrc_wnids() -> list[str]:
    """Lists the 1000 wnids, sorted, from the TFDS package."""
    tfds = pathlib.Path(importlib.util.find_spec("tensorflow_datasets").origin).parent
    return sorted((tfds / "datasets" / "imagenet2012" / "labels.txt").read_text().split())


def _listed(path: str, names: Sequence[str]) -> set[int]:
    listed = read_class_list(path)
    # Names that look the same may have other bytes: those of a Mac's files are decomposed.
    places = {normal_form(name): place for place, name in enumerate(names)}
    unknown = [name for name in listed if normal_form(name) not in places]
    if unknown:
        near = difflib.get_close_matches(unknown[0][:100], names, n=3)
        advice = f" Near {unknown[0]!r}: {', '.join(near)}." if near else ""
        raise UserError(
            f"--split={path}: {len(unknown)} of {len(listed)} names are no class of the dataset: "
            f"{first_few([repr(name)[:80] for name in unknown])}.{advice}"
        )
    return {places[normal_form(name)] for name in listed}
