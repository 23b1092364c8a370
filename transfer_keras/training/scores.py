"""The scores of a network: while it trains, on the test images, and at its end."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.config import choices

# Relative distance from the loss of a network that looks at no image.
_CHANCE = 0.01


class Scores(NamedTuple):
    """Means over examples.

    Attributes:
        loss: cross-entropy in nats.
        accuracy: top-1, a fraction from 0 to 1.
    """

    loss: float
    accuracy: float


class Predictions(NamedTuple):
    """The predictions of one network for all test images, in their fixed order.

    Attributes:
        label: int32 (examples,), the truth.
        predicted: int32 (examples,), the class with the highest logit.
        loss: float32 (examples,), cross-entropy in nats.
    """

    label: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray

    def part(self, which: slice) -> "Predictions":
        """Selects the predictions for some images."""
        return Predictions(*(values[which] for values in self))

    def weighted(self, class_weights: Sequence[float]) -> Scores:
        """Gives the scores in which each image counts by the weight of its class."""
        weights = np.asarray(class_weights)[self.label]
        right = self.label == self.predicted
        return Scores(*(float(np.average(x, weights=weights)) for x in (self.loss, right)))

    @property
    def scores(self) -> Scores:
        """Gives the mean loss and the top-1 accuracy of the predictions."""
        return Scores(float(self.loss.mean()), float((self.label == self.predicted).mean()))


class Trained(NamedTuple):
    """The result of one network's training.

    Attributes:
        predictions: on the test images, at `step`.
        scores: on the training images between the last log and the end. The end is that of the
            group, or with patience that of the network itself.
        outcome: one of `choices.TRAINED`, `choices.DIVERGED` and `choices.AT_CHANCE`.
        tests: (step, loss, top-1) of every test up to that end, the last included.
        seconds: duration of the training of its group, without interruptions.
        step: the step that the weights are from: the last, or with patience that of the best
            test.
        chance_loss: what an answer costs that knows no image, in nats.
    """

    predictions: Predictions
    scores: Scores
    outcome: str
    tests: tuple[tuple[int, float, float], ...]
    seconds: float
    step: int = 0
    chance_loss: float | None = None


def outcome(loss: float, test_loss: float, chance: float, classes: int) -> str:
    """Decides how a training ended.

    Args:
        loss: mean cross-entropy on training images at the end, in nats.
        test_loss: mean cross-entropy on test images, in nats.
        chance: what an answer costs that knows no image, only how frequent the classes are; see
            `chance_loss`.
        classes: number of classes, of which equal probabilities cost the logarithm.

    Returns:
        `choices.DIVERGED` if a loss is not finite; `choices.AT_CHANCE` if the loss on training
        images is what one of these two answers costs, or between, to 1 %; else `choices.TRAINED`.
    """
    if not (math.isfinite(loss) and math.isfinite(test_loss)):
        return choices.DIVERGED
    low, high = sorted((chance, math.log(classes)))
    is_chance = low * (1 - _CHANCE) <= loss <= high * (1 + _CHANCE)
    return choices.AT_CHANCE if is_chance else choices.TRAINED


def chance_loss(labels: np.ndarray, class_weights: Sequence[float] | None = None) -> float:
    """Computes what the best answer costs that is the same for all images.

    Args:
        labels: int (examples,), on which networks are trained.
        class_weights: of the loss that is minimised; None: all are one.

    Returns:
        The mean cross-entropy in nats, in which all examples count the same. Without weights it is
        the entropy of the labels; for classes that are equally frequent, the logarithm of their
        number.
    """
    shares = np.bincount(labels) / len(labels)
    answer = shares if class_weights is None else shares * class_weights
    answer = answer / answer.sum()
    there = shares > 0
    return float(-(shares[there] * np.log(answer[there])).sum())
