"""The table and the curve of an experiment, from the rows on disk."""

import pathlib
from collections import defaultdict
from collections.abc import Iterable

from transfer_keras import results, statistics
from transfer_keras.figures import curve
from transfer_keras.treatments import Treatment

_COLUMNS = ("treatment", "top-1", "difference from base, 95 % interval", "time")
_MODES = {"frozen": "frozen", "fine_tune": "fine-tuned"}


def table(workdir: pathlib.Path, treatments: Iterable[Treatment]) -> str:
    """A line a treatment; differences in points, paired on the same test images."""
    lines = [_COLUMNS]
    for treatment in treatments:
        row = results.read_row(workdir, treatment.name)
        minutes, seconds = divmod(round(row.seconds), 60)
        difference = ""
        if treatment.mode != "base":
            points = [100 * value for value in _difference(workdir, treatment)]
            difference = "{:+.1f} points from {} [{:+.1f}, {:+.1f}]".format(
                points[0], treatment.base, *points[1:]
            )
        if row.loss is None:
            difference = "diverged: its loss is no number"
        lines.append((row.treatment, f"{row.top1:.3f}", difference, f"{minutes}:{seconds:02d}"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    rows = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(row.rstrip() for row in [rows[0], "-" * len(rows[0]), *rows[1:]])


def draw_curve(
    workdir: pathlib.Path, treatments: Iterable[Treatment], *, title: str
) -> pathlib.Path | None:
    """Draws `curve.png`; None where there are only bases, and so no curve."""
    series: dict[str, dict[str, list[curve.Point]]] = defaultdict(lambda: defaultdict(list))
    for treatment in treatments:
        if treatment.mode != "base":
            top1 = results.read_row(workdir, treatment.name).top1
            _, low, high = _difference(workdir, treatment)
            point = curve.Point(treatment.n, top1, low, high)
            series[treatment.target][_label(treatment)].append(point)
    if not series:
        return None
    panels = [
        curve.Panel(target, results.read_row(workdir, f"base{target}").top1, lines)
        for target, lines in sorted(series.items())
    ]
    path = workdir / "curve.png"
    with results.whole(path) as partial:
        curve.draw(panels, partial, title=title)
    return path


def _label(treatment: Treatment) -> str:
    """Its key of `curve.STYLES`."""
    if treatment.mode == "random":
        return "random, frozen"
    kind = "selffer" if treatment.donor == treatment.target else "transfer"
    return f"{kind}, {_MODES[treatment.mode]}"


def _difference(workdir: pathlib.Path, treatment: Treatment) -> statistics.Interval:
    return statistics.paired_difference(
        results.read_right(workdir, treatment.name),
        results.read_right(workdir, treatment.base.name),
    )
