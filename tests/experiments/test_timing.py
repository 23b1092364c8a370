"""Test passes are counted without a training."""

import pytest

from transfer_keras.config import make_experiment
from transfer_keras.experiments.timing import count_test_passes


@pytest.mark.parametrize("steps", [1, 7, 100, 1001])
@pytest.mark.parametrize("validations", [1, 3, 20])
@pytest.mark.parametrize("metrics_every", [0, 1, 13, None])
def test_passes_by_brute_force(steps, validations, metrics_every):
    settings = make_experiment(
        ["A2B", "B2A"], steps=steps, validations=validations, metrics_every=metrics_every
    )
    test_every, measure_every = settings.training.validate_every, settings.execution.metrics_every
    tested = {s for s in range(1, steps + 1) if s % test_every == 0 or s == steps}
    measured = {
        s for s in range(1, steps + 1) if measure_every and (s % measure_every == 0 or s == steps)
    }
    assert count_test_passes(settings) == len(tested | measured)
