"""Exports a network, and runs each file that was written again on pictures, to be sure of it."""

import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from transfer_keras.config import UserError, align_columns, choices, first_few
from transfer_keras.deployment.classifier import Classifier, open_classifier
from transfer_keras.deployment.formats import (
    FORMATS,
    INT8,
    Runner,
    check_packages,
    size_of,
    write_format,
)
from transfer_keras.deployment.picture_list import VALIDATION, find_pictures, labels_of
from transfer_keras.files import PARTIAL

TOLERANCE = 0.01  # Of the logarithm of a probability.
_LEAST = 1e-6  # Of which probability it is compared.
_EXAMPLES = 100  # Pictures by which the ranges of integers are chosen, at the most.
_TIMED = 30  # Pictures, one at a time.


class Exported(NamedTuple):
    """A file that was written, and what it does.

    Attributes:
        format: a key of `formats.FORMATS`, or `formats.INT8`.
        path: of the file or folder.
        bytes: its size.
        milliseconds: for a picture, one at a time; the median.
        difference: the largest of the logarithm of a probability, among those above one in a
            million.
        differing: how many pictures get another class.
        accuracy: on the pictures, if their classes are known.
    """

    format: str
    path: pathlib.Path
    bytes: int
    milliseconds: float
    difference: float
    differing: int
    accuracy: float | None


def export_network(
    network: pathlib.Path,
    formats: Sequence[str],
    output: pathlib.Path,
    *,
    pictures: str | None = None,
    int8: bool = False,
    tolerance: float = TOLERANCE,
    custom_objects: str | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Writes a network in other formats, and refuses those that do not give the same answers.

    Args:
        network: file of a network; see `network_file.save_classifier`.
        formats: keys of `formats.FORMATS`.
        output: folder to write to.
        pictures: on which each file is run again, see `picture_list.find_pictures`; None: the
            validation pictures, whose list lies beside the network.
        int8: whether a LiteRT file in integers is written too. It is not refused: what it costs in
            accuracy is told.
        tolerance: see `Exported.difference`.
        custom_objects: see `open_classifier`.
        log: called with lines and a table for the user.

    Raises:
        UserError: if the network, the pictures or a package cannot be had; or, once all else is
            written, if a file was refused.
    """
    check_packages([*formats, *(["litert"] if int8 else [])])
    if pictures is None:
        pictures = str(network.parent / VALIDATION)
        if not pathlib.Path(pictures).exists():
            raise UserError(
                f"--pictures: {VALIDATION}, the list of the validation pictures, is not beside "
                f"{network}. Give pictures on which each file can be compared."
            )
    wanted = {name: output / _name_of(name, network) for name in formats}
    if int8:
        wanted[INT8] = output / _name_of(INT8, network)
    if there := [path for path in wanted.values() if os.path.lexists(path)]:
        raise UserError(
            f"--output={output}: {there[0].name} is there already. Give another folder."
        )
    paths = find_pictures(pictures)
    classifier = open_classifier(network, custom_objects=custom_objects)
    images, labels, expected = _answers(classifier, paths)
    output.mkdir(parents=True, exist_ok=True)
    before = None if labels is None else float((expected.argmax(axis=-1) == labels).mean())

    exported, refused = [], []
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=output) as partial:
        for name, path in wanted.items():
            written = pathlib.Path(partial) / path.name
            examples = [_as_input(image) for image in images[:_EXAMPLES]] if name == INT8 else None
            try:
                run = write_format(
                    classifier.model, choices.LITERT if name == INT8 else name, written, examples
                )
            except UserError as error:
                refused.append(str(error))
                continue
            one = _compare(name, written, run, images, labels, expected)._replace(path=path)
            if name == INT8 or (not one.differing and one.difference <= tolerance):
                written.rename(path)
                exported.append(one)
            else:
                refused.append(
                    f"--format={name}: refused: of {len(images):,} pictures {one.differing:,} get "
                    f"another class, and the log of a probability differs by {one.difference:.2g} "
                    f"(--tolerance={tolerance:g})"
                )
    log(_table(exported, classifier, images, before))
    if refused:
        raise UserError("; ".join(refused))


def _name_of(name: str, network: pathlib.Path) -> str:
    """Names the file of a format."""
    if name == INT8:
        return f"{network.stem}_int8{FORMATS[choices.LITERT].suffix}"
    return f"{network.stem}{FORMATS[name].suffix}"


def _as_input(image: np.ndarray) -> np.ndarray:
    """Gives a picture as networks take it, float32 (1, height, width, 3)."""
    return image[None].astype(np.float32)


def _answers(
    classifier: Classifier, paths: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Gives pixels, uint8 (pictures, ...), classes if they are known, and the probabilities."""
    bar = tqdm.tqdm(
        classifier.predict(paths), "the network itself", len(paths), unit=" pictures", leave=False
    )
    answers = list(bar)
    if bad := [one for one in answers if one.probabilities is None]:
        named = first_few([f"{one.path} {one.fault}" for one in bad], 3)
        raise UserError(f"--pictures: {len(bad):,} of {len(paths):,} cannot be read: {named}.")
    images = np.stack([classifier.read(path) for path in paths])
    labels, _ = labels_of(paths, classifier.facts.classes)
    expected = np.stack([one.probabilities for one in answers])
    return images, None if labels is None else np.array(labels), expected


def _compare(
    name: str,
    path: pathlib.Path,
    run: Runner,
    images: np.ndarray,
    labels: np.ndarray | None,
    expected: np.ndarray,
) -> Exported:
    bar = tqdm.tqdm(images, name, unit=" pictures", leave=False)
    found = np.concatenate([run(_as_input(image)) for image in bar])
    compared = expected > _LEAST
    gaps = np.log(expected[compared]) - np.log(np.maximum(found[compared], np.finfo("f4").tiny))
    predicted = found.argmax(axis=-1)
    return Exported(
        format=name,
        path=path,
        bytes=size_of(path),
        milliseconds=1000 * float(np.median(list(_seconds(run, images)))),
        difference=float(np.abs(gaps).max()) if np.isfinite(found).all() else np.inf,
        differing=int((predicted != expected.argmax(axis=-1)).sum()),
        accuracy=None if labels is None else float((predicted == labels).mean()),
    )


def _seconds(run: Runner, images: np.ndarray) -> Iterator[float]:
    for image in images[:_TIMED]:
        begun = time.perf_counter()
        run(_as_input(image))
        yield time.perf_counter() - begun


def _table(
    exported: Sequence[Exported], classifier: Classifier, images: np.ndarray, before: float | None
) -> str:
    """Draws the files, the network itself first."""

    def itself(image: np.ndarray) -> np.ndarray:
        return classifier.model.predict_on_batch(image)

    itself(_as_input(images[0]))  # Traced for one picture.
    keras_ms = 1000 * float(np.median(list(_seconds(itself, images))))
    heading = ["format", "MiB", "ms a picture", "other classes", "largest log difference"]
    rows = [["keras", "", f"{keras_ms:.1f}", "", ""]]
    for one in exported:
        rows.append(
            [
                one.format,
                f"{one.bytes / 2**20:.1f}",
                f"{one.milliseconds:.1f}",
                f"{one.differing:,} of {len(images):,}",
                f"{one.difference:.2g}",
            ]
        )
    heading.append("file")
    for row, path in zip(rows, ["", *(str(one.path) for one in exported)], strict=True):
        row.append(path)
    if before is not None:
        heading.insert(3, "accuracy")
        for row, value in zip(rows, [before, *(one.accuracy for one in exported)], strict=True):
            row.insert(3, f"{value:.3f}")
    return align_columns([heading, *rows])
