"""What the figures of a report share."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

BASE = "#666666"
FAINT = 0.3


class Mean(NamedTuple):
    """A mean, and its 95 % interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


def line(axis, means: Mapping[float, Mean], *, colour: str, marker: str, dashes, **more) -> None:
    """A line through means with bars for their intervals.

    Args:
        axis: to draw on.
        means: place on the horizontal axis -> what is there.
        colour, marker, dashes: of the line.
        more: what else Matplotlib's `plot` takes, as `label`.
    """
    places = sorted(means)
    values = [means[x].value for x in places]
    axis.plot(places, values, color=colour, marker=marker, linestyle=dashes, markersize=5, **more)
    known = [x for x in places if means[x].low is not None]
    axis.errorbar(
        known,
        [means[x].value for x in known],
        yerr=[
            [max(means[x].value - means[x].low, 0) for x in known],
            [max(means[x].high - means[x].value, 0) for x in known],
        ],
        color=colour,
        linestyle="none",
        capsize=3,
        linewidth=1,
    )


def failures(axis, places: Sequence[float], *, row: int, colour: str, label: str) -> None:
    """Networks that never trained, along the lower edge, the rows one above the other."""
    axis.plot(
        places,
        [0.03 + 0.06 * row] * len(places),
        transform=axis.get_xaxis_transform(),  # Heights are parts of the axis.
        linestyle="none",
        marker="$\\otimes$",
        color=colour,
        markersize=11,
        label=f"{label}: never trained",
    )


def save(figure, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Writes a figure, the same bytes each time, and closes it.

    Args:
        figure: of pyplot.
        paths: files to write; their endings say the formats.
        title: above.
    """
    figure.suptitle(title, fontsize=11, parse_math=False)
    with pyplot.rc_context({"svg.hashsalt": title}):  # The same names of parts each time.
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=130, metadata=metadata)
    pyplot.close(figure)
