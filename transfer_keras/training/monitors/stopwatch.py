"""How long the parts of a training take."""

import statistics
import time

from transfer_keras.training.monitors.monitor import Monitor


class Lap:
    """One training, timed; wants the scores of every step.

    Attributes:
        steps: seconds of each step.
        passes: step -> seconds of the pass over the test images after it.
    """

    def __init__(self):
        self.steps: list[float] = []
        self.passes: dict[int, float] = {}

    @property
    def step(self) -> float:
        """Seconds of a step; the first, which is compiled, is left out where there are others."""
        return statistics.median(self.steps[1:] or self.steps)

    @property
    def test(self) -> float:
        """Seconds of a pass over the test images: the last, as the first ones are compiled."""
        return self.passes[max(self.passes)]


class Stopwatch(Monitor):
    """Times trainings, one after the other; to be the last of their monitors.

    Attributes:
        laps: of the trainings so far.
    """

    def __init__(self):
        self.laps: list[Lap] = []
        self._at = 0.0

    def begin(self, step):
        self.laps.append(Lap())
        self._at = time.perf_counter()

    def training(self, step, scores):
        self.laps[-1].steps.append(self._since())

    def look(self, step, look):
        passes = self.laps[-1].passes
        passes[step] = passes.get(step, 0.0) + self._since()

    def validation(self, step, scores):
        self.look(step, None)

    def _since(self) -> float:
        before, self._at = self._at, time.perf_counter()
        return self._at - before
