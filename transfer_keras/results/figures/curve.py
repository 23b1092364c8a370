"""The transfer curve of one experiment: top-1 against the number of units transferred."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import PIL.Image
from matplotlib import pyplot

from transfer_keras.results.figures.styles import STYLES
from transfer_keras.results.roles import BASE_TRAINED_ON

_DIGEST = "Digest of the results"


class Point(NamedTuple):
    """One network: units transferred, top-1, and the 95 % interval of its difference from base.

    Without a base there is no interval.
    """

    n: int
    top1: float
    low: float | None
    high: float | None


class Panel(NamedTuple):
    """All networks of one target: its name, the top-1 of its base, and points by family; and the
    top-1 of the base that was trained on for as long again, where there is one."""

    target: str
    base: float | None
    series: Mapping[str, Sequence[Point]]
    trained_on: float | None = None


def draw(panels: Sequence[Panel], path: pathlib.Path, *, title: str, digest: str = "") -> None:
    """Draws a panel for each target and saves the figure.

    Args:
        panels: at least one.
        path: file to write; its ending gives the format.
        title: text above all panels.
        digest: of what is drawn; it is kept in the file, of which `read_digest` reads it.
    """
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(1 + 5.5 * len(panels), 4.2), sharey=True, squeeze=False
    )
    for panel, axis in zip(panels, axes[0], strict=True):
        name = f"base{panel.target}"
        if panel.base is not None:
            axis.axhline(panel.base, color="0.6", linewidth=1, zorder=0)
            axis.plot([0], [panel.base], "D", color="0.4", label=f"{name}, from scratch")
        if panel.trained_on is not None:
            label, colour, marker, _ = STYLES[BASE_TRAINED_ON.family]
            axis.axhline(panel.trained_on, color=colour, linewidth=1, linestyle="--", zorder=0)
            axis.plot([0], [panel.trained_on], marker, color=colour, label=label)
        for family, points in panel.series.items():
            label, colour, marker, line = STYLES[family]
            points = sorted(points)
            errors = None
            if panel.base is not None:
                errors = [
                    [p.top1 - (panel.base + p.low) for p in points],
                    [panel.base + p.high - p.top1 for p in points],
                ]
            axis.errorbar(
                [p.n for p in points],
                [p.top1 for p in points],
                yerr=errors,
                color=colour,
                marker=marker,
                linestyle=line,
                capsize=2,
                label=label,
            )
        axis.set_xlabel("n, lower units transferred")
        axis.set_title(f"target {panel.target}", fontsize=10)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0][0].set_ylabel("top-1 on the target's test images")
    figure.suptitle(title, fontsize=11)
    if any(panel.base is not None for panel in panels):
        bars = "Bars: 95 % interval of the difference from the base, paired on the same images"
        figure.text(0.5, 0.005, bars, ha="center", fontsize=8, color="0.3")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=130, metadata={_DIGEST: digest} if digest else None)
    pyplot.close(figure)


def read_digest(path: pathlib.Path) -> str | None:
    """Reads the digest that `draw` kept in a file; None where it has none, or is damaged."""
    if not path.is_file():
        return None
    try:
        with PIL.Image.open(path) as picture:
            picture.load()
            return picture.text.get(_DIGEST)
    except (OSError, SyntaxError, ValueError, AttributeError):
        return None
