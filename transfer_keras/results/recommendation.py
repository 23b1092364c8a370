"""What to try next, and what to take: from the runs of a study on one target."""

from collections.abc import Mapping

import numpy as np

from transfer_keras.config import align_columns
from transfer_keras.results.comparison import BASE, Comparison, Role, Runs, compare, units

FROZEN, TUNED = "AnB", "AnB+"
_HOW = {FROZEN: "frozen", TUNED: "fine-tuned"}
_TOLERATED = 0.05  # Of top-1: what freezing may cost to be called cheap.


def mean_top1(runs: Runs) -> dict[Role, float]:
    """Of training from scratch and of each transfer, over targets and seeds."""
    return {role: float(np.mean(found)) for role, found in _top1(runs).items()}


def _top1(runs: Runs) -> dict[Role, list[float]]:
    values: dict[Role, list[float]] = {}
    for run in (run for seeds in runs.values() for run in seeds.values()):
        for role, one in run.items():
            if role.family in (BASE.family, FROZEN, TUNED):  # No selffers: they need a base first.
                values.setdefault(role, []).append(one.top1)
    return values


def best(runs: Runs) -> Role:
    """The role with the highest mean top-1, of those that were repeated more than half as often as
    the one that was most: not one that was lucky once."""
    means, counts = mean_top1(runs), _counts(runs)
    most = max(count for role, count in counts.items() if role != BASE or len(counts) == 1)
    repeated = [role for role in means if 2 * counts[role] > most]
    return max(repeated, key=lambda role: (means[role], -role.n))


def _counts(runs: Runs) -> dict[Role, int]:
    return {role: len(found) for role, found in _top1(runs).items()}


def contenders(runs: Runs, than: Role) -> list[Role]:
    """Those that are not detectably worse than a role, itself first, then by mean top-1."""
    means = mean_top1(runs)
    near = [role for role in means if role not in (than, BASE) and not _is_worse(runs, role, than)]
    return [than, *sorted(near, key=means.get, reverse=True)]


def _is_worse(runs: Runs, role: Role, than: Role) -> bool:
    comparison = compare(runs, [role], [than])
    return comparison is None or comparison.interval.high < 0


def cheapest(runs: Runs, than: Role) -> tuple[Role, Comparison] | None:
    """The frozen transfer with the most units that is not detectably worse than a role, and loses
    no more than 5 points against it as far as is known, and how it compares; None where there is no
    other than the role itself that trains less."""
    found = None
    for role in sorted(contenders(runs, than), key=lambda role: role.n):
        if role.family == FROZEN and (than.family != FROZEN or role.n > than.n):
            comparison = compare(runs, [role], [than], confidence=_simultaneous(runs))
            if comparison and comparison.interval.estimate >= -_TOLERATED:
                found = role, comparison
    return found


def _simultaneous(runs: Runs) -> float:
    """The level at which intervals of all transfers hold at once with 95 %, after Bonferroni: what
    is spoken of was chosen by these same results."""
    return 1 - 0.05 / max(1, len(mean_top1(runs).keys() - {BASE}))


def table(runs: Runs, names: Mapping[int, str]) -> str:
    """A line a place that was tried: top-1 frozen and fine-tuned, the mean of so many seeds where
    there are several, and what that is against training from scratch with the same seeds, in points
    with 95 % intervals, each by itself."""
    means, counts = mean_top1(runs), _counts(runs)

    def level(role: Role) -> str:
        seeds = f" of {counts[role]}" if max(counts.values()) > 1 else ""
        return f"{means[role]:.3f}{seeds}"

    lines = [("n", "up to unit", "frozen", "against scratch", "fine-tuned", "against scratch")]
    scratch = level(BASE) if BASE in means else "did not train"
    lines.append(("0", "(from scratch)", scratch, "", "", ""))
    for n in sorted({role.n for role in means if role.n}):
        cells = []
        for role in (Role(FROZEN, n), Role(TUNED, n)):
            there = role in means
            cells.append(level(role) if there else "")
            cells.append(_short(compare(runs, [role], [BASE])) if there else "")
        lines.append((str(n), names[n], *cells))
    return align_columns(lines)


def _short(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    estimate, low, high = (100 * value for value in comparison.interval)
    return f"{estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


def words(runs: Runs, names: Mapping[int, str], donor: str) -> str:
    """The recommendation.

    Args:
        runs: of one target.
        names: n -> the unit that is the last of the lower n; empty: not known.
        donor: the network's name.
    """
    taken, means = best(runs), mean_top1(runs)
    level, transfers = _simultaneous(runs), means.keys() - {BASE}
    seeds = _counts(runs)[taken]
    reached = f"top-1 {means[taken]:.3f}" + (f", mean of {seeds} seeds" if seeds > 1 else "")
    lower = f"Take {_lower(taken)} of {donor}{_up_to(names, taken)}"
    what = {
        BASE.family: "Train from scratch: no transfer that was tried does better",
        FROZEN: f"{lower}, frozen",
        TUNED: f"{lower}, fine-tuned",
    }
    lines = [f"{what[taken.family]}: {reached}."]
    if taken != BASE:
        comparison = compare(runs, [taken], [BASE], confidence=level)
        near = comparison is not None and comparison.interval.low <= 0
        no_worse = ", which is not detectably worse" * near
        lines.append(f"Against training from scratch{no_worse}: {_points(comparison)}.")
        other = Role(TUNED if taken.family == FROZEN else FROZEN, taken.n)
        if other in means:
            verb = "Fine-tuned instead of frozen" if other.family == TUNED else "Frozen instead"
            comparison = compare(runs, [other], [taken], confidence=level)
            lines.append(f"{verb}, at the same n: {_points(comparison)}.")
    elif transfers:
        second = max(transfers, key=means.get)
        how = f"{_lower(second)}{_up_to(names, second)}, {_HOW[second.family]}"
        comparison = compare(runs, [second], [BASE], confidence=level)
        lines.append(f"The best transfer, {how}: {_points(comparison)} against it.")
    if found := cheapest(runs, taken):
        role, comparison = found
        lines.append(
            f"Cheapest that is not detectably worse: freeze {_lower(role)}"
            f"{_up_to(names, role)}, {_points(comparison)}."
        )
    if len(transfers) > 1:
        again = "" if seeds > 1 else " Another seed moves them too: give more time."
        lines.append(
            f"It is the best of {len(means)} on these pictures, so its top-1 is optimistic; the "
            f"intervals above hold for all {len(transfers)} transfers at once.{again}"
        )
    for family, how in _HOW.items():
        if tried := units(runs, family):
            lines.append(f"Trained {how}: n = {', '.join(map(str, tried))}.")
    return "\n".join(lines)


def _lower(role: Role) -> str:
    return f"the lower {role.n} unit{'s' * (role.n > 1)}"


def _up_to(names: Mapping[int, str], role: Role) -> str:
    return f" (up to {names[role.n]})" if role.n in names else ""


def _points(comparison: Comparison | None) -> str:
    if comparison is None:
        return "not known"
    estimate, low, high = (100 * value for value in comparison.interval)
    return f"{estimate:+.1f} points (95 % {low:+.1f} to {high:+.1f}, over {comparison.over})"
