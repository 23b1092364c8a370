"""What is measured of a network in training."""

import math
from typing import NamedTuple

import numpy as np

TRAINED, DIVERGED, AT_CHANCE = "trained", "diverged", "at chance"
_CHANCE = 0.01  # Relative distance from the loss of a network that says nothing.


class Scores(NamedTuple):
    """Means over examples: cross-entropy in nats, and top-1 as a fraction."""

    loss: float
    accuracy: float


class Predictions(NamedTuple):
    """What one network says of each test image, in the fixed order of `TaskPair`.

    Attributes:
        label: int32 (examples,), the truth.
        predicted: int32 (examples,), the class with the highest logit.
        loss: float32 (examples,), cross-entropy in nats.
    """

    label: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray

    @property
    def scores(self) -> Scores:
        return Scores(float(self.loss.mean()), float((self.label == self.predicted).mean()))


class Trained(NamedTuple):
    """The end of one network's training.

    Attributes:
        predictions: on the test images, at `step`.
        scores: on the training images since the last log before the end: of the group, or with
            patience the network's own.
        outcome: see `outcome`.
        tests: (step, loss, top-1) of every test on the way to that end, the last included.
        seconds: that the training of its group took, interruptions left out.
        step: that its weights are of: the last, or with patience that of its best test.
    """

    predictions: Predictions
    scores: Scores
    outcome: str
    tests: tuple[tuple[int, float, float], ...]
    seconds: float
    step: int = 0


def outcome(loss: float, test_loss: float, classes: int) -> str:
    """How a training ended.

    Args:
        loss: mean cross-entropy on training images at the end, in nats.
        test_loss: on test images.
        classes: how many.

    Returns:
        `DIVERGED` if a loss is no number; `AT_CHANCE` if that on training images is within 1 %
        of ln(classes), which is what equal probabilities for all classes cost; else `TRAINED`.
    """
    if not (math.isfinite(loss) and math.isfinite(test_loss)):
        return DIVERGED
    chance = math.log(classes)
    return AT_CHANCE if abs(loss - chance) <= _CHANCE * chance else TRAINED
