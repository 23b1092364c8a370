"""Parts that the figures of a report share."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

# Colour of bases, and opacity of another study.
BASE = "#666666"
FAINT = 0.3


class Mean(NamedTuple):
    """A mean, and its 95 % interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


def draw_line(
    axis, means: Mapping[float, Mean], *, colour: str, marker: str, dashes, alpha=1.0, **more
) -> None:
    """Draws a line through means, with bars for their intervals.

    Args:
        axis: of Matplotlib, to draw on.
        means: place on the horizontal axis -> the mean.
        colour: of the line, its markers and bars.
        marker: Matplotlib's name of the marker.
        dashes: Matplotlib's line style.
        alpha: opacity, 0..1.
        more: further arguments of Matplotlib's `plot`, such as `label`.
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


def draw_failures(axis, lines: Sequence[tuple[Sequence[float], str, str]]) -> None:
    """Marks networks that never trained in a strip below all values, which must be drawn before.

    Args:
        axis: of Matplotlib, to draw on.
        lines: (places on the horizontal axis, colour, label) of each line with such networks.
    """
    if not lines:
        return
    low, high = axis.get_ylim()
    row_height = 0.06 * (high - low)
    for number, (places, colour, label) in enumerate(lines, 1):
        axis.plot(
            places,
            [low - (number - 0.4) * row_height] * len(places),
            linestyle="none",
            marker="$\\otimes$",
            color=colour,
            markersize=9,
            label=f"{label}: never trained",
        )
    bottom = low - (len(lines) + 0.2) * row_height
    axis.axhspan(bottom, low, color="0.92", zorder=-1)
    axis.set_ylim(bottom, high)


def fit(axis, values: Sequence[float], intervals: Sequence[Mean] = ()) -> None:
    """Sets the vertical limits: all values fit, with a margin.

    Intervals fit too if they reach no further beyond the values than the values' own range; longer
    ones are cut off.
    """
    low, high = min(values), max(values)
    spread, margin = high - low, 0.15 * (high - low) or 0.01
    ends = [end for mean in intervals for end in (mean.low, mean.high) if end is not None]
    ends = [end + math.copysign(margin / 5, end - (low + high) / 2) for end in ends]
    within = [end for end in ends if low - spread <= end <= high + spread]
    axis.set_ylim(min([low - margin, *within]), max([high + margin, *within]))


def draw_legend(axis) -> None:
    """Draws the legend below the axis, where it covers nothing."""
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)


def save(figure, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Writes a figure, with the same bytes each time, and closes it.

    Args:
        figure: of pyplot.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    figure.suptitle(title, fontsize=11, parse_math=False)
    # Without the salt, the parts of an SVG would have other names each time.
    with pyplot.rc_context({"svg.hashsalt": title}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=130, metadata=metadata)
    pyplot.close(figure)
