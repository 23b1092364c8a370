"""The seconds of steps and of passes over the test images, by a clock that the test sets."""

import types

from transfer_keras.training.monitors.stopwatch import Stopwatch, TrainingTimes


def times(steps, passes):
    one = TrainingTimes()
    one.steps, one.passes = steps, passes
    return one


def test_times_of_a_training():
    training = times([9.0, 1.0, 3.0, 2.0], {0: 5.0, 6: 4.0, 12: 0.5})
    assert (training.step_seconds, training.test_seconds) == (2.0, 0.5)
    assert times([9.0], {1: 2.0}).step_seconds == 9.0


def test_stopwatch(monkeypatch):
    """Measurements and tests of one step are one pass; what lies before the beginning is not."""
    clock = iter([100.0, 101.0, 101.5, 104.0, 105.0, 105.25])
    module = types.SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("transfer_keras.training.monitors.stopwatch.time", module)
    stopwatch = Stopwatch()
    stopwatch.on_train_begin(0)
    stopwatch.on_log(1, {})
    stopwatch.on_log(2, {})
    stopwatch.on_unit_metrics(2, None)
    stopwatch.on_test_end(2, {})
    stopwatch.on_log(3, {})
    (training,) = stopwatch.trainings
    assert training.steps == [1.0, 0.5, 0.25]
    assert training.passes == {2: 3.5}
