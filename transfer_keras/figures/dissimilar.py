"""Figure 3 of the paper: splits that are less alike, and random units, against their bases."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import pyplot

from transfer_keras.figures import drawing
from transfer_keras.figures.drawing import Mean
from transfer_keras.figures.styles import CYCLE


class Series(NamedTuple):
    """A line.

    Attributes:
        label: what it is of.
        style: number of its colour, marker and dashes.
        hollow: whether its markers are.
        means: n -> its mean.
        failed: n of each network that never trained.
    """

    label: str
    style: int
    hollow: bool
    means: Mapping[int, Mean]
    failed: Sequence[int]


class Dissimilar(NamedTuple):
    """What figure 3 shows.

    Attributes:
        levels: top-1 of each target, the base at 0.
        losses: differences from the base, in points.
        overlay: the same of another study, drawn faintly, by label.
    """

    levels: Sequence[Series]
    losses: Sequence[Series]
    overlay: Mapping[str, Mapping[int, float]]


def draw(shown: Dissimilar, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws both panels: the levels, and the differences from the base.

    Args:
        shown: a series or more of each.
        paths: files to write; their endings say the formats.
        title: above.
    """
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(7.2, 8.4), sharex=True, layout="constrained"
    )
    _lines(upper, shown.levels)
    _lines(lower, shown.losses)
    colours = {series.label: _style(series)[0] for series in shown.losses}
    faint = "faint: Yosinski et al. (2014), ImageNet"
    for label, values in shown.overlay.items():
        lower.plot(
            list(values), list(values.values()), color=colours.get(label, drawing.BASE),
            alpha=drawing.FAINT, marker=".", linewidth=1, label=faint,
        )  # fmt: skip
        faint = None  # In the legend once.
    lower.axhline(0, color=drawing.BASE, linewidth=0.8, zorder=0)
    upper.set_title("each target; at 0 its base", fontsize=10)
    lower.set_title("difference from the base, with 95 % intervals", fontsize=10)
    upper.set_ylabel("top-1 on the target's test images")
    lower.set_ylabel("points of top-1")
    lower.set_xlabel("n, lower units transferred")
    for axis in (upper, lower):
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    drawing.save(figure, paths, title=title)


def _style(series: Series) -> tuple[str, str, str]:
    return CYCLE[series.style % len(CYCLE)]


def _lines(axis, lines: Sequence[Series]) -> None:
    for series in lines:
        colour, marker, dashes = _style(series)
        hollow = {"markerfacecolor": "white"} if series.hollow else {}
        drawing.line(
            axis, series.means, colour=colour, marker=marker, dashes=dashes, label=series.label,
            **hollow,
        )  # fmt: skip
    for row, series in enumerate(lines):
        if series.failed:
            colour, *_ = _style(series)
            drawing.failures(axis, series.failed, row=row, colour=colour, label=series.label)
