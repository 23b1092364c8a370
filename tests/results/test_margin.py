"""What a difference shows of a margin."""

import pytest
from scipy import stats

from transfer_keras.results import margin
from transfer_keras.results.comparison import Comparison
from transfer_keras.results.statistics import Estimate


@pytest.mark.parametrize(
    ("low", "high", "verdict", "state"),
    [
        (-0.019, 0.0, margin.FINE, margin.WITHIN),
        (-0.019, -0.001, margin.FINE, margin.WITHIN),
        (-0.019, 0.3, margin.FINE, margin.OPEN),
        (0.021, 0.03, margin.FINE, margin.BEYOND),
        (-0.021, 0.3, margin.UNDECIDED, margin.OPEN),
        (-0.5, -0.019, margin.UNDECIDED, margin.OPEN),
        (-0.5, -0.021, margin.WORSE, margin.BEYOND),
    ],
)
def test_one_rule_decides_what_freezing_costs(low, high, verdict, state):
    """The interval of 90 % is held against two points, whatever the estimate is."""
    half = stats.t.ppf(0.95, 7)
    estimate = Estimate((low + high) / 2, ((high - low) / 2 / half) ** 2, 7)
    comparison = Comparison(estimate, "splits", 16, 16)
    assert comparison.at(0.9)[1:] == pytest.approx((low, high))
    assert margin.verdict(comparison, 0.02) == verdict
    assert margin.state(comparison, 0.02) == state
    assert margin.points(0.02) == "2 points"
    assert margin.points(0.01) == "1 point"
