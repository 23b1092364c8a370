"""What trainings will take, estimated from one pass of the donor over some pictures."""

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence

from transfer_keras.config import Experiment, Treatment
from transfer_keras.experiments import count_test_passes, features_limit, pictures_seen

# A step that trains everything takes so many times the forward pass of its pictures; measured on
# EfficientNet-Lite0. What it is elsewhere, `TrainingCost.correct` learns.
_STEP = 3.2
# Building a network and tracing its training takes so many times what building and tracing the
# donor's forward pass did; a group has it once, and for what each of its networks trains.
_TRACED = 1.5


class BatchTimer:
    """Times the batches of a pass; the first one, which is traced, by itself.

    Attributes:
        pictures: how many there were.
    """

    def __init__(self):
        self._begun = time.monotonic()
        self._first = self._last = 0.0
        self._pictures_first = self.pictures = 0

    def count(self, pictures: int) -> None:
        """Counts a batch that is done."""
        self._last = time.monotonic()
        if not self.pictures:
            self._first, self._pictures_first = self.seconds, pictures
        self.pictures += pictures

    @property
    def seconds(self) -> float:
        """Gives the seconds from the beginning to the last batch."""
        return self._last - self._begun

    @property
    def forward(self) -> float:
        """Gives the seconds of one picture; those of tracing too, where there was one batch."""
        later = self.pictures - self._pictures_first
        return (self.seconds - self._first) / later if later else self._first / self.pictures

    @property
    def overhead(self) -> float:
        """Gives the seconds that the first batch took beyond its pictures."""
        return max(0.0, self._first - self._pictures_first * self.forward)


@dataclasses.dataclass
class TrainingCost:
    """Estimates the seconds that groups of networks take.

    Attributes:
        overhead: seconds of building the donor and tracing its forward pass.
        forward: seconds of one picture through all of it.
        train, test: numbers of pictures of the target.
        feature_bytes: n -> of what the lower n units make of a picture.
        correction: what the last group took against what was estimated.
    """

    overhead: float
    forward: float
    train: int
    test: int
    feature_bytes: Mapping[int, int]
    correction: float = 1.0

    def seconds(self, experiment: Experiment, treatments: Sequence[Treatment]) -> float:
        """Estimates what treatments take as one group, or where heads are fitted as two.

        The parts of a network count by their multiplications.

        Args:
            experiment: with the settings.
            treatments: of its target; none: no time.
        """
        if not treatments:
            return 0.0
        if alone := [t for t in treatments if experiment.fits_head(t)]:  # A group of their own.
            others = [treatment for treatment in treatments if treatment not in alone]
            of_heads = experiment.for_group(alone).replace(fit_head=False)
            fit = self.correction * self.forward * self.train
            return fit + self.seconds(of_heads, alone) + self.seconds(experiment, others)
        training, forward = experiment.training, self.forward
        below, seen = _parts_below(experiment), pictures_seen(experiment, self.train, self.test)
        kept = seen.saved and self._fit(experiment, treatments, seen.once)
        frozen = max(below[t.frozen_units] for t in treatments)
        trained = sum(1 - below[t.frozen_units] for t in treatments if not t.linear)
        through_frozen = seen.once if kept else seen.each_time
        each = _STEP * training.steps * training.batch_size
        each += count_test_passes(experiment) * self.test
        traced = _TRACED * self.overhead * (1 + trained)
        return self.correction * (traced + forward * (frozen * through_frozen + trained * each))

    def _fit(self, experiment: Experiment, treatments: Sequence[Treatment], pictures: int) -> bool:
        depths = {treatment.frozen_units for treatment in treatments} - {0}
        size = pictures * sum(self.feature_bytes[n] for n in depths)
        return size <= features_limit(experiment)

    def correct(self, estimated: float, taken: float) -> None:
        """Learns from a group that was estimated so, and took so many seconds."""
        self.correction *= taken / estimated


def _parts_below(experiment: Experiment) -> list[float]:
    """Gives n -> the part of all multiplications that the lower n units make."""
    macs = [size.macs for size in experiment.architecture.sizes(experiment.image_size, 1)]
    return [0.0, *(below / sum(macs) for below in itertools.accumulate(macs))]
