"""Recommendations for the units of a network that was trained elsewhere, as text.

What is taken, how far it may be from the best, and what would do nearly as well for less, is read
off what all networks together say of what each truly reaches (`hierarchy`). That something is not
worse is said only where it is probable that it loses no more than a margin.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from transfer_keras.config import align_columns, duration
from transfer_keras.results.comparison import Contrast, NetworkResult, Runs
from transfer_keras.results.hierarchy import Posterior, infer_levels
from transfer_keras.results.margin import MARGIN, points
from transfer_keras.results.planning import measure_spread, what_decides
from transfer_keras.results.roles import (
    BASE,
    FROZEN_TRANSFER,
    LINEAR_TRANSFER,
    TUNED_TRANSFER,
    Role,
)
from transfer_keras.results.selection import DIGITS

_SURE = 0.9  # Probability with which something is said to lose no more than a margin.
_GAIN = 0.95  # Of the interval of the gain over scratch, which is that of the best of several.
_IN_QUESTION = 0.1  # From this probability of being better on, something is in question.
_MODES = {
    FROZEN_TRANSFER: "frozen",
    TUNED_TRANSFER: "fine-tuned",
    LINEAR_TRANSFER: "with a linear classifier",
}
_DOING = {
    FROZEN_TRANSFER: "freezing",
    TUNED_TRANSFER: "fine-tuning",
    LINEAR_TRANSFER: "a linear classifier on",
}


class Price(NamedTuple):
    """What one training costs.

    Attributes:
        seconds: it takes.
        bytes: of memory that it holds.
        weights: that are trained.
    """

    seconds: float
    bytes: float
    weights: int


def mean_top1(runs: Runs) -> dict[Role, float]:
    """Gives the mean top-1, or `Runs.measure`, of training from scratch and of each transfer.

    Selffers and random units are left out: they are no choice of someone who has a donor.
    """
    return {
        role: float(np.mean([result.top1 for result in results]))
        for role, results in _results(runs).items()
    }


def _results(runs: Runs) -> dict[Role, list[NetworkResult]]:
    results: dict[Role, list[NetworkResult]] = {}
    for _, _, role, result in runs.networks():
        if role.family in (BASE.family, *_MODES):
            results.setdefault(role, []).append(result)
    return results


def roles_to_choose(runs: Runs) -> list[Role]:
    """Lists the roles that can be chosen; of equals the first is taken.

    Training from scratch is first: a transfer must be better. Then linear classifiers, frozen
    transfers, and those that are fine-tuned; of each those of the most units first.

    A role counts if it was repeated more than half as often as the one that was repeated most, so
    that one lucky network does not win; what is fitted would be the same.
    """
    counts, fitted = {role: len(results) for role, results in _results(runs).items()}, _fitted(runs)
    most = max(count for role, count in counts.items() if role != BASE or len(counts) == 1)
    repeated = [role for role, count in counts.items() if 2 * count > most or role in fitted]
    return sorted(repeated, key=lambda role: (role != BASE, _effort(role)[0], -role.n))


def _fitted(runs: Runs) -> set[Role]:
    """Finds the roles that are the same with any seed."""
    return {role for role, results in _results(runs).items() if results[0].fitted}


def best_role(runs: Runs) -> Role:
    """Finds the role that is expected to reach most, of those that were repeated often enough.

    It is that of the least regret. Where the answers of a network are not known, it is the role
    with the highest mean.
    """
    posterior, roles = infer_levels(runs), roles_to_choose(runs)
    if posterior is not None:
        return posterior.choose(roles, posterior.means)
    means = mean_top1(runs)
    return max(roles, key=lambda role: round(means[role], DIGITS))


def contenders(runs: Runs, than: Role) -> list[Role]:
    """Lists the transfers that may well be better than a role.

    Returns:
        The role itself, then the others by mean top-1, the best first.
    """
    posterior, means = infer_levels(runs), mean_top1(runs)
    near = [
        role
        for role in means
        if role not in (than, BASE)
        and (posterior is None or posterior.risk(than, role, 0.0) >= _IN_QUESTION)
    ]
    return [than, *sorted(near, key=means.get, reverse=True)]


def cheapest(
    posterior: Posterior, taken: Role, margin: float = MARGIN
) -> tuple[Role, float] | None:
    """Finds what takes least and loses no more than a margin, of what is not fine-tuned.

    A linear classifier takes less than upper units that are trained anew, and the less the fewer
    units are below it; of those that are trained anew, the fewer the better.

    Returns:
        The role, and the probability of that: 90 % or more if there is one, else the highest; None
        where nothing trains less than what is taken.
    """
    frozen = [role for role in posterior.roles if role.family in (FROZEN_TRANSFER, LINEAR_TRANSFER)]
    less = [role for role in frozen if _effort(role) < _effort(taken)]
    safe = {role: 1 - posterior.risk(role, taken, margin) for role in less}
    if not less:
        return None
    sure = [role for role in less if safe[role] >= _SURE]
    role = min(sure, key=_effort) if sure else max(less, key=safe.get)
    return role, safe[role]


def _effort(role: Role) -> tuple[int, int]:
    """Orders roles by what they take: see `cheapest`."""
    if role.family == LINEAR_TRANSFER:
        return 0, role.n
    return 1 + (role.family != FROZEN_TRANSFER), -role.n


def recommend_for_donor(
    runs: Runs,
    unit_names: Mapping[int, str],
    donor_name: str,
    *,
    margin: float = MARGIN,
    prices: Mapping[Role, Price] | None = None,
) -> str:
    """Recommends what to take of a donor, what would do for less, and what is not decided.

    Args:
        runs: of one target.
        unit_names: n -> name of the last of the lower n units; empty: not known.
        donor_name: name of the network that the units come from.
        margin: the loss that counts as none, in fractions of the test images.
        prices: of training each role; None: not known.

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
        Take the lower 3 units of VGG16 (up to conv3), fine-tuned: top-1 0.750; the best
          of all that was tried may be 0.7 points better.
        For less: nothing is sure enough; freezing the lower 3 units (up to conv3) loses
          no more than 2 points with a probability of 66 %.
        Not decided: whether freezing the lower 3 units (up to conv3) is better, with a
          probability of 34 % (-1.0 points, 90 % -6.0 to +4.0); with no difference, 51
          seeds in all would decide it for these classes.
        Against training from scratch: +23.6 points, 95 % +14.7 to +30.6.
        Frozen instead, at the same n: -1.0 points, 90 % -6.0 to +4.0.
        It is the best of 3 on these pictures, so its top-1 is optimistic.
        Trained frozen: n = 3.
        Trained fine-tuned: n = 3.
    """
    taken, posterior = best_role(runs), infer_levels(runs)
    if posterior is None:
        return "No advice: the answers of some networks to the pictures are not known."
    named = _Names(unit_names)
    lines = [
        _what_to_take(runs, posterior, taken, named, donor_name),
        *_for_less(posterior, taken, named, margin, prices or {}),
        *_not_decided(runs, posterior, taken, named, margin),
        *_against_alternatives(posterior, taken),
    ]
    tried = len(posterior.roles)
    if tried > 1:
        of_best = f"It is the best of {tried} on these pictures"
        lines.append(f"{of_best}, so its {runs.measure} is optimistic.")
    for family, mode in _MODES.items():
        if with_n := runs.trained_n(family):
            lines.append(f"Trained {mode}: n = {', '.join(map(str, with_n))}.")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _Names:
    """Names roles for people.

    Attributes:
        units: n -> name of the last of the lower n units; empty: not known.
    """

    units: Mapping[int, str]

    def lower(self, role: Role) -> str:
        up_to = f" (up to {self.units[role.n]})" if role.n in self.units else ""
        return f"the lower {role.n} unit{'s' * (role.n > 1)}{{of}}{up_to}"

    def doing(self, role: Role) -> str:
        """Says what is done: "freezing the lower 3 units (up to conv3)"."""
        if role == BASE:
            return "training from scratch"
        return f"{_DOING[role.family]} {self.lower(role).format(of='')}"


def _what_to_take(
    runs: Runs, posterior: Posterior, taken: Role, named: _Names, donor_name: str
) -> str:
    results = _results(runs)[taken]
    reached = f"{runs.measure} {mean_top1(runs)[taken]:.3f}"
    if len(results) > 1:
        reached += f", mean of {len(results)} seeds"
    if len(posterior.roles) > 1:
        regret = 100 * posterior.regret(taken)
        reached += f"; the best of all that was tried may be {regret:.1f} points better"
    if taken == BASE:
        return f"Train from scratch: no transfer that was tried is likely to do better: {reached}."
    lower = named.lower(taken).format(of=f" of {donor_name}")
    return f"Take {lower}, {_MODES[taken.family]}: {reached}."


def _for_less(
    posterior: Posterior,
    taken: Role,
    named: _Names,
    margin: float,
    prices: Mapping[Role, Price],
) -> list[str]:
    if not (offer := cheapest(posterior, taken, margin)):
        return []
    role, safe = offer
    loses = f"no more than {points(margin)}"
    if safe < _SURE:
        return [
            f"For less: nothing is sure enough; {named.doing(role)} loses {loses} with a "
            f"probability of {_percent(safe)}."
        ]
    line = f"For less: {named.doing(role)} loses {loses} (probability {_percent(safe)})"
    if prices.keys() >= {role, taken}:
        less, more = prices[role], prices[taken]
        if less.weights < more.weights:
            line += f", and trains {less.weights:,} weights instead of {more.weights:,}"
        if less.seconds < more.seconds:
            line += f", in {duration(less.seconds)} instead of {duration(more.seconds)}"
    return [f"{line}."]


def _not_decided(
    runs: Runs, posterior: Posterior, taken: Role, named: _Names, margin: float
) -> list[str]:
    """Names what is most probably better than what is taken, and what would show it."""
    others = [role for role in posterior.roles if role != taken]
    if not others:
        return []
    better = {role: posterior.risk(taken, role, 0.0) for role in others}
    rival = max(others, key=better.get)
    if better[rival] < _IN_QUESTION:
        return [
            f"Nothing else that was tried is better with a probability of "
            f"{_percent(_IN_QUESTION)} or more."
        ]
    spread = measure_spread(runs, [Contrast((rival,), (taken,))])
    decides = "they were not trained with the same seed, which would tell"
    if spread:
        of_one = posterior.seed_variance if spread.seeds is None else spread.seeds
        trained = 2 - len({rival, taken} & _fitted(runs))
        decides = what_decides(dataclasses.replace(spread, seeds=of_one * trained / 2), margin)
    return [
        f"Not decided: whether {named.doing(rival)} is better, with a probability of "
        f"{_percent(better[rival])} ({_difference(posterior, rival, taken)}); {decides}."
    ]


def _against_alternatives(posterior: Posterior, taken: Role) -> list[str]:
    """Compares what is taken with training from scratch, and with another mode."""
    if taken == BASE:
        return []
    lines = []
    if BASE in posterior.roles:
        gain = _difference(posterior, taken, BASE, confidence=_GAIN)
        lines.append(f"Against training from scratch: {gain}.")
    other = Role(TUNED_TRANSFER if taken.family == FROZEN_TRANSFER else FROZEN_TRANSFER, taken.n)
    if other in posterior.roles:
        verb = "Fine-tuned" if other.family == TUNED_TRANSFER else "Frozen"
        if taken.family == LINEAR_TRANSFER:
            verb = "The units above trained anew"
        lines.append(f"{verb} instead, at the same n: {_difference(posterior, other, taken)}.")
    return lines


def _difference(posterior: Posterior, role: Role, than: Role, *, confidence: float = _SURE) -> str:
    found = posterior.difference(role, than, confidence=confidence)
    mean, low, high = (100 * value for value in found)
    return f"{mean:+.1f} points, {_percent(confidence)} {low:+.1f} to {high:+.1f}"


def table_for_donor(
    runs: Runs,
    unit_names: Mapping[int, str],
    *,
    margin: float = MARGIN,
    prices: Mapping[Role, Price] | None = None,
) -> str:
    """Draws a table of all that was tried: what it reached, what it may lose, and what it costs.

    Args:
        runs, margin, prices: see `recommend_for_donor`.
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
        n  up to unit                top-1  regret  loses > 2 points
        ------------------------------------------------------------
        0              from scratch  0.500  24.3    100 %
        3  conv3       frozen        0.740  1.7     34 %
        3  conv3       fine-tuned    0.750  0.7     0 %
    """
    results, means, posterior = _results(runs), mean_top1(runs), infer_levels(runs)
    taken, prices = best_role(runs), prices or {}
    lines = [("n", "up to unit", "", runs.measure, "regret", f"loses > {points(margin)}")]
    if prices:
        lines[0] += ("trains in", "memory", "weights trained")
    for role in sorted(means, key=lambda role: (role.n, role.family)):
        seeds = f" of {len(results[role])}" if max(map(len, results.values())) > 1 else ""
        line = (
            str(role.n),
            unit_names[role.n] if role.n else "",
            _MODES.get(role.family, "from scratch"),
            f"{means[role]:.3f}{seeds}",
            f"{100 * posterior.regret(role):.1f}" if posterior else "",
            _percent(posterior.risk(role, taken, margin)) if posterior else "",
        )
        if prices:
            line += _price_cells(prices.get(role))
        lines.append(line)
    return align_columns(lines)


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def _price_cells(price: Price | None) -> tuple[str, str, str]:
    if price is None:
        return "", "", ""
    gib = math.ceil(price.bytes / 2**30 * 10) / 10
    return duration(price.seconds), f"{gib:.1f} GiB", f"{price.weights:,}"
