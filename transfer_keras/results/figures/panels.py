"""Figures with a small panel for each network."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot

from transfer_keras.results.analyses import ClassComparison, Probes, Reinitialisation
from transfer_keras.results.figures import drawing

MOST_CLASSES = 24  # Of a panel: the lowest and the highest.
MOST_COMPARED = 6  # Panels of classes.
_INITIAL, _FRESH, _OTHER = drawing.COLOURS[0], drawing.COLOURS[1], drawing.COLOURS[2]


def draw_put_back(
    records: Sequence[Reinitialisation], paths: Sequence[pathlib.Path], *, title: str
) -> None:
    """Draws top-1 after each unit was put back: two bars a unit, a panel a network.

    Args:
        records: one or more.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    figure, axes = _grid(len(records), height=2.6, sharey=True)
    for axis, record in zip(axes, records, strict=False):
        places = np.arange(len(record.resets))
        initial, fresh = ([getattr(r, k) for r in record.resets] for k in ("initial", "fresh"))
        axis.bar(places - 0.2, initial, 0.4, color=_INITIAL, label="initial values")
        axis.bar(places + 0.2, fresh, 0.4, color=_FRESH, hatch="//", label="fresh values")
        axis.axhline(record.top1, color="black", linewidth=1, label="as trained")
        axis.axhline(record.chance, color=drawing.BASE, linewidth=1, linestyle=":", label="chance")
        kept = [place for place, r in zip(places, record.resets, strict=True) if r.distance == 0]
        axis.plot(
            kept, [0.02] * len(kept), "w*", markersize=7, label="", markeredgecolor="black",
            markeredgewidth=0.5,
        )  # fmt: skip
        _name_units(axis, [r.unit for r in record.resets])
        axis.set_title(record.treatment, fontsize=9)
    highest = max(top1 for r in records for top1 in (r.top1, *(x.initial for x in r.resets)))
    axes[0].set_ylim(0, 1.05 * highest or 1)  # All panels have the same.
    _finish(figure, axes, paths, "top-1", title)


def draw_probes(records: Sequence[Probes], paths: Sequence[pathlib.Path], *, title: str) -> None:
    """Draws top-1 of linear probes against the unit: a line a task, a panel a network.

    Args:
        records: one or more.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    figure, axes = _grid(len(records), height=2.6, sharey=True)
    for axis, record in zip(axes, records, strict=False):
        for task, by_unit in sorted(record.tasks.items()):
            own = task == record.target
            known = [
                (place, top1) for place, top1 in enumerate(by_unit.values()) if top1 is not None
            ]
            if not known:
                continue
            axis.plot(
                *zip(*known, strict=True),
                marker="o" if own else "^", linestyle="-" if own else "--", markersize=4,
                color=_INITIAL if own else _OTHER,
                label="the network's own task" if own else "the other task",
            )  # fmt: skip
        _name_units(axis, list(next(iter(record.tasks.values()))))
        axis.set_title(record.treatment, fontsize=9)
    _finish(figure, axes, paths, "top-1 of the probe", title)


def draw_classes(
    records: Sequence[ClassComparison], paths: Sequence[pathlib.Path], *, title: str
) -> None:
    """Draws the difference from the base for each class, sorted: a panel a network.

    Args:
        records: one or more; so many panels as fit are drawn.
        paths: files to write; their endings give the formats.
        title: text above the figure.
    """
    records = records[:MOST_COMPARED]
    shown = [_ends(record) for record in records]
    figure, axes = _grid(len(records), height=0.8 + 0.17 * max(map(len, shown)), columns=2)
    for axis, record, classes in zip(axes, records, shown, strict=False):
        places = np.arange(len(classes))
        for sure, marker in ((True, "o"), (False, ".")):
            for place, one in zip(places, classes, strict=True):
                if (one.p_value < 0.05) == sure:
                    colour = _OTHER if not sure else _INITIAL if one.difference > 0 else _FRESH
                    axis.plot(
                        [100 * one.low, 100 * one.high], [place] * 2, color=colour, linewidth=1
                    )
                    axis.plot(100 * one.difference, place, marker, color=colour, markersize=5)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(places, [one.name for one in classes], fontsize=6, parse_math=False)
        axis.set_ylim(-0.7, len(classes) - 0.3)
        axis.set_title(f"{record.treatment} - base{record.target}", fontsize=9)
        axis.set_xlabel("points", fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(alpha=0.3, axis="x")
    drawing.save(figure, paths, title=title)


def _ends(record: ClassComparison) -> list:
    """Gives the classes with the lowest and the highest differences, where there are many."""
    classes = list(record.classes)
    if len(classes) <= MOST_CLASSES:
        return classes
    return classes[: MOST_CLASSES // 2] + classes[-MOST_CLASSES // 2 :]


def _grid(count: int, *, height: float, columns: int = 3, sharey: bool = False):
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3.4 * columns, height * rows + 0.6), sharey=sharey, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    return figure, list(axes.flat)


def _name_units(axis, names: Sequence[str]) -> None:
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(alpha=0.3, axis="y")


def _finish(figure, axes, paths, label: str, title: str) -> None:
    """Adds one legend for all panels, and writes the figure."""
    axes[0].set_ylabel(label, fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    drawing.save(figure, paths, title=title)
