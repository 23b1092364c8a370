"""The table of results, from the rows on disk."""

import pathlib
from collections.abc import Iterable

from transfer_keras import results, statistics
from transfer_keras.treatments import Treatment

_COLUMNS = ("treatment", "top-1", "difference from base, 95 % interval", "time")


def table(workdir: pathlib.Path, treatments: Iterable[Treatment]) -> str:
    """A line a treatment; differences in points, paired on the same test images."""
    lines = [_COLUMNS]
    for treatment in treatments:
        row = results.read_row(workdir, treatment.name)
        minutes, seconds = divmod(round(row.seconds), 60)
        difference = "" if treatment.mode == "base" else _difference(workdir, treatment)
        lines.append((row.treatment, f"{row.top1:.3f}", difference, f"{minutes}:{seconds:02d}"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    rows = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(row.rstrip() for row in [rows[0], "-" * len(rows[0]), *rows[1:]])


def _difference(workdir: pathlib.Path, treatment: Treatment) -> str:
    base = treatment.base.name
    interval = statistics.paired_difference(
        results.read_right(workdir, treatment.name), results.read_right(workdir, base)
    )
    points = [100 * value for value in interval]
    return "{:+.1f} points from {base} [{:+.1f}, {:+.1f}]".format(*points, base=base)
