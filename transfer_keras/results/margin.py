"""What a difference shows of a margin: the loss that counts as none.

A loss that is not significant need not be small; a study that is noisy enough finds none
significant. So a small loss is called small only where that itself is shown, by an interval that
lies above minus the margin (Schuirmann 1987, "A comparison of the two one-sided tests procedure and
the power approach for assessing the equivalence of average bioavailability").
"""

from transfer_keras.results.comparison import Comparison

MARGIN = 0.02  # In fractions of the test images, where nothing is said.
EQUIVALENCE = 0.90  # Level of the intervals: each of their ends is wrong in 5 of 100 studies.

FINE, WORSE, UNDECIDED = "fine", "worse", "not decided"
WITHIN, BEYOND, OPEN = "within the margin", "beyond the margin", "open"


def verdict(comparison: Comparison, margin: float) -> str:
    """Decides whether the first of two roles loses more than a margin.

    Args:
        comparison: of the two.
        margin: in fractions of the test images.

    Returns:
        `FINE` where the interval lies above minus the margin, `WORSE` where it lies below that,
        else `UNDECIDED`.
    """
    _, low, high = comparison.at(EQUIVALENCE)
    if low > -margin:
        return FINE
    return WORSE if high < -margin else UNDECIDED


def state(comparison: Comparison, margin: float) -> str:
    """Decides whether a difference, of either sign, is larger than a margin.

    Args:
        comparison: of two roles.
        margin: in fractions of the test images.

    Returns:
        `WITHIN` where the interval lies within plus and minus the margin, `BEYOND` where it lies
        wholly beyond one of them, else `OPEN`.
    """
    _, low, high = comparison.at(EQUIVALENCE)
    if -margin < low and high < margin:
        return WITHIN
    return BEYOND if high < -margin or low > margin else OPEN


def points(margin: float) -> str:
    """Writes a margin, as "2 points"."""
    value = f"{100 * margin:g}"
    return f"{value} point{'s' * (value != '1')}"
