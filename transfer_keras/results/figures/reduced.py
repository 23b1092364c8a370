"""Top-1 of bases that were trained on the first few examples of each class."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import pyplot

from transfer_keras.results.figures import drawing
from transfer_keras.results.figures.drawing import Mean
from transfer_keras.results.figures.styles import KINDS


class Series(NamedTuple):
    """The bases of one kind of split.

    An amount is a number of training examples of each class; None: all.

    Attributes:
        label: name of the kind.
        points: (amount, top-1) of every base that trained.
        means: amount -> the mean; its bar is the interval of the difference from the largest
            amount.
        failed: amount of each base that never trained.
    """

    label: str
    points: Sequence[tuple[int | None, float]]
    means: Mapping[int | None, Mean]
    failed: Sequence[int | None]


def draw(
    lines: Sequence[Series],
    overlay: Mapping[int | None, float],
    paths: Sequence[pathlib.Path],
    *,
    title: str,
) -> None:
    """Draws top-1 against the number of examples, in ascending order and evenly spaced.

    Args:
        lines: at least one.
        overlay: amount -> top-1 of another study, drawn faintly.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    amounts = {a for s in lines for a in (*s.failed, *(amount for amount, _ in s.points))}
    ordered = sorted(amounts | overlay.keys(), key=lambda amount: amount or float("inf"))
    place = {amount: i for i, amount in enumerate(ordered)}
    figure, axis = pyplot.subplots(figsize=(7.2, 5.4), layout="constrained")
    top1 = [value for series in lines for _, value in series.points]
    drawing.fit(axis, [*top1, *overlay.values()] or [0.0])
    styled = list(zip(lines, itertools.cycle(KINDS), strict=False))
    for series, (marker, dashes) in styled:
        axis.plot(
            [place[amount] for amount, _ in series.points], [top1 for _, top1 in series.points],
            marker, color=drawing.BASE, alpha=0.4, markersize=5,
        )  # fmt: skip
        means = {place[amount]: mean for amount, mean in series.means.items()}
        drawing.draw_line(
            axis, means, colour=drawing.BASE, marker=marker, dashes=dashes, label=series.label
        )
    if overlay:
        axis.plot(
            [place[amount] for amount in overlay], list(overlay.values()), color="#0072B2",
            alpha=0.5, marker="D", linestyle=":", label="Yosinski et al. (2014), ImageNet",
        )  # fmt: skip
    failed = [
        ([place[amount] for amount in series.failed], drawing.BASE, series.label)
        for series in lines
        if series.failed
    ]
    drawing.draw_failures(axis, failed)
    axis.set_xticks(range(len(ordered)), [f"{a:,}" if a else "all" for a in ordered])
    axis.set_xlabel("training examples of each class")
    axis.set_ylabel("top-1 of the base on all test images")
    axis.set_title(
        drawing.describe_bars(m for series in lines for m in series.means.values()), fontsize=10
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="upper left")
    drawing.save(figure, paths, title=title)
