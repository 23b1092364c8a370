"""Parts that the figures of a report share."""

import math
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.container import ErrorbarContainer

from transfer_keras.results.comparison import OVER_IMAGES, OVER_SEEDS_AND_IMAGES, OVER_SPLITS

# What an interval is over -> the name and the line of its bar.
_BARS = {
    OVER_SPLITS: ("solid", "-"),
    OVER_SEEDS_AND_IMAGES: ("dashed", "--"),
    OVER_IMAGES: ("dotted", ":"),
}
# Colours of Okabe and Ito (2008), which the colour-blind can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Colour of bases, and opacity of another study.
BASE = "#666666"
FAINT = 0.3


class Mean(NamedTuple):
    """A mean, and its 95 % interval where one is known; `over`: what the interval is over."""

    value: float
    low: float | None = None
    high: float | None = None
    over: str = OVER_SPLITS


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
    for over, (_, line) in _BARS.items():
        known = [x for x in places if means[x].low is not None and means[x].over == over]
        if not known:
            continue
        bars = axis.errorbar(
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
        for lines in bars[2]:
            lines.set_linestyle(line)


def describe_bars(means: Iterable[Mean]) -> str:
    """Says what the bars of means are over, and how they are told apart where they differ."""
    found = {mean.over for mean in means if mean.low is not None}
    if not found:
        return ""
    if len(found) == 1:
        return f"bars: 95 % intervals over {found.pop()}"
    named = [f"{name} over {over}" for over, (name, _) in _BARS.items() if over in found]
    return f"bars: 95 % intervals, {', '.join(named)}"


def _mark_cut_bars(axis) -> None:
    """Marks the bars that go on beyond the axis, by a triangle where they leave it."""
    low, high = axis.get_ylim()
    for container in (c for c in axis.containers if isinstance(c, ErrorbarContainer)):
        for lines in container[2]:
            for (place, bottom), (_, top) in lines.get_segments():
                for leaves, at, marker in ((bottom < low, low, "v"), (top > high, high, "^")):
                    if leaves:
                        axis.plot(
                            [place], [at], marker, color=lines.get_color()[0], markersize=6,
                            clip_on=False, scalex=False, scaley=False,
                        )  # fmt: skip


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

    Intervals fit too if they reach no further beyond the values than the values' own range, or one
    and a half times what half of them reach; longer ones are cut off.
    """
    low, high = min(values), max(values)
    spread, margin = high - low, 0.15 * (high - low) or 0.01
    known = [mean for mean in intervals if mean.low is not None]
    usual = statistics.median([(mean.high - mean.low) / 2 for mean in known]) if known else 0.0
    reach = max(spread, 1.5 * usual)
    ends = [end for mean in known for end in (mean.low, mean.high)]
    ends = [end + math.copysign(margin / 5, end - (low + high) / 2) for end in ends]
    within = [end for end in ends if low - reach <= end <= high + reach]
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
    for axis in figure.axes:
        _mark_cut_bars(axis)
    figure.suptitle(title, fontsize=11, parse_math=False)
    # Without the salt, the parts of an SVG would have other names each time.
    with pyplot.rc_context({"svg.hashsalt": title}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=130, metadata=metadata)
    pyplot.close(figure)
