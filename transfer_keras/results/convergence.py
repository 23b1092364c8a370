"""Whether bases have converged, and what differences from them include if not.

A network that takes its units from a base has been trained for longer than that base, taken all
together. Where bases still gain, part of its difference from the base is training time.
"""

import numpy as np

from transfer_keras.results.comparison import Runs, compare
from transfer_keras.results.roles import BASE, BASE_TRAINED_ON
from transfer_keras.results.rows import Row
from transfer_keras.results.statistics import Interval

# The gain of a base, in fractions of the test images, above which differences from it are said to
# include longer training.
AMOUNT = 0.01
_PART = 0.1  # Of a training, at its end.


def last_gain(row: Row) -> float | None:
    """Computes how much a network's top-1 gained over the last tenth of its training.

    Top-1 nine tenths through is interpolated between the tests before and after. With a cosine
    schedule this is small by construction, because the learning rate goes to 0: it shows that a
    training was cut short, and not that it was long enough. What another training of the same
    length adds, as B8B+ has it, is the direct measure.

    Args:
        row: of any network.

    Returns:
        The gain as a fraction; None where no test came before the last tenth.

    Example:
        >>> from transfer_keras.results import Row
        >>> row = Row(
        ...     treatment="baseB", donor=None, n=0, target="B", mode="base", top1=0.7, loss=0.5,
        ...     outcome="trained", training_loss=0.4, test_images=10, classes=2, steps=100, group=1,
        ...     seconds=83.4, parameters=100, trainable_parameters=100,
        ...     validation=((50, 0.9, 0.5), (80, 0.7, 0.6), (100, 0.5, 0.7)),
        ... )
        >>> round(last_gain(row), 3)
        0.05
    """
    if not row.validation:
        return None
    steps, _, top1 = zip(*row.validation, strict=True)
    before = (1 - _PART) * steps[-1]
    if steps[0] > before:
        return None
    return float(top1[-1] - np.interp(before, steps, top1))


def control_of(row: Row) -> str:
    """Names the treatment that trains a base on for as long again; "base+" where the units of the
    network are not known."""
    if row.units is None:
        return BASE_TRAINED_ON.family
    return f"{row.target}{row.units}{row.target}+"


def describe(
    base: str, gain: float | None, difference: Interval | None, *, control: str
) -> str | None:
    """Says how far a base has converged, and what differences from it include.

    Where the base was trained on, the difference decides; it measures the same directly.

    Args:
        base: its name, or that of several.
        gain: see `last_gain`.
        difference: of the base that was trained on, from the base, with its 95 % interval.
        control: the name of the base that was trained on, or would be.

    Returns:
        One sentence or two; None where nothing is known.

    Example:
        >>> import textwrap
        >>> from transfer_keras.results import Interval
        >>> text = describe("baseB", 0.004, Interval(0.023, 0.001, 0.045), control="B8B+")
        >>> print(textwrap.fill(text, 80))
        baseB: +0.4 points in the last tenth of its training. B8B+, the same trained on
        for as long again: +2.3 points [+0.1, +4.5]; so differences from it include
        longer training.
    """
    if gain is None and difference is None:
        return None
    sentences = []
    if gain is not None:
        sentences.append(f"{_points(gain)} points in the last tenth of its training")
    if difference is not None:
        estimate, low, high = map(_points, difference)
        text = (
            f"{control}, the same trained on for as long again: {estimate} points [{low}, {high}]"
        )
        if difference.estimate > AMOUNT:
            text += "; so differences from it include longer training"
        elif difference.high > AMOUNT:
            text += "; so differences from it may include longer training"
        sentences.append(text)
    elif gain > AMOUNT:
        sentences[0] += f", more than {100 * AMOUNT:.0f}"
        sentences.append(
            f"So differences from it include longer training; {control} would show how much"
        )
    return f"{base}: {'. '.join(sentences)}."


def describe_study(runs: Runs, rows: list[Row]) -> str | None:
    """Says how far the bases of one kind of split have converged; see `describe`.

    Args:
        runs: the results of its networks that trained.
        rows: of these networks.

    Returns:
        None where nothing is known.
    """
    bases = [row for row in rows if row.role == BASE]
    gains = [gain for gain in map(last_gain, bases) if gain is not None]
    comparison = compare(runs, [BASE_TRAINED_ON], [BASE])
    difference = comparison.interval if comparison else None
    trained_on = {row.treatment for row in rows if row.role == BASE_TRAINED_ON}
    controls = sorted(trained_on if difference else {control_of(row) for row in bases})
    mean = float(np.mean(gains)) if gains else None
    name = "Mean base" if len(bases) > 1 else bases[0].treatment if bases else ""
    return describe(name, mean, difference, control=", ".join(controls))


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f}"
