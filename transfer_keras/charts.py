"""What the figures of a report show, from the runs of a study."""

from collections.abc import Mapping, Sequence

import numpy as np

from transfer_keras import paper
from transfer_keras.analysis import BASE, Role, Run, Runs, compare, units
from transfer_keras.figures import dissimilar, reduced, transfer
from transfer_keras.figures.drawing import Mean
from transfer_keras.figures.styles import STYLES
from transfer_keras.study import Kind, Network, Study

_FROZEN = ("AnB", "RnB")  # What figure 3 shows.


def transfer_curve(runs: Runs, failed: Sequence[Network], of_paper: Runs) -> transfer.Transfer:
    """Figure 2 of one kind of split.

    Args:
        runs: of the networks that trained.
        failed: the networks that did not.
        of_paper: to be drawn faintly; empty: nothing is.
    """
    lonely = {(n.half, n.seed) for n in failed if n.row.n}  # Compared, though it failed.
    bases = [
        _point(BASE, run[BASE])
        for half, seeds in runs.items()
        for seed, run in seeds.items()
        if BASE in run and (len(run) > 1 or (half, seed) in lonely)
    ]
    base = float(np.mean([point.top1 for point in bases])) if bases else float("nan")
    points: dict[str, list] = {}
    for run in (run for seeds in runs.values() for run in seeds.values()):
        for role, one in run.items():
            if role != BASE:
                points.setdefault(role.family, []).append(_point(role, one))
    lost: dict[str, list[int]] = {}
    for network in failed:
        if network.row.n:
            lost.setdefault(network.role.family, []).append(network.row.n)
    means = {family: _means(runs, family, base) for family in STYLES if family in points}
    overlay = None
    if of_paper:
        theirs = transfer_curve(of_paper, [], {})
        values = {family: _values(found) for family, found in theirs.means.items()}
        overlay = (theirs.base, values)
    ordered = {family: points[family] for family in means}
    return transfer.Transfer(bases, ordered, lost, means, overlay)


def dissimilar_splits(study: Study, *, overlay: bool) -> dissimilar.Dissimilar | None:
    """Figure 3: the kinds of splits side by side, of the most examples a class that there are.

    Returns:
        None where there is only one kind with frozen transfer or random units.
    """
    most = _most(network.kind.examples_per_class for network in study.networks)
    kinds = [kind for kind in ordered_kinds(study) if kind.examples_per_class == most]
    levels, losses, shown = [], [], set()
    for kind in kinds:
        runs = study.runs.get(kind, {})
        failed = [n for n in study.networks if n.kind == kind and n.row.outcome != "trained"]
        for family in _FROZEN:
            lost = [n for n in failed if n.role.family == family]
            if not units(runs, family) and not lost:
                continue
            shown.add(kind)
            label = _label(kind, family)
            means = _means(runs, family, 0.0, scale=100)
            style = len(losses)
            losses.append(dissimilar.Series(label, style, False, means, [n.row.n for n in lost]))
            for words, part in _targets(kind, runs):
                base = float(np.mean([run[BASE].top1 for run in _with_base(part)]))
                means = {0: Mean(base), **_means(part, family, base)}
                targets = {half.target for half in part}
                places = [n.row.n for n in lost if n.row.target in targets]
                hollow = words.endswith("B")
                levels.append(dissimilar.Series(f"{label}{words}", style, hollow, means, places))
    if len(shown) < 2 or not levels:
        return None
    theirs = {}
    if overlay:
        for kind in (Kind("random"), Kind("natural"), Kind("whole")):
            runs = paper.runs(kind.split)
            for family in _FROZEN:
                if values := _values(_means(runs, family, 0.0, scale=100)):
                    theirs[_label(kind, family)] = values
    return dissimilar.Dissimilar(levels, losses, theirs)


def reduced_data(study: Study) -> list[reduced.Series]:
    """The bases of each kind of split of which there are several numbers of examples a class."""
    found = []
    kinds = ordered_kinds(study)
    for split in dict.fromkeys(kind.split for kind in kinds):
        amounts = [kind.examples_per_class for kind in kinds if kind.split == split]
        runs = {amount: study.runs.get(Kind(split, amount), {}) for amount in amounts}
        points = {
            amount: [run[BASE].top1 for run in _with_base(of_amount)]
            for amount, of_amount in runs.items()
        }
        failed = [
            network.kind.examples_per_class
            for network in study.networks
            if network.kind.split == split
            and not network.row.n
            and network.row.outcome != "trained"
        ]
        if len({*failed, *(amount for amount in amounts if points[amount])}) > 1:
            flat = [(amount, top1) for amount in amounts for top1 in points[amount]]
            found.append(reduced.Series(split, flat, _against_most(runs), failed))
    return found


def papers_reduced_data() -> dict[int | None, float]:
    """Examples a class -> top-1 of the paper's base on all classes."""
    found: dict[int | None, float] = {}
    for amount in paper.AMOUNTS:
        for run in _with_base(paper.runs("whole", examples_per_class=amount)):
            found[amount] = run[BASE].top1
    return found


def ordered_kinds(study: Study) -> list[Kind]:
    """Those of which there are networks: by split, and from all examples to the fewest."""
    kinds = {network.kind for network in study.networks}
    return sorted(kinds, key=lambda kind: (kind.split, -_size(kind.examples_per_class)))


def _size(amount: int | None) -> float:
    return float("inf") if amount is None else amount


def _most(amounts) -> int | None:
    return max(amounts, key=_size)


def _label(kind: Kind, family: str) -> str:
    words = "random halves" if kind.split == "random" else str(kind.split)
    return f"{words}: {STYLES[family].label}"


def _targets(kind: Kind, runs: Runs) -> list[tuple[str, Runs]]:
    """Random halves are alike and one line; of other splits, each target is one."""
    if kind.split == "random":
        parts = [("", runs)]
    else:
        parts = [
            (f", towards {t}", {half: seeds for half, seeds in runs.items() if half.target == t})
            for t in ("A", "B")
        ]
    return [(words, part) for words, part in parts if _with_base(part)]


def _with_base(runs: Runs) -> list[Mapping[Role, Run]]:
    return [run for seeds in runs.values() for run in seeds.values() if BASE in run]


def _point(role: Role, run: Run) -> transfer.Point:
    return transfer.Point(role.n, run.top1, run.best)


def _means(runs: Runs, family: str, base: float, *, scale: float = 1) -> dict[int, Mean]:
    found = {n: _mean(runs, Role(family, n), base, scale) for n in units(runs, family)}
    return {n: mean for n, mean in found.items() if mean}


def _mean(runs: Runs, role: Role, base: float, scale: float) -> Mean | None:
    """The mean base plus the mean paired difference, so that no half counts without its base."""
    pairs = [run[role].top1 - run[BASE].top1 for run in _with_base(runs) if role in run]
    if not pairs:
        return None
    found = compare(runs, [role], [BASE])
    differences = found.interval if found else [float(np.mean(pairs))]
    return Mean(*(base + scale * difference for difference in differences))


def _values(means: Mapping[int, Mean]) -> dict[int, float]:
    return {n: mean.value for n, mean in means.items()}


def _against_most(runs: Mapping[int | None, Runs]) -> dict[int | None, Mean]:
    """Amount -> mean top-1 of the bases, paired with those of the largest amount."""
    trained = [amount for amount, of_amount in runs.items() if _with_base(of_amount)]
    if not trained:
        return {}
    most = _most(trained)
    base = float(np.mean([run[BASE].top1 for run in _with_base(runs[most])]))
    found = {most: Mean(base)}
    for amount in trained:
        if amount != most:
            both: dict = {}
            for half, seeds in runs[most].items():
                for seed, run in seeds.items():
                    other = runs[amount].get(half, {}).get(seed, {})
                    if BASE in run and BASE in other:
                        roles = {BASE: run[BASE], Role("reduced"): other[BASE]}
                        both.setdefault(half, {})[seed] = roles
            if mean := _mean(both, Role("reduced"), base, 1):
                found[amount] = mean
    return found
