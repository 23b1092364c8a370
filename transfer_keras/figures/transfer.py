"""Figure 2 of the paper: what transfers, and what each gap is called."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from transfer_keras.figures.styles import STYLES

_BASE = "#666666"
_DODGE = 0.09  # Between the families at one n.


class Mean(NamedTuple):
    """A mean top-1, and its 95 % interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None


class Transfer(NamedTuple):
    """What figure 2 shows.

    Attributes:
        bases: top-1 of every base with which a network is compared.
        points: family -> (n, top-1) of every network that trained.
        failed: family -> n of every network that did not.
        means: family -> n -> the mean base plus the paired mean difference from it.
        overlay: the same of another study, drawn faintly: its mean base and means.
    """

    bases: Sequence[float]
    points: Mapping[str, Sequence[tuple[int, float]]]
    failed: Mapping[str, Sequence[int]]
    means: Mapping[str, Mapping[int, Mean]]
    overlay: tuple[float, Mapping[str, Mapping[int, float]]] | None = None

    @property
    def base(self) -> float:
        """Mean of the bases."""
        return sum(self.bases) / len(self.bases)


def draw(shown: Transfer, paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws both panels: all networks, and the means with the names of the gaps between them.

    Args:
        shown: at least one base.
        paths: files to write; their endings say the formats.
        title: above.
    """
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(7.2, 8.4), sharex=True, layout="constrained"
    )
    _points(upper, shown)
    _means(lower, shown)
    for axis in (upper, lower):
        axis.axhline(shown.base, color=_BASE, linewidth=0.8, zorder=0)
        axis.set_ylabel("top-1 on the target's test images")
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    lower.set_xlabel("n, lower units transferred")
    figure.suptitle(title, fontsize=11, parse_math=False)
    with pyplot.rc_context({"svg.hashsalt": title}):  # The same names of parts each time.
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, dpi=130, metadata=metadata)
    pyplot.close(figure)


def _places(family: str) -> float:
    families = list(STYLES)
    return (families.index(family) - (len(families) - 1) / 2) * _DODGE


def _points(axis, shown: Transfer) -> None:
    axis.plot([0] * len(shown.bases), shown.bases, "D", color=_BASE, alpha=0.6, label="base")
    for family, points in shown.points.items():
        label, colour, marker, _ = STYLES[family]
        axis.plot(
            [n + _places(family) for n, _ in points],
            [top1 for _, top1 in points],
            marker,
            color=colour,
            alpha=0.6,
            markersize=5,
            label=f"{family}: {label}",
        )
    axis.set_title("every network", fontsize=10)
    bottom = axis.get_ylim()[0]
    for family, places in shown.failed.items():
        axis.plot(
            [n + _places(family) for n in places],
            [bottom] * len(places),
            linestyle="none",
            marker="$\\otimes$",
            color=STYLES[family][1],
            markersize=11,
            clip_on=False,
            label=f"{family}: never trained",
        )
    axis.legend(fontsize=8)


def _means(axis, shown: Transfer) -> None:
    axis.plot([0], [shown.base], "D", color=_BASE)
    for family, means in shown.means.items():
        _, colour, marker, line = STYLES[family]
        places = sorted(means)
        values = [means[n].value for n in places]
        axis.plot(places, values, color=colour, marker=marker, linestyle=line, markersize=5)
        known = [n for n in places if means[n].low is not None]
        axis.errorbar(
            known,
            [means[n].value for n in known],
            yerr=[
                [max(means[n].value - means[n].low, 0) for n in known],
                [max(means[n].high - means[n].value, 0) for n in known],
            ],
            color=colour,
            linestyle="none",
            capsize=3,
            linewidth=1,
        )
    if shown.overlay:
        base, others = shown.overlay
        axis.axhline(
            base, color=_BASE, linewidth=0.8, alpha=0.5, linestyle=(0, (1, 3)),
            label="faint: Yosinski et al. (2014), ImageNet",
        )  # fmt: skip
        for family, means in others.items():
            _, colour, marker, line = STYLES[family]
            places = sorted(means)
            values = [means[n] for n in places]
            axis.plot(places, values, marker=marker, linestyle=line, color=colour, alpha=0.3,
                      linewidth=1, markersize=3)  # fmt: skip
    axis.set_title("means, with 95 % intervals of the difference from the base", fontsize=10)
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
        axis.annotate(
            "", (widest, high), (widest, low), arrowprops={"arrowstyle": "<->", "color": "0.3"}
        )
        axis.plot(
            [widest + 0.14], [(high + low) / 2], linestyle="none", color="0.2", markersize=7,
            marker=f"${number}$", label=f"{words} (widest gap)",
        )  # fmt: skip
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)
