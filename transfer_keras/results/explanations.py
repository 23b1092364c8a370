"""The part of a report that says what explains the gaps, from the analyses that are kept."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Sequence

from transfer_keras.config import parse_treatment
from transfer_keras.results import charts
from transfer_keras.results.analyses import (
    ClassComparison,
    Interpolation,
    Probes,
    Record,
    Reinitialisation,
    Store,
    words,
)
from transfer_keras.results.figures import line_between, panels
from transfer_keras.results.figures.embedding import embed
from transfer_keras.results.margin import points
from transfer_keras.results.study import Study
from transfer_keras.results.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class _Figures:
    """The figures of one workdir: where they go, and what stands above them."""

    study: Study
    workdir: Workdir
    output: pathlib.Path

    def draw(self, kind: str, draw: Callable[..., None], records: Sequence[Record]) -> str:
        """Draws a figure into the output, and gives it for the page."""
        folder, settings = self.workdir.path.name, self.study.settings
        path = self.output / f"{kind}_{re.sub(r'[^A-Za-z0-9_]+', '_', folder)}.svg"
        title = f"{settings['network']} on {settings['dataset']}: {folder}"
        return embed(path, draw, records, title=title)


def explain(
    study: Study, output: pathlib.Path, margin: float, log: Callable[[str], None]
) -> list[dict]:
    """Collects what the kept analyses of each workdir say, and draws their figures.

    Args:
        study: whose workdirs hold the analyses.
        output: folder for the figures.
        margin: the loss that counts as none, in fractions of the test images.
        log: called with a line for each damaged file that was set aside.

    Returns:
        A section for each workdir with analyses: its heading, and parts with heading, figure,
        sentences and table. Empty where there are none.
    """
    order = {kind: place for place, kind in enumerate(charts.ordered_kinds(study))}
    workdirs = dict.fromkeys(
        network.workdir for network in sorted(study.networks, key=lambda n: order[n.kind])
    )
    sections = []
    for workdir in workdirs:
        store, figures = Store(workdir, log), _Figures(study, workdir, output)
        parts = [
            part
            for kind, make in _PARTS.items()
            if (records := sorted(store.kept(kind), key=_order))
            and (part := make(records, figures, margin))
        ]
        if parts:
            sections.append({"folder": workdir.path.name, "parts": parts})
    return sections


def _interpolation(records: Sequence[Interpolation], figures: "_Figures", margin: float) -> dict:
    rows = [
        [
            r.first,
            r.second,
            str(r.shared_units),
            _percent(r.top1[0]),
            _percent(r.top1[-1]),
            _percent(min(r.top1)),
            f"{100 * r.barrier:.1f}",
            "" if r.barrier_share is None else f"{100 * r.barrier_share:.0f} %",
            "yes" if words.has_barrier(r, margin) else "no",
        ]
        for r in sorted(records, key=lambda r: (not r.shared_units, r.barrier))
    ]
    figure = figures.draw("interpolation", line_between.draw, records)
    return {
        "heading": "On the straight line between two networks",
        "method": (
            f"Top-1 of the test images at {len(records[0].positions)} points on the straight line "
            "between the weights of two networks of one target (Neyshabur et al. 2020). The "
            "barrier is the largest drop below the line between the ends. It counts where it is "
            f"more than {points(margin)} (--margin) and more than two accuracies on as many images "
            "differ by chance. BatchNorm's statistics are interpolated with all other weights, not "
            "estimated again."
        ),
        "figure": figure,
        "sentences": words.say_interpolation(records, margin) + words.differing_ends(records),
        "limits": (
            "A barrier says that two networks lie in different basins of the loss, or that their "
            "units are in another order; it does not say that they compute something else. No "
            "barrier says that they lie in one basin, not that they are equal. Pairs with and "
            "without a common beginning also differ in n and in how far they were trained. The "
            "upper units of every network are drawn anew, so that a common beginning is one of the "
            "lower units alone."
        ),
        "columns": [
            "first", "second", "units that began equal", "top-1 of the first",
            "of the second", "lowest", "barrier, points", "of what is above chance", "counts",
        ],
        "rows": rows,
    }  # fmt: skip


def _reinitialisation(
    records: Sequence[Reinitialisation], figures: "_Figures", margin: float
) -> dict:
    rows = [
        [
            r.treatment,
            reset.unit,
            "" if reset.distance is None else f"{reset.distance:.3f}",
            _percent(r.top1),
            _percent(reset.initial),
            _percent(reset.fresh),
            words.robustness(reset, r, margin),
        ]
        for r in records
        for reset in r.resets
    ]
    return {
        "heading": "Each unit put back",
        "method": (
            "Top-1 of the test images after one unit was put back, and the others left as they "
            "were trained (Zhang et al. 2019): to its initial values, with which training began "
            "(those of the donor, where it was transferred), and to fresh ones, one other draw. A "
            f"unit is robust where its initial values lose no more than {points(margin)} "
            "(--margin), critical where they lose half or more of what lies above chance. A star: "
            "the unit was not trained, so that its initial values are its own."
        ),
        "figure": figures.draw("reinitialisation", panels.draw_put_back, records),
        "sentences": words.say_reinitialisation(records, margin) + words.differing_ends(records),
        "limits": (
            "A robust unit need not be useless: it says that training did not have to move it, "
            "given what the others became. A critical one says that the units above it are fitted "
            "to what it became. That fresh values harm where initial ones do not means that the "
            "network kept to its initial values."
        ),
        "columns": [
            "network", "unit", "moved by, of its norm", "top-1", "initial values",
            "fresh values", "unit is",
        ],
        "rows": rows,
    }  # fmt: skip


def _classes(records: Sequence[ClassComparison], figures: "_Figures", margin: float) -> dict:
    rows = [
        [
            r.treatment,
            one.name,
            str(one.images),
            _percent(one.base),
            _percent(one.top1),
            f"{100 * one.difference:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]",
            f"{one.p_value:.3f}" if one.p_value >= 0.001 else "< 0.001",
        ]
        for r in records
        for one in r.classes
    ]
    left_out = ""
    if len(records) > panels.MOST_COMPARED:
        left_out = f" The figure has the first {panels.MOST_COMPARED} networks."
    return {
        "heading": "By class, against the base",
        "method": (
            "Top-1 on the test images of each class, the network's minus that of the base of its "
            "target, with 95 % intervals (Bonett and Price 2012), each of its class alone. p is of "
            "McNemar's exact test, corrected over the classes of a network (Holm 1979). Large "
            "dots: p < 0.05."
            + left_out
        ),
        "figure": figures.draw("classes", panels.draw_classes, records),
        "sentences": words.say_classes(records),
        "limits": (
            "These are single networks on these test images: another seed or split may differ on "
            "other classes. Few images of a class leave all but large differences open, and a "
            "class that is not shown to differ is not shown to be equal."
        ),
        "columns": [
            "network", "class", "images", "base", "network's", "points [95 %]", "p (Holm)",
        ],
        "rows": rows,
    }  # fmt: skip


def _probes(records: Sequence[Probes], figures: "_Figures", margin: float) -> dict:
    tasks = sorted({task for r in records for task in r.tasks})
    rows = [
        [r.treatment, unit, *(_percent(r.tasks.get(task, {}).get(unit)) for task in tasks)]
        for r in records
        for unit in next(iter(r.tasks.values()))
    ]
    return {
        "heading": "What each unit gives away of both tasks",
        "method": (
            "Top-1 on the test images of each task of a logistic classifier on the output of each "
            "unit (Alain and Bengio 2016): how much of a task can be read off linearly. Features "
            "are averaged to 1024 at most."
        ),
        "figure": figures.draw("probes", panels.draw_probes, records),
        "sentences": words.say_probes(records),
        "limits": (
            "Where a task cannot be read off linearly, units above may still compute it. The two "
            "tasks have other classes: their levels are not to be compared, only how each rises "
            "and falls from unit to unit and from network to network."
        ),
        "columns": ["network", "unit", *(f"task {task}" for task in tasks)],
        "rows": rows,
    }


_PARTS = {
    Interpolation: _interpolation,
    Reinitialisation: _reinitialisation,
    ClassComparison: _classes,
    Probes: _probes,
}


def _order(record: Record) -> tuple:
    """Gives what networks are sorted by: bases, then by family and n."""
    treatments = [parse_treatment(name.rpartition("/")[2]) for name in record.names]
    return tuple((t.donor is not None, t.target != "B", t.role, t.n) for t in treatments)


def _percent(top1: float | None) -> str:
    return "" if top1 is None else f"{100 * top1:.1f} %"
