"""Finds what spoils a folder of pictures before any training: copies, leaks, odd pictures."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse

from transfer_keras.datasets.leave_out import COMMENT, name_in_list
from transfer_keras.datasets.picture_facts import HASH_BITS, Picture, distances

# Hashes of 256 bits that differ in at most so many are of one picture. Of 80,000 pairs of different
# photographs the nearest differ in 90; a photograph and itself, saved again at JPEG's quality 30,
# half as large, a fifth brighter or without its outer 2 %, in up to 60.
_NEAR = HASH_BITS // 4
_AT_ONCE = 2**20  # Pairs of hashes that are compared at a time: some 40 MB.
_EMPTY = 4  # Grey values whose standard deviation is lower show nearly nothing.
_GREY = 3  # Channels that differ by less on average are grey.
_FEW = 0.2  # Grey pictures among coloured ones, or the other way round: up to this part.
_FAR = 4  # So many times smaller or larger than the median.
_LONG = 3  # So many times as wide as high, or the other way round.
_UNEVEN = 2  # So many times the pictures of the smallest class are in the largest.
_NAMES = {
    "JPEG": {".jpg", ".jpeg", ".jfif"}, "MPO": {".jpg", ".jpeg", ".jfif"}, "PNG": {".png"},
    "GIF": {".gif"}, "BMP": {".bmp"}, "DIB": {".bmp"}, "WEBP": {".webp"},
}  # fmt: skip


class Check(NamedTuple):
    """A kind of finding.

    Attributes:
        name: for people.
        advice: what to do.
    """

    name: str
    advice: str


UNREADABLE = Check("Not usable", "Mend or remove them, or give --bad_images=skip or --leave_out.")
LEAK = Check(
    "On both sides of the division",
    "What is trained on or chosen by must not be in a test, whose accuracy would be too good. "
    "Leave all copies but one out.",
)
TWO_CLASSES = Check(
    "In two classes", "One of the labels is wrong, or the classes overlap. Leave all copies out."
)
COPY = Check("The same file more than once", "One copy suffices.")
NEAR_COPY = Check(
    "Nearly the same", "Bursts, crops and turned copies count more than once. One suffices."
)
EMPTY = Check("Nearly empty", "They show nothing that a class could be told by.")
MISNAMED = Check("Not what the name says", "They are decoded by their content: no harm here.")
SIZE = Check("Of a very different size", "Their details are not those of the others.")
LONG = Check("Very wide or high", "The square in the middle is all that a network sees.")
GREY = Check("Grey among coloured ones", "See to it that no class is told by it.")
COLOURED = Check("Coloured among grey ones", "See to it that no class is told by it.")
TURNED = Check(
    "Stored turned",
    "They are taken upright, as their EXIF orientation says (--exif=turn); other programs may not.",
)
UNEVEN = Check("Few in a class", "--class_weights=balanced lets all classes count the same.")
# In the order in which they are told, the gravest first.
CHECKS = (
    UNREADABLE, LEAK, TWO_CLASSES, COPY, NEAR_COPY, EMPTY, MISNAMED, GREY, COLOURED, SIZE, LONG,
    TURNED, UNEVEN,
)  # fmt: skip
HARMFUL = (UNREADABLE, LEAK, TWO_CLASSES, COPY, NEAR_COPY, EMPTY)


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        check: its kind.
        pictures: that it is about: one, or copies of one.
        note: what of them, for people.
        leave_out: those of them that are better not used.
    """

    check: Check
    pictures: tuple[Picture, ...]
    note: str = ""
    leave_out: tuple[Picture, ...] = ()


def check_pictures(pictures: Sequence[Picture], training: str) -> list[Finding]:
    """Finds all that is odd.

    Args:
        pictures: of a folder.
        training: name of the split that is trained on.

    Returns:
        In the order of `CHECKS`.
    """
    sound = [picture for picture in pictures if not picture.fault]
    found = [Finding(UNREADABLE, (p,), p.fault, (p,)) for p in pictures if p.fault]
    found += _find_copies(sound, training)
    found += _find_odd(sound)
    if sound:
        found += _find_uncommon(sound)
    found += _find_uneven([picture for picture in sound if picture.split == training])
    return sorted(found, key=lambda finding: CHECKS.index(finding.check))


def pictures_to_leave_out(
    findings: Sequence[Finding], pictures: Sequence[Picture], root: pathlib.Path
) -> list[str]:
    """Writes the lines of a list for `--leave_out`, with a comment above each picture.

    Of a class that would be empty in a split nothing is listed there: no list mends that.

    Args:
        findings: what was found.
        pictures: all that were looked at.
        root: the folder of the dataset.
    """
    left = {picture.path: picture for finding in findings for picture in finding.leave_out}
    kept = {(p.split, p.label) for p in pictures if p.path not in left}
    emptied = {(p.split, p.label) for p in left.values() if p.label} - kept
    lines = [f"{COMMENT} Not listed, as nothing would remain: {split}/{label}"
             for split, label in sorted(emptied)]  # fmt: skip
    listed = {
        picture.path for picture in left.values() if (picture.split, picture.label) in emptied
    }
    for finding in findings:
        for picture in finding.leave_out:
            if picture.path in listed:
                continue
            listed.add(picture.path)
            others = [name_in_list(p.path, root) for p in finding.pictures if p is not picture]
            why = "; ".join(filter(None, (finding.note, ", ".join(others))))
            lines += [f"{COMMENT} {finding.check.name}: {why}", name_in_list(picture.path, root)]
    return lines


def _find_copies(pictures: Sequence[Picture], training: str) -> Iterator[Finding]:
    """Finds pictures that are there more than once."""
    order = {split: k for k, split in enumerate(dict.fromkeys(p.split for p in pictures))}
    for group in _groups(pictures):
        classes = {picture.label for picture in group}
        splits = {picture.split for picture in group}
        exact = len({picture.digest for picture in group}) == 1
        note = "the same file" if exact else "nearly the same"
        # What is tested on stays, so that accuracies of before and after can be compared.
        first = min(group, key=lambda p: (p.split == training, -order[p.split], p.path))
        others = tuple(picture for picture in group if picture is not first)
        if len(splits) > 1:
            yield Finding(LEAK, group, note, others)
        if len(classes) > 1:
            yield Finding(TWO_CLASSES, group, f"{note}: {', '.join(sorted(classes))}", group)
        elif len(splits) == 1:
            yield Finding(COPY if exact else NEAR_COPY, group, "", others)


def _groups(pictures: Sequence[Picture]) -> list[tuple[Picture, ...]]:
    """Finds groups of two or more that are copies of one picture, turned or not."""
    by_digest: dict[str, int] = {}
    group_of = np.array([by_digest.setdefault(p.digest, k) for k, p in enumerate(pictures)], int)
    # Of what is empty the hash is noise.
    compared = np.flatnonzero([picture.contrast >= _EMPTY for picture in pictures])
    if len(compared):
        hashes = np.stack([pictures[k].hashes for k in compared])
        rows_at_once = max(1, _AT_ONCE // len(compared))
        for begin in range(0, len(compared), rows_at_once):
            rows = hashes[begin : begin + rows_at_once, 0]
            for turned in range(hashes.shape[1]):
                near = np.argwhere(distances(rows, hashes[:, turned]) <= _NEAR)
                near = near[begin + near[:, 0] != near[:, 1]]
                if len(near):
                    edges = compared[near + np.array([begin, 0])]
                    group_of = _joined(group_of, edges)
    groups: dict[int, list[Picture]] = {}
    for picture, group in zip(pictures, group_of, strict=True):
        groups.setdefault(group, []).append(picture)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _joined(group_of: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Joins groups that have an edge between them.

    Args:
        group_of: int (pictures,).
        edges: int (edges, 2), places of pictures.

    Returns:
        int (pictures,), less than the number of pictures.
    """
    graph = scipy.sparse.coo_array(
        (np.ones(len(edges)), group_of[edges].T), shape=(len(group_of), len(group_of))
    )
    return scipy.sparse.csgraph.connected_components(graph, directed=False)[1][group_of]


def _find_odd(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Finds pictures that are odd by themselves."""
    for picture in pictures:
        suffix, (width, height) = pathlib.PurePath(picture.path).suffix.lower(), picture.size
        if picture.contrast < _EMPTY:
            yield Finding(EMPTY, (picture,), f"contrast {picture.contrast:.1f}", (picture,))
        if suffix not in _NAMES.get(picture.format, {suffix}):
            yield Finding(MISNAMED, (picture,), f"{picture.format}, named {suffix}")
        if max(width, height) > _LONG * min(width, height):
            yield Finding(LONG, (picture,), f"{width} x {height} pixels")
        if picture.orientation != 1:
            yield Finding(TURNED, (picture,), f"EXIF orientation {picture.orientation}")


def _find_uncommon(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Finds pictures that are unlike most others."""
    grey = np.array([picture.colour < _GREY for picture in pictures])
    for check, odd in ((GREY, grey), (COLOURED, ~grey)):
        if 0 < odd.mean() <= _FEW:
            yield from (Finding(check, (pictures[k],)) for k in np.flatnonzero(odd))
    short = np.array([min(picture.size) for picture in pictures])
    median = np.median(short)
    for k in np.flatnonzero((short * _FAR < median) | (short > _FAR * median)):
        width, height = pictures[k].size
        note = f"{width} x {height} pixels; the median of the short side is {median:.0f}"
        yield Finding(SIZE, (pictures[k],), note)


def _find_uneven(pictures: Sequence[Picture]) -> Iterator[Finding]:
    """Finds that the classes differ much in how many pictures to train on they have."""
    names, counts = np.unique([picture.label for picture in pictures], return_counts=True)
    if len(names) and counts.max() >= _UNEVEN * counts.min():
        smallest = names[counts.argmin()]
        note = f"{smallest}: {counts.min()} to train on; {names[counts.argmax()]}: {counts.max()}"
        yield Finding(UNEVEN, tuple(p for p in pictures if p.label == smallest), note)


def describe_findings(
    findings: Sequence[Finding], name: Callable[[Picture], str], checks: Sequence[Check] = CHECKS
) -> list[str]:
    """Writes a line for each kind of finding that there is.

    Args:
        findings: what was found.
        name: of a picture, for people.
        checks: those that are told.
    """
    lines = []
    for check in checks:
        of_kind = [finding for finding in findings if finding.check == check]
        if not of_kind:
            continue
        count = len({picture.path for finding in of_kind for picture in finding.pictures})
        first = of_kind[0]
        shown = " = ".join(
            name(picture) for picture in first.pictures[: 1 if check == UNEVEN else 2]
        )
        note = f" ({first.note})" if first.note else ""
        lines.append(f"{check.name}: {count:,}, as {shown}{note}. {check.advice}")
    return lines
