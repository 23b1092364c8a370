"""What the figures of a report share."""

import math
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


def line(
    axis, means: Mapping[float, Mean], *, colour: str, marker: str, dashes, alpha=1.0, **more
) -> None:
    """A line through means with bars for their intervals.

    Args:
        axis: to draw on.
        means: place on the horizontal axis -> what is there.
        colour, marker, dashes, alpha: of the line.
        more: what else Matplotlib's `plot` takes, as `label`.
    """
    places = sorted(means)
    values = [means[x].value for x in places]
    axis.plot(
        places,
        values,
        color=colour,
        marker=marker,
        linestyle=dashes,
        markersize=5,
        alpha=alpha,
        **more,
    )
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
        alpha=alpha,
    )


def failures(axis, lines: Sequence[tuple[Sequence[float], str, str]]) -> None:
    """Networks that never trained, in a strip below all values; to be called after these.

    Args:
        axis: to draw on.
        lines: (places, colour, label) of each line that has any.
    """
    if not lines:
        return
    low, high = axis.get_ylim()
    row = 0.06 * (high - low)
    for number, (places, colour, label) in enumerate(lines, 1):
        axis.plot(
            places,
            [low - (number - 0.4) * row] * len(places),
            linestyle="none",
            marker="$\\otimes$",
            color=colour,
            markersize=9,
            label=f"{label}: never trained",
        )
    bottom = low - (len(lines) + 0.2) * row
    axis.axhspan(bottom, low, color="0.92", zorder=-1)
    axis.set_ylim(bottom, high)


def fit(axis, values: Sequence[float], intervals: Sequence[Mean] = ()) -> None:
    """Room for the values and a little more, and for intervals that are no taller than the range of
    the values; taller ones are cut off."""
    low, high = min(values), max(values)
    room, margin = high - low, 0.15 * (high - low) or 0.01
    ends = [end for mean in intervals for end in (mean.low, mean.high) if end is not None]
    ends = [end + math.copysign(margin / 5, end - (low + high) / 2) for end in ends]
    within = [end for end in ends if low - room <= end <= high + room]
    axis.set_ylim(min([low - margin, *within]), max([high + margin, *within]))


def legend(axis) -> None:
    """Below the axis, where it covers nothing."""
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)


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
