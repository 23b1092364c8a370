import numpy as np
import pytest

from transfer_keras.results import statistics


def test_by_hand():
    # 100 images: 40 both right, 15 only the one, 5 only the base, 40 neither.
    one = np.repeat([1, 1, 0, 0], [40, 15, 5, 40])
    base = np.repeat([1, 0, 1, 0], [40, 15, 5, 40])
    interval = statistics.paired_difference(one, base)
    assert interval.estimate == pytest.approx(0.10)
    # Bonett and Price (2012), equation 4, with a pocket calculator.
    p, q = 16 / 102, 6 / 102
    margin = 1.959964 * ((p + q - (p - q) ** 2) / 102) ** 0.5
    assert (interval.low, interval.high) == pytest.approx(
        (p - q - margin, p - q + margin), abs=1e-6
    )


def test_mirrored():
    rng = np.random.default_rng(0)
    one, base = rng.random(300) < 0.7, rng.random(300) < 0.6
    interval, mirrored = (
        statistics.paired_difference(*pair) for pair in [(one, base), (base, one)]
    )
    assert tuple(mirrored) == pytest.approx((-interval.estimate, -interval.high, -interval.low))


def test_no_disagreement_still_leaves_doubt():
    same = np.ones(50)
    interval = statistics.paired_difference(same, same)
    assert interval.estimate == 0
    assert interval.low < 0 < interval.high


def test_coverage():
    """With a known difference, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        draw = rng.random(200)
        one, base = draw < 0.75, (draw < 0.65) | (draw > 0.97)  # True difference: .75 - .68.
        interval = statistics.paired_difference(one, base)
        held += interval.low <= 0.07 <= interval.high
    assert 0.93 <= held / 2000 <= 0.97


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="same images"):
        statistics.paired_difference(np.ones(3), np.ones(4))
