"""What the figures of a report show, from the runs of a study."""

from collections.abc import Mapping, Sequence

import numpy as np

from transfer_keras.results import paper
from transfer_keras.results.comparison import BASE, Role, Run, Runs, compare, units
from transfer_keras.results.figures import dissimilar, reduced, transfer
from transfer_keras.results.figures.drawing import Mean
from transfer_keras.results.figures.styles import STYLES
from transfer_keras.results.study import RANDOM, Kind, Network, Study

_REDUCED = Role("reduced")
_FROZEN = ("AnB", "RnB")  # What figure 3 shows.
# By whether a split is of random halves, which are alike and one line: of others, each target is.
_TARGETS = {True: (("", "AB"),), False: ((", towards A", "A"), (", towards B", "B"))}


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
    for style, kind in enumerate(kinds):
        runs = study.runs.get(kind, {})
        failed = [n for n in study.networks if n.kind == kind and n.row.outcome != "trained"]
        for family in _FROZEN:
            lost = [n for n in failed if n.role.family == family]
            if units(runs, family) or lost:
                shown.add(kind)
                means = _means(runs, family, 0.0, scale=100)
                places = [n.row.n for n in lost]
                label = _label(kind, family)
                losses.append(dissimilar.Series(label, means, places, family, style))
                levels += _of_targets(kind, family, style, runs, lost)
    if len(shown) < 2 or not levels:
        return None
    theirs = []
    for number, kind in enumerate((Kind(RANDOM), Kind("natural"), Kind("whole"))):
        runs = paper.runs(kind.split) if overlay and most is None else {}
        for family in _FROZEN:
            if means := _means(runs, family, 0.0, scale=100):
                style = kinds.index(kind) if kind in kinds else len(kinds) + number
                theirs.append(dissimilar.Series(_label(kind, family), means, [], family, style))
    return dissimilar.Dissimilar(levels, losses, theirs)


def _of_targets(
    kind: Kind, family: str, style: int, runs: Runs, lost: Sequence[Network]
) -> list[dissimilar.Series]:
    """Top-1 of a family towards each target, from the base on."""
    found = []
    for words, targets in _TARGETS[kind.split == RANDOM]:
        part = {half: seeds for half, seeds in runs.items() if half.target in targets}
        places = [network.row.n for network in lost if network.row.target in targets]
        bases = [run[BASE].top1 for run in _with_base(part)]
        if bases and (places or units(part, family)):
            base = float(np.mean(bases))
            means = {0: Mean(base), **_means(part, family, base)}
            label, hollow = f"{_label(kind, family)}{words}", targets == "B"
            found.append(dissimilar.Series(label, means, places, family, style, hollow))
    return found


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
    """Those of which there are networks: random halves first, and all examples before fewer."""
    kinds = {network.kind for network in study.networks}
    return sorted(
        kinds, key=lambda kind: (kind.split != RANDOM, kind.split, -_size(kind.examples_per_class))
    )


def _size(amount: int | None) -> float:
    return float("inf") if amount is None else amount


def _most(amounts) -> int | None:
    return max(amounts, key=_size)


def _label(kind: Kind, family: str) -> str:
    return f"{str(kind).replace(RANDOM, 'random halves')}: {STYLES[family].label}"


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
    """Amount -> mean top-1 of the bases, with the width of the interval of their difference from
    those of the largest amount, pair by pair."""
    trained = [amount for amount, of_amount in runs.items() if _with_base(of_amount)]
    found = {}
    for amount in trained:
        value = float(np.mean([run[BASE].top1 for run in _with_base(runs[amount])]))
        found[amount] = Mean(value)
        beside = _beside(runs[_most(trained)], runs[amount])
        compared = compare(beside, [_REDUCED], [BASE]) if amount != _most(trained) else None
        if compared:
            estimate, low, high = compared.interval
            found[amount] = Mean(value, value + low - estimate, value + high - estimate)
    return found


def _beside(runs: Runs, others: Runs) -> Runs:
    """The bases of both, half by half and seed by seed; those of the second as `_REDUCED`."""
    found: dict = {}
    for half, seeds in runs.items():
        for seed, run in seeds.items():
            other = others.get(half, {}).get(seed, {})
            if BASE in run and BASE in other:
                found.setdefault(half, {})[seed] = {BASE: run[BASE], _REDUCED: other[BASE]}
    return found
