"""What to try next, and what to take: from the runs of a study on one target."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from transfer_keras import summary
from transfer_keras.analysis import BASE, Comparison, Role, Runs, compare, units

FROZEN, TUNED = "AnB", "AnB+"
_COARSE = 4  # Places that are tried first.
_AT_ONCE = 2  # Places that a refinement adds.


def coarse(top: int, count: int = _COARSE) -> list[int]:
    """Numbers of units to begin with: spread evenly, the highest among them.

    Args:
        top: the most units that can be transferred.
        count: how many numbers, where there are as many.
    """
    count = min(count, top)
    return sorted({round(top * (place + 1) / count) for place in range(count)})


def refine(runs: Runs, top: int, tried: Collection[int]) -> list[int]:
    """Where to look closer: the middles of the gaps beside what is best, and of that in which the
    loss of freezing begins.

    Args:
        runs: of one target, all that trained so far.
        top: the most units that can be transferred.
        tried: numbers of units so far, also where nothing trained.

    Returns:
        At most two numbers of units that were not tried; none where all gaps are closed.
    """
    means = mean_top1(runs)
    ends = [0, *sorted(tried), top + 1]
    places = []
    for family in (FROZEN, TUNED):
        levels = {role.n: top1 for role, top1 in means.items() if role.family == family}
        if levels:
            best = max(levels, key=lambda n: (levels[n], n))
            begins = _last_without_loss(runs, family, best)
            gaps = [(begins, _after(ends, begins)), (_before(ends, best), best)]
            places += [*gaps, (best, _after(ends, best))]
    middles = [(low + high) // 2 for low, high in places if high - low > 1]
    return list(dict.fromkeys(n for n in middles if n and n not in tried))[:_AT_ONCE]


def _last_without_loss(runs: Runs, family: str, best: int) -> int:
    """The last n from the best on, before a loss against it is detectable."""
    last = best
    for n in (n for n in units(runs, family) if n > best):
        comparison = compare(runs, [Role(family, n)], [Role(family, best)])
        if comparison and comparison.interval.high < 0:
            break
        last = n
    return last


def _after(ends: Sequence[int], n: int) -> int:
    return next(end for end in ends if end > n)


def _before(ends: Sequence[int], n: int) -> int:
    return next(end for end in reversed(ends) if end < n)


def mean_top1(runs: Runs) -> dict[Role, float]:
    """Of each role, over targets and seeds."""
    values: dict[Role, list[float]] = {}
    for run in (run for seeds in runs.values() for run in seeds.values()):
        for role, one in run.items():
            values.setdefault(role, []).append(one.top1)
    return {role: float(np.mean(found)) for role, found in values.items()}


def best(runs: Runs) -> Role:
    """The role with the highest mean top-1 among those that were repeated most often."""
    means, counts = mean_top1(runs), _counts(runs)
    most = max(count for role, count in counts.items() if role != BASE or len(counts) == 1)
    # Every seed has a base: it was repeated often enough.
    repeated = [role for role in means if counts[role] >= most]
    return max(repeated, key=lambda role: (means[role], -role.n))


def _counts(runs: Runs) -> dict[Role, int]:
    found: dict[Role, int] = {}
    for run in (run for seeds in runs.values() for run in seeds.values()):
        for role in run:
            found[role] = found.get(role, 0) + 1
    return found


def contenders(runs: Runs, than: Role) -> list[Role]:
    """Those that are not detectably worse than a role, itself first, then by mean top-1."""
    means = mean_top1(runs)
    near = [role for role in means if role not in (than, BASE) and not _is_worse(runs, role, than)]
    return [than, *sorted(near, key=means.get, reverse=True)]


def _is_worse(runs: Runs, role: Role, than: Role) -> bool:
    comparison = compare(runs, [role], [than])
    return comparison is None or comparison.interval.high < 0


def cheapest(runs: Runs, than: Role) -> tuple[Role, Comparison] | None:
    """The frozen transfer with the most units that is not detectably worse than a role, and how it
    compares; None where there is no other than the role itself that trains less."""
    frozen = [role for role in contenders(runs, than) if role.family == FROZEN]
    role = max(frozen, key=lambda role: role.n, default=None)
    if role is None or role == than or (than.family == FROZEN and than.n >= role.n):
        return None
    return role, compare(runs, [role], [than])


def table(runs: Runs, names: Mapping[int, str]) -> str:
    """A line a place that was tried: top-1 frozen and fine-tuned, and what that is against training
    from scratch, in points."""
    means = mean_top1(runs)
    lines = [("n", "up to unit", "frozen", "against scratch", "fine-tuned", "against scratch")]
    scratch = f"{means[BASE]:.3f}" if BASE in means else "did not train"
    lines.append(("0", "(from scratch)", scratch, "", "", ""))
    for n in sorted({role.n for role in means if role.n}):
        cells = []
        for role in (Role(FROZEN, n), Role(TUNED, n)):
            there = role in means
            cells.append(f"{means[role]:.3f}" if there else "")
            cells.append(_short(compare(runs, [role], [BASE])) if there else "")
        lines.append((str(n), names[n], *cells))
    return summary.aligned(lines)


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
    seeds = _counts(runs)[taken]
    reached = f"top-1 {means[taken]:.3f}" + (f", mean of {seeds} seeds" if seeds > 1 else "")
    lower = f"Take the lower {taken.n} units of {donor}{_up_to(names, taken)}"
    what = {
        "base": "Train from scratch: no transfer that was tried does better",
        FROZEN: f"{lower} and freeze them",
        TUNED: f"{lower} and fine-tune them",
    }
    lines = [f"{what[taken.family]}: {reached}."]
    if taken != BASE:
        lines.append(f"Against training from scratch: {_points(compare(runs, [taken], [BASE]))}.")
        other = Role(TUNED if taken.family == FROZEN else FROZEN, taken.n)
        if other in means:
            verb = "Fine-tuned instead of frozen" if other.family == TUNED else "Frozen instead"
            lines.append(f"{verb}, at the same n: {_points(compare(runs, [other], [taken]))}.")
    if found := cheapest(runs, taken):
        role, comparison = found
        lines.append(
            f"Cheapest that is not detectably worse: freeze the lower {role.n} units"
            f"{_up_to(names, role)}, {_points(comparison)}."
        )
    tried = sorted({role.n for role in means if role.n})
    lines.append(f"Tried: n = {', '.join(map(str, tried))}, frozen and fine-tuned.")
    return "\n".join(lines)


def _up_to(names: Mapping[int, str], role: Role) -> str:
    return f" (up to {names[role.n]})" if role.n in names else ""


def _points(comparison: Comparison | None) -> str:
    if comparison is None:
        return "not known"
    estimate, low, high = (100 * value for value in comparison.interval)
    return f"{estimate:+.1f} points (95 % {low:+.1f} to {high:+.1f}, over {comparison.over})"
