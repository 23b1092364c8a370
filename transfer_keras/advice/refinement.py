"""The next step of a search: the first set of n, where to refine it, what to repeat."""

from collections.abc import Collection, Sequence

from transfer_keras.results import (
    FROZEN_TRANSFER,
    TUNED_TRANSFER,
    Role,
    Runs,
    compare,
    mean_top1,
)

_FIRST = 5  # Cut points that are tried first.
_AT_ONCE = 2  # Cut points that a refinement adds.


def spread_evenly(top: int, count: int = _FIRST) -> list[int]:
    """Spreads the numbers of units to begin with, the highest among them.

    Args:
        top: the most units that can be transferred.
        count: how many numbers, where there are as many.
    """
    count = min(count, top)
    return sorted({round(top * (place + 1) / count) for place in range(count)})


def refine(runs: Runs, top: int, tried: Collection[int]) -> list[int]:
    """Finds cut points that are worth a try.

    They are the middles of the gaps beside what is best, and of that in which the loss of freezing
    begins.

    Args:
        runs: of one target, all that trained so far.
        top: the most units that can be transferred.
        tried: numbers of units so far, also where nothing trained.

    Returns:
        At most two numbers of units that were not tried; none where all gaps are closed.
    """
    means = mean_top1(runs)
    ends = [0, *sorted(tried), top + 1]
    gaps = []
    for family in (FROZEN_TRANSFER, TUNED_TRANSFER):
        levels = {role.n: top1 for role, top1 in means.items() if role.family == family}
        if levels:
            best = max(levels, key=lambda n: (levels[n], n))
            begins = _last_without_loss(runs, family, best)
            gaps.append((begins, _next_above(ends, begins)))
            gaps.append((_next_below(ends, best), best))
            gaps.append((best, _next_above(ends, best)))
    middles = [(low + high) // 2 for low, high in gaps if high - low > 1]
    return list(dict.fromkeys(n for n in middles if n and n not in tried))[:_AT_ONCE]


def _last_without_loss(runs: Runs, family: str, best: int) -> int:
    """Finds the last n from the best on, before a loss against it is detectable."""
    last = best
    for n in (n for n in runs.trained_n(family) if n > best):
        comparison = compare(runs, [Role(family, n)], [Role(family, best)])
        if comparison is None:
            continue
        if comparison.interval.high < 0:
            break
        last = n
    return last


def _next_above(ends: Sequence[int], n: int) -> int:
    return next(end for end in ends if end > n)


def _next_below(ends: Sequence[int], n: int) -> int:
    return next(end for end in reversed(ends) if end < n)


def leading_role(runs: Runs) -> Role:
    """Finds the role with the highest mean top-1, however often it was repeated."""
    means = mean_top1(runs)
    return max(means, key=lambda role: (means[role], role.n))
