"""The duration of the steps and tests of a training."""

import statistics
import time
from collections.abc import Mapping

from transfer_keras.training.scores import Scores
from transfer_keras.training.unit_metrics import UnitMeasurement


class TrainingTimes:
    """The times of one training whose scores are logged at every step.

    Attributes:
        steps: seconds of each step.
        passes: step -> seconds of the pass over the test images after it.
    """

    def __init__(self):
        self.steps: list[float] = []
        self.passes: dict[int, float] = {}

    @property
    def step_seconds(self) -> float:
        """Gives the median of the steps, without the first, which is compiled, if it can."""
        return statistics.median(self.steps[1:] or self.steps)

    @property
    def test_seconds(self) -> float:
        """Gives the last pass over the test images; the first ones are compiled."""
        return self.passes[max(self.passes)]


class Stopwatch:
    """Times trainings, one after the other; it has to be the last of their monitors.

    Attributes:
        trainings: the times of the trainings so far.
    """

    def __init__(self):
        self.trainings: list[TrainingTimes] = []
        self._last_reading = 0.0

    def on_train_begin(self, step: int) -> None:
        """Begins the times of a training."""
        self.trainings.append(TrainingTimes())
        self._last_reading = time.perf_counter()

    def on_log(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Takes the time of a step."""
        self.trainings[-1].steps.append(self._since_last_reading())

    def on_unit_metrics(self, step: int, measurement: UnitMeasurement) -> None:
        """Takes the time of a pass over the test images, which a test of the step shares."""
        self._add_pass(step)

    def on_test_end(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Takes the time of a pass over the test images, which a measurement may share."""
        self._add_pass(step)

    def _add_pass(self, step: int) -> None:
        passes = self.trainings[-1].passes
        passes[step] = passes.get(step, 0.0) + self._since_last_reading()

    def _since_last_reading(self) -> float:
        before, self._last_reading = self._last_reading, time.perf_counter()
        return self._last_reading - before
