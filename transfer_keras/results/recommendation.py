"""Recommendations to freeze or to fine-tune, as text, from the results of a study.

`recommend` is for splits of one dataset; `recommend_for_donor` for the units of a network that was
trained elsewhere. `verdict` is the one rule by which both decide that freezing costs nothing.
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
)

NO_LOSS, LOSES, UNDECIDED = "no loss detectable", "loses", "undecided"
# In fractions of the test images: an interval that reaches below this decides nothing.
_LARGEST_LOSS = -0.10
_MODES = {FROZEN_TRANSFER: "frozen", TUNED_TRANSFER: "fine-tuned"}


def verdict(comparison: Comparison) -> str:
    """Decides whether the first of two roles that are compared costs anything.

    Returns:
        `LOSES` where the interval lies below 0; `UNDECIDED` where it reaches below -10 points;
        else `NO_LOSS`.
    """
    if comparison.interval.high < 0:
        return LOSES
    return UNDECIDED if comparison.interval.low < _LARGEST_LOSS else NO_LOSS


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


def recommend(runs: Runs, failed: Sequence[Role] = ()) -> str:
    """Recommends how many units to freeze in splits of one dataset.

    Freezing is advised up to the last n below which no loss from the base is detectable: at each
    n that was tried up to it, `verdict` of AnB - base finds no loss, and every AnB trained.

    Args:
        runs: of one kind of split.
        failed: roles of which a network did not train.

    Example:
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
        ...     print(sentence)
        Freeze up to unit 1: no loss is detectable (+1.0 points, 95 % -0.2 to +2.2, over images).
        Freezing n = 2 loses 10.0 points, 95 % 6.9 to 13.0, over images.
        Tried: n = 1, 2.
    """
    comparisons = _against_base(runs)
    if not comparisons:
        return "No advice yet: frozen transfer (AnB) and its base are needed."
    frozen_failed = {role.n for role in failed if role.family == FROZEN_TRANSFER}
    tried = sorted({*comparisons, *frozen_failed})
    last_without_loss, sentences = 0, []
    for n in tried:
        if reason := _why_not_freeze(n, comparisons.get(n), failed=n in frozen_failed):
            sentences.append(_recommend_instead(runs, n, reason, compared=n in comparisons))
            break
        last_without_loss = n
    if last_without_loss:
        change = _describe_change(comparisons[last_without_loss])
        sentences.insert(0, f"Freeze up to unit {last_without_loss}: {change}.")
    sentences.append(f"Tried: n = {', '.join(map(str, tried))}.")
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _against_base(runs: Runs) -> dict[int, Comparison]:
    comparisons = {
        n: compare(runs, [Role(FROZEN_TRANSFER, n)], [BASE])
        for n in runs.trained_n(FROZEN_TRANSFER)
    }
    return {n: comparison for n, comparison in comparisons.items() if comparison}


def _why_not_freeze(n: int, comparison: Comparison | None, *, failed: bool) -> str | None:
    """Explains why n units should not be frozen; None where no loss is detectable."""
    if failed:
        return f"freezing n = {n} does not always train"
    decided = verdict(comparison)
    if decided == LOSES:
        return f"freezing n = {n} loses {_bounds(comparison, -1)}"
    if decided == UNDECIDED:
        return f"what freezing n = {n} costs is not decided, {_bounds(comparison)}"
    return None


def _recommend_instead(runs: Runs, n: int, reason: str, *, compared: bool) -> str:
    """Recommends what to do in place of freezing n units, where anything is known."""
    tuned = compare(runs, [Role(TUNED_TRANSFER, n)], [BASE])
    gain = compare(runs, [Role(TUNED_TRANSFER, n)], [Role(FROZEN_TRANSFER, n)])
    if tuned and verdict(tuned) == LOSES:
        return f"{reason}; fine-tuned, {_describe_change(tuned)}: train from scratch instead."
    if tuned and (not compared or (gain and gain.interval.low > 0)):
        return f"From unit {n} on, fine-tune: {reason}; fine-tuned, {_describe_change(tuned)}."
    return f"{reason}."


def _describe_change(comparison: Comparison) -> str:
    _, low, high = comparison.interval
    change = "it gains" if low > 0 else "it loses" if high < 0 else "no loss is detectable"
    return f"{change} ({_bounds(comparison)})"


def _bounds(comparison: Comparison, sign: int = 1) -> str:
    """Writes an interval in points; with sign -1 as a loss."""
    estimate, *bounds = (sign * 100 * value for value in comparison.interval)
    values = [estimate, *sorted(bounds)]
    shown = [f"{value:+.1f}" if sign > 0 else f"{value:.1f}" for value in values]
    return f"{shown[0]} points, 95 % {shown[1]} to {shown[2]}, over {comparison.over}"


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


def recommend_for_donor(runs: Runs, unit_names: Mapping[int, str], donor_name: str) -> str:
    """Recommends what to take of a donor, and compares it with the other choices.

    Args:
        runs: of one target.
        unit_names: n -> name of the last of the lower n units; empty: not known.
        donor_name: name of the network that the units come from.

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
        Cheapest that is not detectably worse: freeze the lower 3 units (up to conv3),
          -1.0 points (95 % -2.4 to +0.4, over images).
        It is the best of 3 on these pictures, so its top-1 is optimistic; the intervals
          above hold for all 2 transfers at once. Another seed moves them too: give more
          time.
        Trained frozen: n = 3.
        Trained fine-tuned: n = 3.
    """
    taken = best_role(runs)
    compared = _against_alternatives(runs, taken, unit_names)
    compared += _cheapest_line(runs, taken, unit_names)
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
        comparison = compare(runs, [second], [BASE], confidence=level)
        return [f"The best transfer, {transfer}: {_points(comparison)} against it."]
    lines = []
    if BASE in means:
        comparison = compare(runs, [taken], [BASE], confidence=level)
        gain_not_shown = comparison is not None and comparison.interval.low <= 0
        no_worse = ", which is not detectably worse" * gain_not_shown
        lines.append(f"Against training from scratch{no_worse}: {_points(comparison)}.")
    other = Role(TUNED_TRANSFER if taken.family == FROZEN_TRANSFER else FROZEN_TRANSFER, taken.n)
    if other in means:
        tuned = other.family == TUNED_TRANSFER
        verb = "Fine-tuned instead of frozen" if tuned else "Frozen instead"
        comparison = compare(runs, [other], [taken], confidence=level)
        lines.append(f"{verb}, at the same n: {_points(comparison)}.")
    return lines


def _cheapest_line(runs: Runs, taken: Role, unit_names: Mapping[int, str]) -> list[str]:
    if not (cheapest := cheapest_frozen(runs, taken)):
        return []
    role, comparison = cheapest
    return [
        f"Cheapest that is not detectably worse: freeze {_lower_units(role)}"
        f"{_up_to(unit_names, role)}, {_points(comparison)}."
    ]


def cheapest_frozen(runs: Runs, than: Role) -> tuple[Role, Comparison] | None:
    """Finds the frozen transfer with the most units of which `verdict` finds no loss.

    Only contenders are considered, and the interval holds for all transfers at once.

    Returns:
        The role, and its comparison with the role `than`; None where there is none that trains
        less than that.
    """
    cheapest = None
    for role in sorted(contenders(runs, than), key=lambda role: role.n):
        if role.family == FROZEN_TRANSFER and (than.family != FROZEN_TRANSFER or role.n > than.n):
            comparison = compare(runs, [role], [than], confidence=_simultaneous_level(runs))
            if comparison and verdict(comparison) == NO_LOSS:
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


def _simultaneous_level(runs: Runs) -> float:
    """Gives the level at which the intervals of all transfers hold at once with 95 % (Bonferroni).

    The roles that the recommendation names were chosen by these same results.
    """
    return 1 - 0.05 / max(1, len(mean_top1(runs).keys() - {BASE}))


def _lower_units(role: Role) -> str:
    return f"the lower {role.n} unit{'s' * (role.n > 1)}"


def _up_to(unit_names: Mapping[int, str], role: Role) -> str:
    return f" (up to {unit_names[role.n]})" if role.n in unit_names else ""


def _points(comparison: Comparison | None) -> str:
    if comparison is None:
        return "not known"
    estimate, low, high = (100 * value for value in comparison.interval)
    return f"{estimate:+.1f} points (95 % {low:+.1f} to {high:+.1f}, over {comparison.over})"
