"""How likely a study is to decide a gap, against the number of its splits."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib import pyplot

from transfer_keras.results.figures import drawing

_LINES = ("-", "--", ":", "-.")


def draw(
    panels: Mapping[str, Mapping[str, Mapping[int, float]]],
    paths: Sequence[pathlib.Path],
    *,
    target: float,
    title: str,
) -> None:
    """Draws a panel for each gap.

    Args:
        panels: name of a gap -> label of a line -> number of splits -> power; at least one.
        paths: files to write; their endings give the formats.
        target: the power that is planned for, drawn as a line.
        title: text above the figure.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.4 * columns, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (gap, lines) in zip(axes.flat, panels.items(), strict=False):
        for number, (label, power) in enumerate(lines.items()):
            axis.plot(
                list(power), list(power.values()), color="#0072B2",
                linestyle=_LINES[number % len(_LINES)], label=label,
            )  # fmt: skip
        axis.axhline(target, color=drawing.BASE, linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_ylim(-0.02, 1.02)
        axis.set_title(gap, fontsize=9)
        axis.set_xlabel("splits")
        axis.set_ylabel("power")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="lower right")
    drawing.save(figure, paths, title=title)
