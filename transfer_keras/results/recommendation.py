"""Recommendations to freeze or to fine-tune in splits of one dataset, as text.

`margin.verdict` decides what freezing costs. For the units of a network that was trained elsewhere
see `donor_recommendation`.
"""

from collections.abc import Sequence

from transfer_keras.results.comparison import Comparison, Runs, compare_families
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
from transfer_keras.results.roles import BASE, FROZEN_TRANSFER, TUNED_TRANSFER, Role


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
