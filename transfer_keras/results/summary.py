"""The results of one experiment as tables, lines and the transfer curve, from its rows on disk."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from transfer_keras.config import Treatment, UserError, align_columns, choices, parse_treatment
from transfer_keras.files import write_whole
from transfer_keras.results import convergence, statistics
from transfer_keras.results.figures import curve
from transfer_keras.results.roles import BASE, BASE_TRAINED_ON
from transfer_keras.results.rows import Row
from transfer_keras.results.workdir import Workdir

# The name of the transfer curve in a workdir.
CURVE = "curve.png"

_COLUMNS = ("treatment", "top-1", "difference from base, 95 % interval", "time")
_REASONS = {
    choices.DIVERGED: lambda row: (
        "diverged: its loss is no number. A lower --learning_rate may help"
    ),
    choices.AT_CHANCE: lambda row: (
        f"stayed at chance: its training loss ended at {row.training_loss:.3f}, and an answer "
        f"that looks at no image costs {_chance_loss(row):.3f}"
    ),
}


def _chance_loss(row: Row) -> float:
    return math.log(row.classes) if row.chance_loss is None else row.chance_loss


def failure_lines(workdir: Workdir, treatments: Iterable[Treatment]) -> list[str]:
    """Writes a line for each treatment that did not learn."""
    rows = [workdir.row(treatment.name) for treatment in treatments]
    return [f"{row.treatment} {_REASONS[row.outcome](row)}" for row in rows if _failed(row)]


def _failed(row: Row) -> bool:
    return row.outcome in _REASONS


def result_table(workdir: Workdir, treatments: Iterable[Treatment]) -> str:
    """Draws a table of results, a line for each treatment that is done.

    Differences from the base, where that is done, are in points, paired on the same test images.
    """
    lines = [_COLUMNS]
    for treatment in treatments:
        row = workdir.row(treatment.name)
        minutes, seconds = divmod(round(row.seconds), 60)
        time = f"{minutes}:{seconds:02d}" + (f" for {row.group}" if row.group > 1 else "")
        difference = ""
        interval = difference_from_base(workdir, treatment)
        if treatment.mode != "base" and interval:
            points = [100 * value for value in interval]
            difference = "{:+.1f} points from {} [{:+.1f}, {:+.1f}]".format(
                points[0], treatment.base, *points[1:]
            )
        if _failed(row):
            difference = ", ".join(filter(None, [difference, row.outcome]))
        lines.append((row.treatment, f"{row.top1:.3f}", difference, time))
    return align_columns(lines)


def convergence_lines(workdir: Workdir, treatments: Iterable[Treatment]) -> list[str]:
    """Describes how far each base has converged, and what differences from it include.

    Args:
        workdir: of all of them.
        treatments: that are done.

    Returns:
        A line for each base of which something is known; see `convergence.describe`.
    """
    rows = [workdir.row(treatment.name) for treatment in treatments]
    learned = [row for row in rows if not _failed(row)]
    trained_on = {row.target: row.treatment for row in learned if row.role == BASE_TRAINED_ON}
    lines = []
    for row in (row for row in learned if row.role == BASE):
        control, difference = trained_on.get(row.target), None
        if control:
            difference = difference_from_base(workdir, parse_treatment(control))
        control = control or convergence.control_of(row)
        gain = convergence.last_gain(row)
        lines.append(convergence.describe(row.treatment, gain, difference, control=control))
    return list(filter(None, lines))


def probe_table(workdir: Workdir, treatments: Iterable[Treatment]) -> str:
    """Draws a table of the top-1 of linear probes by unit.

    Returns:
        A line for each treatment that has probes; empty where none has.
    """
    rows = [workdir.row(treatment.name) for treatment in treatments]
    rows = [row for row in rows if row.probes]
    if not rows:
        return ""
    units = dict.fromkeys(unit for row in rows for unit in row.probes)
    lines = [("linear probes", *units)]
    for row in rows:
        known = {u: "nan" if top1 is None else f"{top1:.3f}" for u, top1 in row.probes.items()}
        lines.append((row.treatment, *(known.get(unit, "") for unit in units)))
    return align_columns(lines)


def is_curve_drawn(workdir: Workdir, treatments: Sequence[Treatment], *, title: str) -> bool:
    """Tells whether WORKDIR/curve.png shows just these treatments, with their results of now."""
    return curve.read_digest(workdir / CURVE) == _digest(workdir, treatments, title)


def _digest(workdir: Workdir, treatments: Iterable[Treatment], title: str) -> str:
    rows = [workdir.row(treatment.name) for treatment in treatments]
    return hashlib.sha256(repr((title, rows)).encode()).hexdigest()


def draw_curve(workdir: Workdir, treatments: Sequence[Treatment], *, title: str) -> bool:
    """Draws the transfer curve of treatments that are done to WORKDIR/curve.png.

    Returns:
        False, and nothing is drawn, where there are only bases.
    """
    series: dict[str, dict[str, list[curve.Point]]] = defaultdict(lambda: defaultdict(list))
    trained_on: dict[str, float] = {}
    for treatment in treatments:
        row = workdir.row(treatment.name)
        if row.role == BASE_TRAINED_ON:
            trained_on[treatment.target] = row.top1
        elif treatment.mode != "base":
            top1 = row.top1
            _, low, high = difference_from_base(workdir, treatment) or (None, None, None)
            point = curve.Point(treatment.n, top1, low, high)
            series[treatment.target][treatment.role].append(point)
    if not (series or trained_on):
        return False
    panels = []
    for target in sorted({*series, *trained_on}):
        base = f"base{target}"
        top1 = workdir.row(base).top1 if workdir.is_done(base) else None
        panels.append(curve.Panel(target, top1, series[target], trained_on.get(target)))
    with write_whole(workdir / CURVE) as partial:
        curve.draw(panels, partial, title=title, digest=_digest(workdir, treatments, title))
    return True


def difference_from_base(
    workdir: Workdir, treatment: Treatment, row: Row | None = None
) -> statistics.Interval | None:
    """Estimates the difference of a treatment's top-1 from its base's.

    Args:
        workdir: of both.
        treatment: it is no base.
        row: its result, if that is not on disk yet.

    Returns:
        The difference as a fraction, with its 95 % interval, paired on the same test images; None
        where the base is not done.

    Raises:
        UserError: if the two were not tested on the same images.
    """
    if not workdir.is_done(treatment.base.name):
        return None
    label, predicted = workdir.predictions(treatment.name, row)
    base_label, base_predicted = workdir.predictions(treatment.base.name)
    if not np.array_equal(label, base_label):
        raise UserError(
            f"{workdir}: {treatment} and {treatment.base} were tested on other images, or in "
            "another order: versions of this program differ. Remove their folders to train them "
            "again."
        )
    return statistics.paired_difference(label == predicted, base_label == base_predicted)
