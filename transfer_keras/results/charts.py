"""The contents of a report's figures, from the results of a study."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from transfer_keras.results import paper, statistics
from transfer_keras.results.comparison import (
    Comparison,
    NetworkResult,
    Runs,
    compare,
    compare_families,
    estimate_level,
)
from transfer_keras.results.figures import dissimilar, reduced, transfer
from transfer_keras.results.figures.drawing import Mean
from transfer_keras.results.figures.styles import STYLES
from transfer_keras.results.findings import LEVEL
from transfer_keras.results.roles import (
    BASE,
    BASE_TRAINED_ON,
    FROZEN_SELFFER,
    FROZEN_STATISTICS,
    FROZEN_TRANSFER,
    RANDOM_UNITS,
    TUNED_SELFFER,
    TUNED_STATISTICS,
    TUNED_TRANSFER,
    Role,
)
from transfer_keras.results.study import RANDOM, Kind, Network, Study

_REDUCED = Role("reduced")
# The gaps that the paper names: the label, and the families above and below.
_HELPS = "transfer, fine-tuned, helps: AnB+ - {}"
_NAMED_GAPS = (
    ("fragile co-adaptation: base - BnB", BASE.family, FROZEN_SELFFER),
    ("specificity: BnB - AnB", FROZEN_SELFFER, FROZEN_TRANSFER),
    (_HELPS.format(BASE.family), TUNED_TRANSFER, BASE.family),
)
# The families of figure 3.
_FROZEN = (FROZEN_TRANSFER, RANDOM_UNITS)
# By whether a split is random: the end of each line's label, and the targets of the line. Random
# targets are alike and make one line; of other splits, each target has its own.
_LINES = {True: (("", "AB"),), False: ((", towards A", "A"), (", towards B", "B"))}


def transfer_curve(runs: Runs, failed: Sequence[Network], paper_runs: Runs) -> transfer.Transfer:
    """Collects figure 2 of one kind of split.

    Args:
        runs: the results of the networks that trained.
        failed: the networks that did not.
        paper_runs: the paper's, to be drawn faintly; empty: nothing is.
    """
    # A base is shown where something is compared with it, be it a network that failed.
    failed_transfers = {(network.target, network.seed) for network in failed if network.row.n}
    bases, points = [], {}
    for target, seed, role, result in runs.networks():
        if role != BASE:
            points.setdefault(role.family, []).append(_point(role, result))
        elif len(runs.by_seed(target)[seed]) > 1 or (target, seed) in failed_transfers:
            bases.append(_point(BASE, result))
    base = float(np.mean([point.top1 for point in bases])) if bases else None
    failed_n: dict[str, list[int]] = {}
    for network in failed:
        if network.row.n:
            failed_n.setdefault(network.role.family, []).append(network.role.n)
    means = {family: _means(runs, family, base) for family in STYLES if family in points}
    mean_base = None if base is None else _level(runs, BASE, base)
    overlay = None
    if paper_runs:
        of_paper = transfer_curve(paper_runs, [], Runs())
        overlay = (of_paper.base, {family: _values(m) for family, m in of_paper.means.items()})
    ordered = {family: points[family] for family in means}
    return transfer.Transfer(
        bases, ordered, failed_n, means, mean_base, _paired_gaps(runs), _arrows(runs, base, means),
        overlay,
    )  # fmt: skip


def _paired_gaps(runs: Runs) -> dict[str, tuple[str, dict[int, Mean]]]:
    """Collects the differences of transfer from selffer and from drawn values, in points; each in
    the style of one of the two."""
    gaps = {}
    for family, other, style in (
        (FROZEN_TRANSFER, FROZEN_SELFFER, FROZEN_TRANSFER),
        (TUNED_TRANSFER, TUNED_SELFFER, TUNED_TRANSFER),
        (FROZEN_TRANSFER, FROZEN_STATISTICS, FROZEN_STATISTICS),
        (TUNED_TRANSFER, TUNED_STATISTICS, TUNED_STATISTICS),
    ):
        comparisons = compare_families(runs, family, other)
        if comparisons:
            by_n = {n: _from_comparison(c, 0.0, 100) for n, c in comparisons.items()}
            gaps[f"{family} - {other}"] = style, by_n
    return gaps


def _arrows(
    runs: Runs, base: float | None, means: Mapping[str, Mapping[int, Mean]]
) -> list[transfer.Arrow]:
    """Finds the gaps that are there, of the sign that their name says."""
    if base is None:
        return []
    levels = {family: {n: mean.value for n, mean in by_n.items()} for family, by_n in means.items()}
    arrows = []
    named = list(_NAMED_GAPS)
    trained_on = BASE_TRAINED_ON.family
    if BASE_TRAINED_ON.n in levels.get(trained_on, {}):  # Then its training time counts for none.
        named[-1] = _HELPS.format(trained_on), TUNED_TRANSFER, trained_on
    at_bases = {BASE.family: base, trained_on: levels.get(trained_on, {}).get(0)}
    for label, upper, lower in named:
        # Compared as findings are: the other way round from the label for the first two.
        family, other = (upper, lower) if lower in at_bases else (lower, upper)
        sign = 1 if family == upper else -1
        comparisons = compare_families(runs, family, other)
        adjusted = statistics.adjust_holm([c.p_value for c in comparisons.values()])
        there = {
            n: sign * comparison.mean
            for (n, comparison), p in zip(comparisons.items(), adjusted, strict=True)
            if p < LEVEL and sign * comparison.mean > 0
        }
        if there:
            widest = max(there, key=there.get)
            # From one of the two means, by the paired gap.
            anchor = next(
                (at_bases[end] for end in (upper, lower) if end in at_bases),
                levels.get(upper, {}).get(widest),
            )
            if anchor is not None:
                low = anchor if lower in at_bases else anchor - there[widest]
                arrows.append(transfer.Arrow(label, widest, low, low + there[widest]))
    return arrows


def dissimilar_splits(study: Study, *, overlay: bool) -> dissimilar.Dissimilar | None:
    """Collects figure 3: the kinds of splits side by side, of the most examples of each class.

    Args:
        study: all its kinds of splits.
        overlay: whether the paper's values are drawn too.

    Returns:
        None where there is only one kind with frozen transfer or random units.
    """
    most = _most(network.kind.examples_per_class for network in study.networks)
    kinds = [kind for kind in ordered_kinds(study) if kind.examples_per_class == most]
    levels, losses, kinds_shown = [], [], set()
    for style, kind in enumerate(kinds):
        runs = study.runs_of(kind)
        for family in _FROZEN:
            failed = [n for n in study.failed(kind) if n.role.family == family]
            if runs.trained_n(family) or failed:
                kinds_shown.add(kind)
                means = _means(runs, family, 0.0, scale=100)
                failed_n = [network.row.n for network in failed]
                label = _label(kind, family)
                losses.append(dissimilar.Series(label, means, failed_n, family, style))
                levels += _levels_by_target(kind, family, style, runs, failed)
    if len(kinds_shown) < 2 or not levels:
        return None
    of_paper = _losses_of_paper(kinds) if overlay and most is None else []
    return dissimilar.Dissimilar(levels, losses, of_paper)


def _losses_of_paper(kinds: Sequence[Kind]) -> list[dissimilar.Series]:
    """Collects the paper's lines; each has the style of the same kind in the study, if any."""
    lines = []
    for number, kind in enumerate((Kind(RANDOM), Kind("natural"), Kind("whole"))):
        runs = paper.read_runs(kind.split)
        for family in _FROZEN:
            if means := _means(runs, family, 0.0, scale=100):
                style = kinds.index(kind) if kind in kinds else len(kinds) + number
                lines.append(dissimilar.Series(_label(kind, family), means, [], family, style))
    return lines


def _levels_by_target(
    kind: Kind, family: str, style: int, runs: Runs, failed: Sequence[Network]
) -> list[dissimilar.Series]:
    """Collects the lines of a family's top-1 towards each target, with the base at n = 0."""
    lines = []
    for label_end, targets in _LINES[kind.split == RANDOM]:
        runs_towards = runs.towards(targets)
        failed_n = [network.row.n for network in failed if network.row.target in targets]
        bases = [base.top1 for base in runs_towards.of(BASE)]
        if bases and (failed_n or runs_towards.trained_n(family)):
            base = float(np.mean(bases))
            means = {0: Mean(base), **_means(runs_towards, family, base)}
            label, hollow = f"{_label(kind, family)}{label_end}", targets == "B"
            lines.append(dissimilar.Series(label, means, failed_n, family, style, hollow))
    return lines


def reduced_data(study: Study) -> list[reduced.Series]:
    """Collects the bases of each kind of split that has several numbers of examples a class."""
    lines = []
    kinds = ordered_kinds(study)
    for split in dict.fromkeys(kind.split for kind in kinds):
        amounts = [kind.examples_per_class for kind in kinds if kind.split == split]
        runs = {amount: study.runs_of(Kind(split, amount)) for amount in amounts}
        points = [
            (amount, base.top1) for amount, at_amount in runs.items() for base in at_amount.of(BASE)
        ]
        failed = [
            network.kind.examples_per_class
            for network in study.networks
            if network.kind.split == split and not network.row.n and not network.trained
        ]
        if len({*failed, *(amount for amount, _ in points)}) > 1:
            lines.append(reduced.Series(split, points, _against_most(runs), failed))
    return lines


def reduced_data_of_paper() -> dict[int | None, float]:
    """Gives examples of each class -> top-1 of the paper's base on all classes."""
    return {
        amount: base.top1
        for amount in paper.AMOUNTS
        for base in paper.read_runs("whole", examples_per_class=amount).of(BASE)
    }


def ordered_kinds(study: Study) -> list[Kind]:
    """Lists the kinds of splits of a study: random ones first, and all examples before fewer."""
    kinds = {network.kind for network in study.networks}
    return sorted(
        kinds, key=lambda kind: (kind.split != RANDOM, kind.split, -_size(kind.examples_per_class))
    )


def _size(amount: int | None) -> float:
    return float("inf") if amount is None else amount


def _most(amounts: Iterable[int | None]) -> int | None:
    return max(amounts, key=_size)


def _label(kind: Kind, family: str) -> str:
    return f"{str(kind).replace(RANDOM, 'random halves')}: {STYLES[family].label}"


def _point(role: Role, result: NetworkResult) -> transfer.Point:
    return transfer.Point(role.n, result.top1, result.best)


def _means(runs: Runs, family: str, base: float | None, *, scale: float = 1) -> dict[int, Mean]:
    """Adds the mean paired differences to the mean base, so that no target counts without a base;
    where there is no base at all, they are the means of the networks."""
    if base is None:
        return {n: _level(runs, Role(family, n)) for n in runs.trained_n(family)}
    comparisons = compare_families(runs, family, BASE.family)
    means = {}
    for n in runs.trained_n(family):
        if n in comparisons:
            means[n] = _from_comparison(comparisons[n], base, scale)
            continue
        differences = [
            result.top1 - paired_base.top1
            for seeds in runs.pairs([Role(family, n)], [BASE]).values()
            for pairs in seeds
            for result, paired_base in pairs
        ]
        if differences:
            means[n] = Mean(base + scale * float(np.mean(differences)))
    return means


def _level(runs: Runs, role: Role, mean: float | None = None) -> Mean:
    """Gives the mean top-1 of a role with its interval; another mean takes the same bounds."""
    mean = float(np.mean([result.top1 for result in runs.of(role)])) if mean is None else mean
    level = estimate_level(runs, role)
    if level is None:
        return Mean(mean)
    estimate, low, high = level.interval
    low, high = max(0.0, mean + low - estimate), min(1.0, mean + high - estimate)
    return Mean(mean, low, high, level.over)


def _from_comparison(comparison: Comparison, base: float, scale: float) -> Mean:
    values = (base + scale * difference for difference in comparison.interval)
    return Mean(*values, comparison.over)


def _values(means: Mapping[int, Mean]) -> dict[int, float]:
    return {n: mean.value for n, mean in means.items()}


def _against_most(runs: Mapping[int | None, Runs]) -> dict[int | None, Mean]:
    """Averages the bases of each number of examples.

    The bars are those of the paired difference from the bases of the largest number.
    """
    trained = {amount: at_amount for amount, at_amount in runs.items() if at_amount.of(BASE)}
    means = {}
    for amount, at_amount in trained.items():
        value = float(np.mean([base.top1 for base in at_amount.of(BASE)]))
        means[amount] = Mean(value)
        most = _most(trained)
        if amount == most:
            continue
        if comparison := compare(_bases_of_both(trained[most], at_amount), [_REDUCED], [BASE]):
            estimate, low, high = comparison.interval
            ends = (value + low - estimate, value + high - estimate)
            means[amount] = Mean(value, *ends, comparison.over)
    return means


def _bases_of_both(runs: Runs, reduced_runs: Runs) -> Runs:
    """Joins the bases of two numbers of examples by target and seed; the second as `_REDUCED`."""
    joined: dict = {}
    for target, seed, role, result in runs.networks():
        reduced_base = reduced_runs.by_seed(target).get(seed, {}).get(BASE)
        if role == BASE and reduced_base:
            joined.setdefault(target, {})[seed] = {BASE: result, _REDUCED: reduced_base}
    return Runs(joined)
