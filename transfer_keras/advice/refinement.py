"""What to try next: the first set of n, where to look closer, and what to repeat."""

from collections.abc import Collection, Sequence

from transfer_keras.results import FROZEN, TUNED, Role, Runs, compare, mean_top1, trained_units

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
    for n in (n for n in trained_units(runs, family) if n > best):
        comparison = compare(runs, [Role(family, n)], [Role(family, best)])
        if comparison is None:
            continue
        if comparison.interval.high < 0:
            break
        last = n
    return last


def _after(ends: Sequence[int], n: int) -> int:
    return next(end for end in ends if end > n)


def _before(ends: Sequence[int], n: int) -> int:
    return next(end for end in reversed(ends) if end < n)


def leading(runs: Runs) -> Role:
    """The role with the highest mean top-1, however often it was repeated."""
    means = mean_top1(runs)
    return max(means, key=lambda role: (means[role], -role.n))
