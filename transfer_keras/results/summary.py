"""What a person reads of an experiment: its plan, and its results from the rows on disk."""

import math
import pathlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from transfer_keras.config import Treatment, UserError, align_columns
from transfer_keras.results import statistics
from transfer_keras.results.figures import curve
from transfer_keras.results.files import whole
from transfer_keras.results.rows import Row
from transfer_keras.results.workdir import read_answers, read_row

_COLUMNS = ("treatment", "top-1", "difference from base, 95 % interval", "time")
_REASONS = {
    "diverged": lambda row: "diverged: its loss is no number. A lower --learning_rate may help",
    "at chance": lambda row: (
        f"stayed at chance: its training loss ended at {row.training_loss:.3f}, and saying "
        f"nothing of {row.classes} classes costs {math.log(row.classes):.3f}"
    ),
}
CURVE = "curve.png"  # In the workdir.


def failures(workdir: pathlib.Path, treatments: Iterable[Treatment]) -> list[str]:
    """A line for each treatment that did not learn."""
    rows = [read_row(workdir, treatment.name) for treatment in treatments]
    return [f"{row.treatment} {_REASONS[row.outcome](row)}" for row in rows if _failed(row)]


def _failed(row: Row) -> bool:
    return row.outcome in _REASONS


def table(workdir: pathlib.Path, treatments: Iterable[Treatment]) -> str:
    """A line a treatment; differences in points, paired on the same test images."""
    lines = [_COLUMNS]
    for treatment in treatments:
        row = read_row(workdir, treatment.name)
        minutes, seconds = divmod(round(row.seconds), 60)
        time = f"{minutes}:{seconds:02d}" + (f" for {row.group}" if row.group > 1 else "")
        words = ""
        if treatment.mode != "base":
            points = [100 * value for value in difference(workdir, treatment)]
            words = "{:+.1f} points from {} [{:+.1f}, {:+.1f}]".format(
                points[0], treatment.base, *points[1:]
            )
        if _failed(row):
            words = ", ".join(filter(None, [words, row.outcome]))
        lines.append((row.treatment, f"{row.top1:.3f}", words, time))
    return align_columns(lines)


def probes(workdir: pathlib.Path, treatments: Iterable[Treatment]) -> str:
    """A line a treatment that has linear probes: their top-1 by unit; empty where none has."""
    rows = [read_row(workdir, treatment.name) for treatment in treatments]
    rows = [row for row in rows if row.probes]
    if not rows:
        return ""
    lines = [("linear probes", *rows[0].probes)]
    lines += [(row.treatment, *(f"{top1:.3f}" for top1 in row.probes.values())) for row in rows]
    return align_columns(lines)


def draw_curve(
    path: pathlib.Path, workdir: pathlib.Path, treatments: Iterable[Treatment], *, title: str
) -> bool:
    """Draws the transfer curve as a PNG; False where there are only bases, and so no curve."""
    series: dict[str, dict[str, list[curve.Point]]] = defaultdict(lambda: defaultdict(list))
    for treatment in treatments:
        if treatment.mode != "base":
            top1 = read_row(workdir, treatment.name).top1
            _, low, high = difference(workdir, treatment)
            point = curve.Point(treatment.n, top1, low, high)
            series[treatment.target][treatment.role].append(point)
    if not series:
        return False
    panels = [
        curve.Panel(target, read_row(workdir, f"base{target}").top1, lines)
        for target, lines in sorted(series.items())
    ]
    with whole(path) as partial:
        curve.draw(panels, partial, title=title)
    return True


def difference(workdir: pathlib.Path, treatment: Treatment) -> statistics.Interval:
    """Of the treatment's top-1 from its base's, as a fraction, paired on the same images.

    Raises:
        UserError: if the two were not tested on the same images.
    """
    label, predicted = read_answers(workdir, treatment.name)
    base_label, base_predicted = read_answers(workdir, treatment.base.name)
    if not np.array_equal(label, base_label):
        raise UserError(
            f"{workdir}: {treatment} and {treatment.base} were tested on other images, or in "
            "another order: versions of this program differ. Remove their folders to train them "
            "again."
        )
    return statistics.paired_difference(label == predicted, base_label == base_predicted)
