"""The report of a study, from its rows on disk alone."""

import csv
import dataclasses
import io
import json
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import numpy as np

from transfer_keras import paper, results, statistics, study
from transfer_keras.analysis import BASE, Comparison, Role, Runs, compare, unpaired
from transfer_keras.figures import transfer
from transfer_keras.study import Study

_IMAGENET = ("imagenet2012", "imagenet_resized")
_CHOICE = re.compile(r"--(n|mode|source|target|treatments)=")
_RANGES = ((1, 7), (3, 7), (5, 7))
_UNDECIDED = -0.10  # An interval that reaches below this decides nothing.
_BEST = 10  # Tests that the paper's figures are the mean of.


class Finding(NamedTuple):
    """One comparison in words: what, at which n, and what came out."""

    what: str
    n: str
    comparison: Comparison

    @property
    def p_value(self) -> str:
        return f"{self.comparison.p_value:.3f}" if self.comparison.p_value >= 0.001 else "< 0.001"

    @property
    def to_decide(self) -> str:
        """How many targets would show a difference of this size, if it is real."""
        deviation = self.comparison.deviation
        if deviation is None or self.comparison.over != "splits":
            return ""
        count = statistics.replicates_to_decide(self.comparison.interval.estimate, deviation)
        return f"{count:,}" if count else "> 10,000"

    @property
    def points(self) -> str:
        low, high = (100 * bound for bound in self.comparison.interval[1:])
        return f"{100 * self.comparison.interval.estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


def report(folder: pathlib.Path, output: pathlib.Path, *, overlay_paper: bool | None) -> str:
    """Writes figures, tables and `report.html`.

    Args:
        folder: see `study.read`.
        output: folder to write to; made where it is not there.
        overlay_paper: whether the paper's values are drawn too; None: where the dataset is
            ImageNet.

    Returns:
        The recommendation in words.

    Raises:
        UserError: see `study.read`.
    """
    found = study.read(folder)
    if overlay_paper is None:
        overlay_paper = str(found.settings["dataset"]).partition("/")[0] in _IMAGENET
    output.mkdir(parents=True, exist_ok=True)
    kinds = sorted({study.kind(network.split) for network in found.networks})
    sections = [_section(kind, found, output, overlay_paper) for kind in kinds]
    rows = [_flat(network) for network in found.networks]
    results.write_text(output / "results.csv", _csv(rows))
    results.write_text(output / "results.json", json.dumps(rows, indent=2) + "\n")
    words = "\n".join(f"{s['kind']} split: {s['recommendation']}" for s in sections)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transfer_keras", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html").render(
        title=f"{found.settings['network']} on {found.settings['dataset']}",
        sections=sections,
        rows=rows,
        columns=_COLUMNS,
        settings=found.settings,
        versions=found.versions,
        commands=_commands(found),
    )
    results.write_text(output / "report.html", page)
    return words


def _section(kind: str, found: Study, output: pathlib.Path, overlay: bool) -> dict:
    """What is said of one kind of split."""
    networks = [network for network in found.networks if study.kind(network.split) == kind]
    failed = [network for network in networks if network.row.outcome != "trained"]
    runs = found.runs.get(kind, {})
    shown = _transfer(runs, failed, paper.runs(kind) if overlay else {})
    figure = ""
    if shown.bases:
        path = output / f"transfer_{kind}.svg"
        title = f"{found.settings['network']} on {found.settings['dataset']}, {kind} split"
        with (
            results.whole(path) as svg,
            results.whole(path.with_suffix(".png")) as picture,
        ):
            transfer.draw(shown, [svg, picture], title=title)
        figure = _embedded(path.read_text())
    return {
        "kind": kind,
        "figure": figure,
        "recommendation": recommend(runs, [study.role(network) for network in failed]),
        "findings": findings(runs),
        "table_1": [_table_1(runs, first, last) for first, last in _RANGES],
        "failed": [f"{n.row.treatment} ({n.folder.name}): {n.row.outcome}" for n in failed],
        "splits": sorted({network.split for network in networks}),
        "seeds": sorted({network.seed for network in networks}),
    }


def _embedded(svg: str) -> str:
    """The picture alone: no prolog, and no comments, in which Matplotlib repeats every text."""
    return re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)


def _units(runs: Runs, family: str) -> list[int]:
    roles = {role for seeds in runs.values() for run in seeds.values() for role in run}
    return sorted(role.n for role in roles if role.family == family)


def _transfer(runs: Runs, failed: Sequence, of_paper: Runs) -> transfer.Transfer:
    everyone = [run for seeds in runs.values() for run in seeds.values()]
    lonely = {(study.half(n), n.seed) for n in failed if n.row.n}  # Compared, though it failed.
    bases = [
        run[BASE].top1
        for half, seeds in runs.items()
        for seed, run in seeds.items()
        if BASE in run and (len(run) > 1 or (half, seed) in lonely)
    ]
    base = float(np.mean(bases)) if bases else float("nan")
    points: dict[str, list] = {}
    for run in everyone:
        for role, one in run.items():
            if role != BASE:
                points.setdefault(role.family, []).append((role.n, one.top1))
    lost: dict[str, list[int]] = {}
    for network in failed:
        if network.row.n:
            lost.setdefault(study.role(network).family, []).append(network.row.n)
    means: dict[str, dict[int, transfer.Mean]] = {}
    for family in filter(points.__contains__, transfer.STYLES):
        found = {n: _mean(runs, Role(family, n), base) for n in _units(runs, family)}
        means[family] = {n: mean for n, mean in found.items() if mean}
    overlay = None
    if of_paper:
        theirs = _transfer(of_paper, [], {})
        values = {f: {n: m.value for n, m in ms.items()} for f, ms in theirs.means.items()}
        overlay = (theirs.base, values)
    ordered = {family: points[family] for family in means}
    return transfer.Transfer(bases, ordered, lost, means, overlay)


def _mean(runs: Runs, role: Role, base: float) -> transfer.Mean | None:
    """The mean base plus the mean paired difference, so that no half counts without its base."""
    pairs = [
        run[role].top1 - run[BASE].top1
        for seeds in runs.values()
        for run in seeds.values()
        if run.keys() >= {role, BASE}
    ]
    found = compare(runs, [role], [BASE])
    if not found:
        return transfer.Mean(base + float(np.mean(pairs))) if pairs else None
    return transfer.Mean(*(base + value for value in found.interval))


_GAPS = (
    ("co-adaptation (BnB - base)", "BnB", "base"),
    ("specificity (AnB - BnB)", "AnB", "BnB"),
    ("transfer, frozen (AnB - base)", "AnB", "base"),
    ("selffer, fine-tuned (BnB+ - base)", "BnB+", "base"),
    ("transfer, fine-tuned (AnB+ - base)", "AnB+", "base"),
    ("transfer against selffer, fine-tuned (AnB+ - BnB+)", "AnB+", "BnB+"),
    ("random (RnB - base)", "RnB", "base"),
)


def findings(runs: Runs) -> list[Finding]:
    """Every gap at every n for which there are pairs."""
    found = []
    for what, one, other in _GAPS:
        for n in _units(runs, one):
            against = BASE if other == "base" else Role(other, n)
            if comparison := compare(runs, [Role(one, n)], [against]):
                found.append(Finding(what, str(n), comparison))
    return found


def _table_1(runs: Runs, first: int, last: int) -> list[str]:
    """Mean gains of transfer with fine-tuning over a range of n: which, and over what."""
    units = [n for n in _units(runs, "AnB+") if first <= n <= last]
    cells = [", ".join(map(str, units))]
    for other in ("base", "BnB+"):
        common = [n for n in units if other == "base" or n in _units(runs, other)]
        transferred = [Role("AnB+", n) for n in common]
        against = [BASE if other == "base" else Role(other, n) for n in common]
        comparison = compare(runs, transferred, against) if common else None
        simple = unpaired(runs, transferred, list(dict.fromkeys(against))) if common else None
        cells.append(Finding("", "", comparison).points if comparison else "")
        cells.append(f"{100 * simple:+.1f}" if simple is not None else "")
    return cells


def recommend(runs: Runs, failed: Sequence[Role] = ()) -> str:
    """How many units to freeze, in words.

    Freezing is advised up to the last n below which no loss from the base is detectable: at each
    n that was tried up to it, the 95 % interval of AnB - base reaches 0 or above, and not below
    `_UNDECIDED`; and no AnB failed to train.

    Args:
        runs: of one kind of split.
        failed: roles of which a network did not train.
    """
    found = {n: compare(runs, [Role("AnB", n)], [BASE]) for n in _units(runs, "AnB")}
    found = {n: comparison for n, comparison in found.items() if comparison}
    tried = sorted({*found, *(role.n for role in failed if role.family == "AnB")})
    if not found:
        return "No advice yet: frozen transfer (AnB) and its base are needed."
    fine, words = 0, []
    for n in tried:
        if Role("AnB", n) in failed:
            reason = f"freezing n = {n} does not always train"
        elif found[n].interval.high < 0:
            reason = f"freezing n = {n} loses {_bounds(found[n], -1)}"
        elif found[n].interval.low < _UNDECIDED:
            reason = f"what freezing n = {n} costs is not decided, {_bounds(found[n])}"
        else:
            fine = n
            continue
        tuned = compare(runs, [Role("AnB+", n)], [BASE])
        better = tuned and (n not in found or tuned.interval[0] > found[n].interval[0])
        advice = f"From unit {n} on, fine-tune: " if better else ""
        words.append(f"{advice}{reason}{f'; fine-tuned, {_change(tuned)}' if better else ''}.")
        break
    if fine:
        words.insert(0, f"Freeze up to unit {fine}: {_change(found[fine])}.")
    words.append(f"Tried: n = {', '.join(map(str, tried))}.")
    return " ".join(word[0].upper() + word[1:] for word in words)


def _change(comparison: Comparison) -> str:
    _, low, high = comparison.interval
    what = "it gains" if low > 0 else "it loses" if high < 0 else "no loss is detectable"
    return f"{what} ({_bounds(comparison)})"


def _bounds(comparison: Comparison, sign: int = 1) -> str:
    """In points; with sign -1 of a loss."""
    estimate, *bounds = (sign * 100 * value for value in comparison.interval)
    values = [estimate, *sorted(bounds)]
    shown = [f"{value:+.1f}" if sign > 0 else f"{value:.1f}" for value in values]
    return f"{shown[0]} points, 95 % {shown[1]} to {shown[2]}, over {comparison.over}"


# Columns of `results.csv` and `results.json`, and what each says.
_COLUMNS = {
    "folder": "the experiment's workdir",
    "split": "how classes became tasks A and B",
    "seed": "of all that is random",
    "treatment": "the network, in the paper's notation",
    "role": "what it is to its target, which is B here whichever it is",
    "n": "units transferred",
    "target": "task trained on",
    "top1": "fraction of the test images that are right, after the last step",
    "top1_best10": "mean of the ten best tests, as the paper reports; optimistic",
    "loss": "mean cross-entropy on the test images, nats",
    "outcome": "trained, diverged, or at chance",
    "test_images": "how many",
    "steps": "updates",
    "seconds": "of its group's training",
}


def _flat(network: study.Network) -> dict:
    row = dataclasses.asdict(network.row)
    best = sorted((top1 for *_, top1 in network.row.validation), reverse=True)[:_BEST]
    facts = {
        **row,
        "folder": network.folder.name,
        "split": network.split,
        "seed": network.seed,
        "role": study.role(network).family,
        "top1_best10": float(np.mean(best)),
    }
    return {name: facts[name] for name in _COLUMNS}


def _csv(rows: Sequence[Mapping]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _commands(found: Study) -> list[str]:
    """What repeats each experiment: its flags, and all treatments that it has by now."""
    commands = []
    for folder in dict.fromkeys(network.folder for network in found.networks):
        path = folder / "run.flags"
        if path.exists():
            names = [n.row.treatment for n in found.networks if n.folder == folder]
            lines = [line for line in path.read_text().splitlines() if not _CHOICE.match(line)]
            flags = [*lines, f"--treatments={','.join(names)}"]
            commands.append(f"python -m transfer_keras.train {shlex.join(flags)}")
    return commands
