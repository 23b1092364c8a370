"""Recommendations to freeze or to fine-tune, as text, from the results of a study.

`recommend` is for splits of one dataset; `recommend_for_donor` for the units of a network that was
trained elsewhere. `margin.verdict` is the one rule by which both decide what freezing costs.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from transfer_keras.config import align_columns
from transfer_keras.results.comparison import (
    BASE,
    FROZEN_TRANSFER,
    TUNED_TRANSFER,
    Comparison,
    Role,
    Runs,
    compare,
    compare_families,
)
from transfer_keras.results.margin import (
    EQUIVALENCE,
    FINE,
    MARGIN,
    UNDECIDED,
    WORSE,
    points,
    verdict,
)
from transfer_keras.results.planning import plan_gap, what_decides

_MODES = {FROZEN_TRANSFER: "frozen", TUNED_TRANSFER: "fine-tuned"}


def mean_top1(runs: Runs) -> dict[Role, float]:
    """Gives the mean top-1 of training from scratch and of each transfer, over targets and seeds.

    Selffers and random units are left out: they are no choice of someone who has a donor.
    """
    return {role: float(np.mean(values)) for role, values in _top1(runs).items()}


def _top1(runs: Runs) -> dict[Role, list[float]]:
    values: dict[Role, list[float]] = {}
    for _, _, role, result in runs.networks():
        if role.family in (BASE.family, FROZEN_TRANSFER, TUNED_TRANSFER):
            values.setdefault(role, []).append(result.top1)
    return values


def _counts(runs: Runs) -> dict[Role, int]:
    return {role: len(values) for role, values in _top1(runs).items()}


def best_role(runs: Runs) -> Role:
    """Finds the role with the highest mean top-1, of those that were repeated often enough.

    A role counts if it was repeated more than half as often as the one that was repeated most, so
    that one lucky network does not win.
    """
    means, counts = mean_top1(runs), _counts(runs)
    most = max(count for role, count in counts.items() if role != BASE or len(counts) == 1)
    repeated = [role for role in means if 2 * counts[role] > most]
    return max(repeated, key=lambda role: (means[role], -role.n))


def contenders(runs: Runs, than: Role) -> list[Role]:
    """Lists the transfers that are not detectably worse than a role.

    Returns:
        The role itself, then the others by mean top-1, the best first.
    """
    means = mean_top1(runs)
    near = [role for role in means if role not in (than, BASE) and not _is_worse(runs, role, than)]
    return [than, *sorted(near, key=means.get, reverse=True)]


def _is_worse(runs: Runs, role: Role, than: Role) -> bool:
    comparison = compare(runs, [role], [than])
    return comparison is None or comparison.interval.high < 0


def recommend(runs: Runs, failed: Sequence[Role] = (), *, margin: float = MARGIN) -> str:
    """Recommends how many units to freeze in splits of one dataset.

    Freezing is advised up to the last n below which it is shown that no more than a margin is lost
    from the base: at each n that was tried up to it, `verdict` of AnB - base is fine, and every AnB
    trained.

    Args:
        runs: of one kind of split.
        failed: roles of which a network did not train.
        margin: the loss that counts as none, in fractions of the test images.

    Example:
        >>> import textwrap
        >>> import numpy as np
        >>> from transfer_keras.results import (
        ...     BASE, FROZEN_TRANSFER, Role, NetworkResult, Runs, TargetTask, recommend
        ... )
        >>> by_role = {
        ...     BASE: NetworkResult(0.50, np.arange(400) < 200),
        ...     Role(FROZEN_TRANSFER, 1): NetworkResult(0.51, np.arange(400) < 204),
        ...     Role(FROZEN_TRANSFER, 2): NetworkResult(0.40, np.arange(400) < 160),
        ... }
        >>> text = recommend(Runs({TargetTask("0", "B"): {0: by_role}}))
        >>> for sentence in text.replace(". ", ".\\n").splitlines():
        ...     print(textwrap.fill(sentence, 80, subsequent_indent="  "))
        Freeze up to unit 1: no more than 2 points are lost (+1.0 points, 90 % -0.0 to
          +2.0, over images).
        Freezing n = 2: more than 2 points are lost (-10.0 points, 90 % -12.5 to -7.4,
          over images).
        Tried: n = 1, 2.
    """
    comparisons = compare_families(runs, FROZEN_TRANSFER, BASE.family)
    if not comparisons:
        return "No advice yet: frozen transfer (AnB) and its base are needed."
    frozen_failed = {role.n for role in failed if role.family == FROZEN_TRANSFER}
    tried = sorted({*comparisons, *frozen_failed})
    last_fine, sentences = 0, []
    for n in tried:
        if n in frozen_failed:
            reason = f"freezing n = {n} does not always train"
        elif verdict(comparisons[n], margin) == FINE:
            last_fine = n
            continue
        else:
            reason = f"freezing n = {n}: {_describe(comparisons[n], margin)}"
            if verdict(comparisons[n], margin) == UNDECIDED:
                plan = plan_gap(runs, FROZEN_TRANSFER, BASE.family, margin)
                reason += f"; {what_decides(plan.spread, margin)}"
        sentences.append(f"{reason}.")
        sentences += _recommend_fine_tuning(runs, n, margin)
        break
    if last_fine:
        change = _describe(comparisons[last_fine], margin)
        sentences.insert(0, f"Freeze up to unit {last_fine}: {change}.")
    sentences.append(f"Tried: n = {', '.join(map(str, tried))}.")
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _recommend_fine_tuning(runs: Runs, n: int, margin: float) -> list[str]:
    """Says what becomes of n units that are fine-tuned, where they were tried."""
    tuned = compare_families(runs, TUNED_TRANSFER, BASE.family).get(n)
    if tuned is None:
        return []
    decided = verdict(tuned, margin)
    advice = "train from scratch instead" if decided == WORSE else f"from unit {n} on, fine-tune"
    advice = "Fine-tuned" if decided == UNDECIDED else f"{advice}: fine-tuned"
    return [f"{advice}, {_describe(tuned, margin)}."]


def _describe(comparison: Comparison, margin: float) -> str:
    """Says in words what a comparison shows of a margin."""
    change = {
        FINE: f"no more than {points(margin)} are lost",
        WORSE: f"more than {points(margin)} are lost",
        UNDECIDED: f"whether more than {points(margin)} are lost is not decided",
    }[verdict(comparison, margin)]
    if comparison.at(EQUIVALENCE).low > 0:
        change = "it gains"
    return f"{change} ({_bounds(comparison, EQUIVALENCE)})"


def _bounds(comparison: Comparison, confidence: float) -> str:
    """Writes a difference and its interval in points."""
    estimate, low, high = (100 * value for value in comparison.at(confidence))
    return (
        f"{estimate:+.1f} points, {100 * confidence:.0f} % {low:+.1f} to {high:+.1f}, "
        f"over {comparison.over}"
    )


def table_for_donor(runs: Runs, unit_names: Mapping[int, str]) -> str:
    """Draws a table of the results at every n that was tried.

    It shows top-1 frozen and fine-tuned, with the number of seeds where there are several, and the
    difference from training from scratch with the same seeds, in points with its own 95 %
    interval.

    Args:
        runs: of one target.
        unit_names: n -> name of the last of the lower n units.

    Example:
        >>> import numpy as np
        >>> from transfer_keras.results import (
        ...     BASE, FROZEN_TRANSFER, TUNED_TRANSFER, NetworkResult, Role, Runs, TargetTask,
        ...     table_for_donor,
        ... )
        >>> by_role = {
        ...     BASE: NetworkResult(0.50, np.arange(400) < 200),
        ...     Role(FROZEN_TRANSFER, 3): NetworkResult(0.74, np.arange(400) < 296),
        ...     Role(TUNED_TRANSFER, 3): NetworkResult(0.75, np.arange(400) < 300),
        ... }
        >>> runs = Runs({TargetTask("donor", "B"): {0: by_role}})
        >>> print(table_for_donor(runs, {3: "conv3"}))
        n  up to unit      frozen  against scratch       fine-tuned  against scratch
        ---------------------------------------------------------------------------------
        0  (from scratch)  0.500
        3  conv3           0.740   +24.0 [+19.7, +28.1]  0.750       +25.0 [+20.6, +29.2]
    """
    means, counts = mean_top1(runs), _counts(runs)

    def level(role: Role) -> str:
        seeds = f" of {counts[role]}" if max(counts.values()) > 1 else ""
        return f"{means[role]:.3f}{seeds}"

    lines = [("n", "up to unit", "frozen", "against scratch", "fine-tuned", "against scratch")]
    scratch = level(BASE) if BASE in means else "not trained"
    lines.append(("0", "(from scratch)", scratch, "", "", ""))
    for n in sorted({role.n for role in means if role.n}):
        cells = []
        for role in (Role(FROZEN_TRANSFER, n), Role(TUNED_TRANSFER, n)):
            trained = role in means
            cells.append(level(role) if trained else "")
            cells.append(_points_cell(compare(runs, [role], [BASE])) if trained else "")
        lines.append((str(n), unit_names[n], *cells))
    return align_columns(lines)


def _points_cell(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    estimate, low, high = (100 * value for value in comparison.interval)
    return f"{estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


def recommend_for_donor(
    runs: Runs, unit_names: Mapping[int, str], donor_name: str, *, margin: float = MARGIN
) -> str:
    """Recommends what to take of a donor, and compares it with the other choices.

    Args:
        runs: of one target.
        unit_names: n -> name of the last of the lower n units; empty: not known.
        donor_name: name of the network that the units come from.
        margin: the loss that counts as none, in fractions of the test images.

    Returns:
        Lines of text.

    Example:
        >>> import textwrap
        >>> import numpy as np
        >>> from transfer_keras.results import (
        ...     BASE, FROZEN_TRANSFER, TUNED_TRANSFER, NetworkResult, Role, Runs, TargetTask,
        ...     recommend_for_donor,
        ... )
        >>> by_role = {
        ...     BASE: NetworkResult(0.50, np.arange(400) < 200),
        ...     Role(FROZEN_TRANSFER, 3): NetworkResult(0.74, np.arange(400) < 296),
        ...     Role(TUNED_TRANSFER, 3): NetworkResult(0.75, np.arange(400) < 300),
        ... }
        >>> runs = Runs({TargetTask("donor", "B"): {0: by_role}})
        >>> for line in recommend_for_donor(runs, {3: "conv3"}, "VGG16").splitlines():
        ...     print(textwrap.fill(line, 80, subsequent_indent="  "))
        Take the lower 3 units of VGG16 (up to conv3), fine-tuned: top-1 0.750.
        Against training from scratch: +25.0 points (95 % +20.0 to +29.8, over images).
        Frozen instead, at the same n: -1.0 points (95 % -2.4 to +0.4, over images).
        It is the best of 3 on these pictures, so its top-1 is optimistic; the intervals
          above hold for all 2 transfers at once. Another seed moves them too: give more
          time.
        Trained frozen: n = 3.
        Trained fine-tuned: n = 3.
    """
    taken = best_role(runs)
    compared = _against_alternatives(runs, taken, unit_names)
    compared += _cheapest_line(runs, taken, unit_names, margin)
    lines = [
        _what_to_take(runs, taken, unit_names, donor_name),
        *compared,
        *_caution(runs, taken, with_intervals=bool(compared)),
    ]
    for family, mode in _MODES.items():
        if tried := runs.trained_n(family):
            lines.append(f"Trained {mode}: n = {', '.join(map(str, tried))}.")
    return "\n".join(lines)


def _what_to_take(runs: Runs, taken: Role, unit_names: Mapping[int, str], donor_name: str) -> str:
    seeds = _counts(runs)[taken]
    reached = f"top-1 {mean_top1(runs)[taken]:.3f}" + (
        f", mean of {seeds} seeds" if seeds > 1 else ""
    )
    if taken == BASE:
        return f"Train from scratch: no transfer that was tried does better: {reached}."
    lower = f"Take {_lower_units(taken)} of {donor_name}{_up_to(unit_names, taken)}"
    return f"{lower}, {_MODES[taken.family]}: {reached}."


def _against_alternatives(runs: Runs, taken: Role, unit_names: Mapping[int, str]) -> list[str]:
    """Compares the role that is taken with scratch and with the other mode, or with a transfer."""
    means, level = mean_top1(runs), _simultaneous_level(runs)
    if taken == BASE:
        if len(means) == 1:
            return []
        second = max(means.keys() - {BASE}, key=means.get)
        transfer = f"{_lower_units(second)}{_up_to(unit_names, second)}, {_MODES[second.family]}"
        comparison = compare(runs, [second], [BASE])
        return [f"The best transfer, {transfer}: {_points(comparison, level)} against it."]
    lines = []
    if BASE in means:
        comparison = compare(runs, [taken], [BASE])
        gain_not_shown = comparison is not None and comparison.at(level).low <= 0
        not_decided = ", a gain that is not decided" * gain_not_shown
        lines.append(f"Against training from scratch{not_decided}: {_points(comparison, level)}.")
    other = Role(TUNED_TRANSFER if taken.family == FROZEN_TRANSFER else FROZEN_TRANSFER, taken.n)
    if other in means:
        tuned = other.family == TUNED_TRANSFER
        verb = "Fine-tuned instead of frozen" if tuned else "Frozen instead"
        comparison = compare(runs, [other], [taken])
        lines.append(f"{verb}, at the same n: {_points(comparison, level)}.")
    return lines


def _cheapest_line(
    runs: Runs, taken: Role, unit_names: Mapping[int, str], margin: float
) -> list[str]:
    if not (cheapest := cheapest_frozen(runs, taken, margin)):
        return []
    role, comparison = cheapest
    shown = _points(comparison, _simultaneous_level(runs, EQUIVALENCE), EQUIVALENCE)
    return [
        f"Cheapest that loses no more than {points(margin)}: freeze {_lower_units(role)}"
        f"{_up_to(unit_names, role)}, {shown}."
    ]


def cheapest_frozen(
    runs: Runs, than: Role, margin: float = MARGIN
) -> tuple[Role, Comparison] | None:
    """Finds the frozen transfer with the most units that loses no more than a margin.

    The interval that is held against the margin holds for all transfers at once.

    Returns:
        The role, and its comparison with the role `than`; None where there is none that trains
        less than that.
    """
    level, cheapest = _simultaneous_level(runs, EQUIVALENCE), None
    for role in sorted(mean_top1(runs), key=lambda role: role.n):
        if role.family == FROZEN_TRANSFER and (than.family != FROZEN_TRANSFER or role.n > than.n):
            comparison = compare(runs, [role], [than])
            if comparison and verdict(comparison, margin, confidence=level) == FINE:
                cheapest = role, comparison
    return cheapest


def _caution(runs: Runs, taken: Role, *, with_intervals: bool) -> list[str]:
    """Warns that a best of several is optimistic."""
    means = mean_top1(runs)
    transfers = means.keys() - {BASE}
    if len(transfers) < 2:
        return []
    once = _counts(runs)[taken] == 1
    again = " Another seed moves them too: give more time." if once else ""
    hold = f"; the intervals above hold for all {len(transfers)} transfers at once"
    return [
        f"It is the best of {len(means)} on these pictures, so its top-1 is optimistic"
        f"{hold * with_intervals}.{again}"
    ]


def _simultaneous_level(runs: Runs, confidence: float = 0.95) -> float:
    """Gives the level at which the intervals of all transfers hold at once (Bonferroni).

    The roles that the recommendation names were chosen by these same results.
    """
    return 1 - (1 - confidence) / max(1, len(mean_top1(runs).keys() - {BASE}))


def _lower_units(role: Role) -> str:
    return f"the lower {role.n} unit{'s' * (role.n > 1)}"


def _up_to(unit_names: Mapping[int, str], role: Role) -> str:
    return f" (up to {unit_names[role.n]})" if role.n in unit_names else ""


def _points(comparison: Comparison | None, level: float, together: float = 0.95) -> str:
    """Writes a difference and its interval.

    Args:
        comparison: None: not known.
        level: of the interval.
        together: the level at which it holds with those of all other transfers.
    """
    if comparison is None:
        return "not known"
    estimate, low, high = (100 * value for value in comparison.at(level))
    return (
        f"{estimate:+.1f} points ({100 * together:.0f} % {low:+.1f} to {high:+.1f}, over "
        f"{comparison.over})"
    )
