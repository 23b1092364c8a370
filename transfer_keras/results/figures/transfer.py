"""Figure 2 of the paper: what transfers, and what each gap is called."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import pyplot

from transfer_keras.results.figures import drawing
from transfer_keras.results.figures.drawing import Mean
from transfer_keras.results.figures.styles import STYLES

_DODGE = 0.09  # Between the families at one n.


class Point(NamedTuple):
    """One network: its n, its top-1 and where known the mean of its best tests."""

    n: int
    top1: float
    best: float | None = None


class Transfer(NamedTuple):
    """What figure 2 shows.

    Attributes:
        bases: every base with which a network is compared.
        points: family -> every network that trained.
        failed: family -> n of every network that did not.
        means: family -> n -> the mean base plus the paired mean difference from it.
        overlay: the same of another study, drawn faintly: its mean base and means.
    """

    bases: Sequence[Point]
    points: Mapping[str, Sequence[Point]]
    failed: Mapping[str, Sequence[int]]
    means: Mapping[str, Mapping[int, Mean]]
    overlay: tuple[float, Mapping[str, Mapping[int, float]]] | None = None

    @property
    def base(self) -> float:
        """Mean of the bases."""
        return sum(base.top1 for base in self.bases) / len(self.bases)


def draw(shown: Transfer, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws both panels: all networks, and the means with the names of the gaps between them.

    Args:
        shown: at least one base.
        paths: files to write; their endings say the formats.
        title: above.
    """
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(7.2, 9.6), sharex=True, layout="constrained"
    )
    _points(upper, shown)
    _means(lower, shown)
    for axis in (upper, lower):
        axis.axhline(shown.base, color=drawing.BASE, linewidth=0.8, zorder=0)
        axis.set_ylabel("top-1 on the target's test images")
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("n, lower units transferred")
        drawing.legend(axis)
    upper.tick_params(labelbottom=True)
    drawing.save(figure, paths, title=title)


def _place(family: str) -> float:
    families = list(STYLES)
    return (families.index(family) - (len(families) - 1) / 2) * _DODGE


def _points(axis, shown: Transfer) -> None:
    drawn = {"base": (shown.bases, "base", drawing.BASE, "D", 0.0)}
    for family, points in shown.points.items():
        label, colour, marker, _ = STYLES[family]
        drawn[family] = (points, f"{family}: {label}", colour, marker, _place(family))
    everyone = [point for points, *_ in drawn.values() for point in points]
    bests = [point.best for point in everyone if point.best is not None]
    drawing.fit(axis, [*(point.top1 for point in everyone), *bests])
    for points, label, colour, marker, place in drawn.values():
        places = [point.n + place for point in points]
        top1 = [point.top1 for point in points]
        axis.plot(places, top1, marker, color=colour, alpha=0.6, markersize=5, label=label)
    optimistic = "mean of its best tests, as the paper has it: optimistic"
    for points, _, colour, _, place in drawn.values():
        known = [point for point in points if point.best is not None]
        axis.plot(
            [point.n + place for point in known], [point.best for point in known], "_",
            color=colour, markersize=7, label=optimistic if known else None,
        )  # fmt: skip
        optimistic = None if known else optimistic  # In the legend once.
    axis.set_title("every network", fontsize=10)
    lost = [(places, STYLES[family].colour, family) for family, places in shown.failed.items()]
    drawing.failures(axis, lost)


def _means(axis, shown: Transfer) -> None:
    base, others = shown.overlay or (shown.base, {})
    every = [mean for means in shown.means.values() for mean in means.values()]
    values = [mean.value for mean in every]
    theirs = [value for means in others.values() for value in means.values()]
    drawing.fit(axis, [shown.base, base, *values, *theirs], every)
    axis.plot([0], [shown.base], "D", color=drawing.BASE, label="mean base")
    for family, means in shown.means.items():
        label, colour, marker, line = STYLES[family]
        dodged = {n + _place(family) / 2: mean for n, mean in means.items()}
        drawing.line(
            axis, dodged, colour=colour, marker=marker, dashes=line, label=f"{family}: {label}"
        )
    if shown.overlay:
        axis.axhline(
            base, color=drawing.BASE, linewidth=0.8, alpha=0.5, linestyle=(0, (1, 3)),
            label="faint: Yosinski et al. (2014), ImageNet",
        )  # fmt: skip
        for family, means in others.items():
            _, colour, marker, line = STYLES[family]
            axis.plot(
                list(means), list(means.values()), marker=marker, linestyle=line, color=colour,
                alpha=drawing.FAINT, linewidth=1, markersize=3,
            )  # fmt: skip
    axis.set_title("mean base plus mean difference from it, with 95 % intervals", fontsize=10)
    _name_gaps(axis, shown)


def _name_gaps(axis, shown: Transfer) -> None:
    """Numbered arrows where the gaps are widest, from the one curve to the other."""
    base = dict.fromkeys(range(1, 1000), Mean(shown.base))
    gaps = (
        ("fragile co-adaptation: base - BnB", base, shown.means.get("BnB", {})),
        ("specificity: BnB - AnB", shown.means.get("BnB", {}), shown.means.get("AnB", {})),
        ("transfer, fine-tuned, helps: AnB+ - base", shown.means.get("AnB+", {}), base),
    )
    for number, (words, upper, lower) in enumerate(gaps, 1):
        common = [n for n in (lower if upper is base else upper) if n in lower and n in upper]
        widths = {n: upper[n].value - lower[n].value for n in common}
        widest = max(widths, key=widths.get, default=None)
        if widest is None or widths[widest] <= 0:
            continue
        high, low = upper[widest].value, lower[widest].value
        place = widest - 0.12 - 0.14 * number
        axis.annotate(
            "", (place, high), (place, low), arrowprops={"arrowstyle": "<->", "color": "0.3"}
        )
        axis.plot(
            [place - 0.07], [(high + low) / 2], linestyle="none", color="0.2", markersize=6,
            marker=f"${number}$", label=f"{words} (widest gap)",
        )  # fmt: skip
