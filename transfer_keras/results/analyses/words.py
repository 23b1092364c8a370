"""What analyses say, in sentences: what was found, what it means, and what it does not mean."""

import math
from collections.abc import Sequence

import numpy as np

from transfer_keras.config import first_few
from transfer_keras.results.analyses.records import (
    ClassComparison,
    Interpolation,
    Probes,
    Reinitialisation,
    Reset,
)
from transfer_keras.results.margin import points

ROBUST, CRITICAL, BETWEEN, UNTRAINED = "robust", "critical", "between", "not trained"
_LEVEL = 0.05
_FEW_MARGINS = 5  # A network that is less above chance has little to lose.


def chance_bound(record: Interpolation) -> float:
    """Computes what two accuracies at .5 on so many test images differ by in 1 of 20 draws.

    It is the largest that it can be; networks that agree on most images differ by less.
    """
    return 1.96 * math.sqrt(0.5 / record.test_images)


def has_barrier(record: Interpolation, margin: float) -> bool:
    """Tells whether the accuracy falls between two networks by more than a margin and chance."""
    return record.barrier > max(margin, chance_bound(record))


def robustness(reset: Reset, record: Reinitialisation, margin: float) -> str:
    """Names how much a network needs what training made of a unit.

    Returns:
        "not trained" where the unit is as training began; "critical" where putting it back loses
        half or more of what is above chance; "robust" where it loses no more than the margin; else
        "between".
    """
    if reset.distance == 0:
        return UNTRAINED
    lost = record.top1 - reset.initial
    if lost > 0 and lost >= (record.top1 - record.chance) / 2:
        return CRITICAL
    return ROBUST if lost <= margin else BETWEEN


def say_interpolation(records: Sequence[Interpolation], margin: float) -> list[str]:
    """Says between which networks the accuracy falls."""
    sentences = []
    shared = [r for r in records if r.shared_units]
    apart = [r for r in records if not r.shared_units]
    for kind, group in (
        ("of which some lower units began equal", shared),
        ("of which nothing began equal", apart),
    ):
        if not group:
            continue
        with_barrier = [r for r in group if has_barrier(r, margin)]
        drops = [r.barrier for r in group]
        deepest = max(group, key=lambda r: r.barrier)
        share = deepest.barrier_share
        of_all = "" if share is None else f" ({100 * share:.0f} % of what lies above chance there)"
        sentences.append(
            f"Of {len(group)} pair{'s' * (len(group) > 1)} {kind}, {len(with_barrier)} "
            f"{'have' if len(with_barrier) != 1 else 'has'} a barrier: top-1 falls by "
            f"{_range(drops)} below the line between the ends, most between {deepest.first} and "
            f"{deepest.second}{of_all}."
        )
    if shared and apart:
        lowest, highest = (float(np.median([r.barrier for r in g])) for g in (shared, apart))
        fits = highest - lowest > margin
        sentences.append(
            f"The median barrier is {_points(lowest)} where some units began equal and "
            f"{_points(highest)} where nothing did: {'' if fits else 'not '}the direction that "
            "Neyshabur et al. (2020) found, who saw no barrier where all units but the head began "
            "equal."
        )
    return sentences


def say_reinitialisation(records: Sequence[Reinitialisation], margin: float) -> list[str]:
    """Says which units of each network are robust, and which are critical."""
    sentences = []
    for record in records:
        by_kind: dict[str, list[str]] = {}
        for reset in record.resets:
            by_kind.setdefault(robustness(reset, record, margin), []).append(reset.unit)
        parts = [
            f"{', '.join(by_kind[kind])} {'are' if len(by_kind[kind]) > 1 else 'is'} {kind}"
            for kind in (ROBUST, BETWEEN, CRITICAL, UNTRAINED)
            if kind in by_kind
        ]
        sentences.append(f"{record.treatment} ({_percent(record.top1)}): {'; '.join(parts)}.")
    low = [r.treatment for r in records if r.top1 - r.chance < _FEW_MARGINS * margin]
    if low:
        sentences.append(
            f"{first_few(low)} {'are' if len(low) > 1 else 'is'} less than "
            f"{points(_FEW_MARGINS * margin)} above chance: there, single units say little."
        )
    return sentences


def say_classes(records: Sequence[ClassComparison]) -> list[str]:
    """Says on which classes networks are shown to differ from the base."""
    sentences = []
    for record in records:
        shown = [one for one in record.classes if one.p_value < _LEVEL]
        parts = []
        for word, sign in (("worse", -1), ("better", 1)):
            those = [one for one in shown if sign * one.difference > 0]
            those.sort(key=lambda one: -abs(one.difference))
            if those:
                listed = [f"{one.name} ({100 * one.difference:+.0f})" for one in those]
                parts.append(f"{word} on {first_few(listed)}")
        found = " and ".join(parts) if parts else "on no single class shown to differ"
        sentences.append(
            f"{record.treatment} against base{record.target}: {found}, of {len(record.classes)} "
            "classes."
        )
    return sentences


def say_probes(records: Sequence[Probes]) -> list[str]:
    """Says at which unit each task can be read off best, and what the last unit keeps."""
    sentences = []
    for record in records:
        parts = []
        for task, by_unit in sorted(record.tasks.items()):
            known = {unit: top1 for unit, top1 in by_unit.items() if top1 is not None}
            if not known:
                continue
            best = max(known, key=known.get)
            last = list(known)[-1]
            own = "its own task" if task == record.target else "the other task"
            parts.append(
                f"{own}, {task}, is read off best from {best} ({_percent(known[best])}); from the "
                f"last unit, {last}, with {_percent(known[last])}"
            )
        if parts:
            sentences.append(f"{record.treatment}: {'; '.join(parts)}.")
    return sentences


def differing_ends(records: Sequence[Interpolation | Reinitialisation]) -> list[str]:
    """Says which networks gave another accuracy here than in their row."""
    names = set()
    for record in records:
        if isinstance(record, Interpolation):
            computed = (record.top1[0], record.top1[-1])
            pairs = zip(record.names, computed, record.tested, strict=True)
        else:
            pairs = [(record.treatment, record.top1, record.tested)]
        names |= {name for name, top1, tested in pairs if abs(top1 - tested) > 1e-6}
    if not names:
        return []
    return [
        f"Here {first_few(sorted(names))} did not give the top-1 of the training, as on a machine "
        "that computes otherwise."
    ]


def _percent(top1: float) -> str:
    return f"{100 * top1:.1f} %"


def _points(value: float) -> str:
    return points(round(value, 3))


def _range(drops: Sequence[float]) -> str:
    low, high = min(drops), max(drops)
    if round(1000 * low) == round(1000 * high):
        return _points(high)
    return f"{100 * low:.1f} to {_points(high)}"
