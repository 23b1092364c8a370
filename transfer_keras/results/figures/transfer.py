"""Figure 2 of the paper: top-1 of all families against n, and the gaps between them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib import pyplot

from transfer_keras.results.figures import drawing
from transfer_keras.results.figures.drawing import Mean
from transfer_keras.results.figures.styles import STYLES
from transfer_keras.results.roles import BASE, BASE_TRAINED_ON

# Distance on the horizontal axis between the families at one n.
_DODGE = 0.09


class Point(NamedTuple):
    """One network: its n, its top-1 and, where it is known, the mean of its best tests."""

    n: int
    top1: float
    best: float | None = None


class Arrow(NamedTuple):
    """A gap that is there: its interval excludes 0 after Holm's correction over all n.

    Attributes:
        label: its name.
        n: where it is widest, of all n at which it is there.
        low, high: the two means that it lies between.
    """

    label: str
    n: int
    low: float
    high: float


class Transfer(NamedTuple):
    """The contents of figure 2.

    Attributes:
        bases: every base with which a network is compared.
        points: family -> every network that trained.
        failed: family -> n of every network that did not train.
        means: family -> n -> the mean base plus the paired mean difference from it; without bases,
            the mean of the networks.
        mean_base: the mean of the bases with its interval; None where there are none.
        gaps: label -> (family, n -> paired mean difference in points) of transfer from selffer, or
            from drawn values; the family gives the style.
        arrows: gaps to name between the means.
        overlay: (mean base, family -> n -> mean) of another study, drawn faintly; None: none.
    """

    bases: Sequence[Point]
    points: Mapping[str, Sequence[Point]]
    failed: Mapping[str, Sequence[int]]
    means: Mapping[str, Mapping[int, Mean]]
    mean_base: Mean | None = None
    gaps: Mapping[str, tuple[str, Mapping[int, Mean]]] = {}
    arrows: Sequence[Arrow] = ()
    overlay: tuple[float, Mapping[str, Mapping[int, float]]] | None = None

    @property
    def base(self) -> float | None:
        """Gives the mean top-1 of the bases; None where there are none."""
        return self.mean_base.value if self.mean_base else None


def draw(contents: Transfer, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws three panels: all networks, the means with the names of the gaps that are there, and
    the paired gaps between transfer and selffer.

    Args:
        contents: at least one network.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    panels = 3 if contents.gaps else 2
    figure, (upper, lower, *more) = pyplot.subplots(
        panels, 1, figsize=(7.2, 4.8 * panels), sharex=True, layout="constrained"
    )
    _draw_points(upper, contents)
    _draw_means(lower, contents)
    for axis in (upper, lower):
        if contents.bases:
            axis.axhline(contents.base, color=drawing.BASE, linewidth=0.8, zorder=0)
        for mean in contents.means.get(BASE_TRAINED_ON.family, {}).values():
            colour = STYLES[BASE_TRAINED_ON.family].colour
            axis.axhline(mean.value, color=colour, linewidth=0.8, linestyle="--", zorder=0)
        axis.set_ylabel("top-1 on the target's test images")
    for axis in more:
        _draw_gaps(axis, contents)
    for axis in (upper, lower, *more):
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("n, lower units transferred")
        axis.tick_params(labelbottom=True)
        drawing.draw_legend(axis)
    drawing.save(figure, paths, title=title)


def _shift(family: str) -> float:
    families = [each for each in STYLES if each != BASE_TRAINED_ON.family]
    if family not in families:  # It stands beside the base, at 0.
        return 0.0
    return (families.index(family) - (len(families) - 1) / 2) * _DODGE


def _draw_points(axis, contents: Transfer) -> None:
    drawn = {}
    if contents.bases:
        drawn[BASE.family] = (contents.bases, BASE.family, drawing.BASE, "D", 0.0)
    for family, points in contents.points.items():
        label, colour, marker, _ = STYLES[family]
        drawn[family] = (points, f"{family}: {label}", colour, marker, _shift(family))
    all_points = [point for points, *_ in drawn.values() for point in points]
    bests = [point.best for point in all_points if point.best is not None]
    drawing.fit(axis, [*(point.top1 for point in all_points), *bests])
    for points, label, colour, marker, shift in drawn.values():
        places = [point.n + shift for point in points]
        top1 = [point.top1 for point in points]
        axis.plot(places, top1, marker, color=colour, alpha=0.6, markersize=5, label=label)
    optimistic = "mean of its best tests, as the paper has it: optimistic"
    for points, _, colour, _, shift in drawn.values():
        known = [point for point in points if point.best is not None]
        axis.plot(
            [point.n + shift for point in known], [point.best for point in known], "_",
            color=colour, markersize=7, label=optimistic if known else None,
        )  # fmt: skip
        # The legend has the label once.
        optimistic = None if known else optimistic
    axis.set_title("every network", fontsize=10)
    failed = [(n, STYLES[family].colour, family) for family, n in contents.failed.items()]
    drawing.draw_failures(axis, failed)


def _draw_means(axis, contents: Transfer) -> None:
    overlay_base, overlay_means = contents.overlay or (contents.base, {})
    all_means = [mean for means in contents.means.values() for mean in means.values()]
    values = [mean.value for mean in all_means]
    overlay_values = [value for means in overlay_means.values() for value in means.values()]
    bases = [base for base in (contents.base, overlay_base) if base is not None]
    all_means += [contents.mean_base] if contents.mean_base else []
    drawing.fit(axis, [*bases, *values, *overlay_values], all_means)
    if contents.mean_base:
        drawing.draw_line(
            axis, {0: contents.mean_base}, colour=drawing.BASE, marker="D", dashes="none",
            label="mean base",
        )  # fmt: skip
    for family, means in contents.means.items():
        label, colour, marker, line = STYLES[family]
        dodged = {n + _shift(family) / 2: mean for n, mean in means.items()}
        drawing.draw_line(
            axis, dodged, colour=colour, marker=marker, dashes=line, label=f"{family}: {label}"
        )
    if contents.overlay:
        axis.axhline(
            overlay_base, color=drawing.BASE, linewidth=0.8, alpha=0.5, linestyle=(0, (1, 3)),
            label="faint: Yosinski et al. (2014), ImageNet",
        )  # fmt: skip
        for family, means in overlay_means.items():
            _, colour, marker, line = STYLES[family]
            axis.plot(
                list(means), list(means.values()), marker=marker, linestyle=line, color=colour,
                alpha=drawing.FAINT, linewidth=1, markersize=3,
            )  # fmt: skip
    title = "mean base plus mean difference from it" if contents.bases else "means"
    axis.set_title("\n".join(filter(None, [title, drawing.describe_bars(all_means)])), fontsize=10)
    _name_gaps(axis, contents.arrows)


def _name_gaps(axis, arrows: Sequence[Arrow]) -> None:
    """Draws a numbered arrow for each gap, from one curve to the other."""
    for number, arrow in enumerate(arrows, 1):
        place = arrow.n - 0.12 - 0.14 * number
        axis.annotate(
            "", (place, arrow.high), (place, arrow.low),
            arrowprops={"arrowstyle": "<->", "color": "0.3"},
        )  # fmt: skip
        axis.plot(
            [place - 0.07], [(arrow.high + arrow.low) / 2], linestyle="none", color="0.2",
            markersize=6, marker=f"${number}$", label=f"{arrow.label} (widest gap)",
        )  # fmt: skip


def _draw_gaps(axis, contents: Transfer) -> None:
    """Draws what transfer from the other task changes against transfer from the same task, or
    against drawn values."""
    means = [mean for _, by_n in contents.gaps.values() for mean in by_n.values()]
    drawing.fit(axis, [0.0, *(mean.value for mean in means)], means)
    axis.axhline(0, color=drawing.BASE, linewidth=0.8, zorder=0)
    for label, (family, by_n) in contents.gaps.items():
        _, colour, marker, line = STYLES[family]
        dodged = {n + _shift(family) / 2: mean for n, mean in by_n.items()}
        drawing.draw_line(axis, dodged, colour=colour, marker=marker, dashes=line, label=label)
    axis.set_ylabel("points of top-1")
    title = "transfer less what it is compared with, in pairs of one target"
    axis.set_title(f"{title}\n{drawing.describe_bars(means)}", fontsize=10)
