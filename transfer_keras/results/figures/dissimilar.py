"""Figure 3 of the paper: dissimilar splits and random units, against their bases."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import pyplot

from transfer_keras.results.figures import drawing
from transfer_keras.results.figures.drawing import Mean
from transfer_keras.results.figures.styles import KINDS, STYLES


class Series(NamedTuple):
    """One line of the figure.

    Attributes:
        label: text of the legend.
        means: n -> the mean.
        failed: n of each network that never trained.
        family: key of `styles.STYLES`, which gives the colour.
        style: number of the kind of split, which gives the markers and dashes.
        hollow: whether the markers are hollow.
    """

    label: str
    means: Mapping[int, Mean]
    failed: Sequence[int]
    family: str
    style: int
    hollow: bool = False


class Dissimilar(NamedTuple):
    """The lines of figure 3.

    Attributes:
        levels: top-1 of each target; at n = 0 its base.
        losses: differences from the base, in points.
        overlay: differences in another study, drawn faintly.
    """

    levels: Sequence[Series]
    losses: Sequence[Series]
    overlay: Sequence[Series]


def draw(contents: Dissimilar, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws both panels: the levels, and the differences from the base.

    Args:
        contents: at least one line for each panel.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(7.2, 9.6), sharex=True, layout="constrained"
    )
    for series in contents.overlay:
        _line(lower, series, f"faint: {series.label}, Yosinski et al. (2014)", drawing.FAINT)
    lower.axhline(0, color=drawing.BASE, linewidth=0.8, zorder=0)
    headings = ("each target; at 0 its base", "difference from the base")
    parts = (contents.levels, [*contents.losses, *contents.overlay])
    for axis, lines, heading in zip((upper, lower), parts, headings, strict=True):
        means = [mean for series in lines for mean in series.means.values()]
        drawing.fit(axis, [mean.value for mean in means] or [0.0], means)
        axis.set_title(
            "\n".join(filter(None, [heading, drawing.describe_bars(means)])), fontsize=10
        )
    for axis, lines in ((upper, contents.levels), (lower, contents.losses)):
        for series in lines:
            _line(axis, series, series.label, 1)
        failed = [(s.failed, STYLES[s.family].colour, s.label) for s in lines if s.failed]
        drawing.draw_failures(axis, failed)
        drawing.draw_legend(axis)
        axis.set_xlabel("n, lower units transferred")
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    upper.set_ylabel("top-1 on the target's test images")
    lower.set_ylabel("points of top-1")
    upper.tick_params(labelbottom=True)
    drawing.save(figure, paths, title=title)


def _line(axis, series: Series, label: str, alpha: float) -> None:
    marker, dashes = KINDS[series.style % len(KINDS)]
    hollow = {"markerfacecolor": "white"} if series.hollow else {}
    drawing.draw_line(
        axis, series.means, colour=STYLES[series.family].colour, marker=marker, dashes=dashes,
        alpha=alpha, label=label, **hollow,
    )  # fmt: skip
