"""The result of one treatment, as `row.json` holds it."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np

from transfer_keras.config import choices, parse_treatment
from transfer_keras.results.roles import BASE_TRAINED_ON, Role

# Of top-1, which is computed in float32 or better.
_TOLERANCE = 1e-6
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one treatment.

    Attributes:
        treatment: its name, as `A3B+`.
        donor: task that the lower units come from, "A" or "B"; "R": untrained; "S": drawn with the
            statistics of the other task's; None for a base.
        n: number of units that come from the donor; 0 for a base.
        target: task that it was trained on, "A" or "B".
        mode: "base", "frozen", "fine_tune", "random" or "linear".
        top1: fraction of the test images that it got right, after the last step.
        loss: mean cross-entropy on the test images, in nats; None where it is no number.
        outcome: `choices.TRAINED`; `choices.DIVERGED` if a loss is no number;
            `choices.AT_CHANCE` if the loss on training images ended at `chance_loss`, ln(classes)
            or between, to 1 %.
        training_loss: mean cross-entropy on training images over the last hundredth of the
            steps, in nats; None where it is no number.
        test_images: number of test images.
        classes: number of the target's classes.
        steps: number of updates.
        group: number of treatments that were trained together, this one included.
        seconds: time that training and testing of that group took.
        parameters: number of scalars in the network.
        trainable_parameters: number of those that were trained.
        validation: (step, loss, top1) of every test during training, the last included.
        probes: unit -> top-1 of a linear classifier on its output; None: none were asked for.
        chance_loss: mean cross-entropy on the training images of an answer that knows no image,
            only how frequent the classes are, in nats; None: ln(classes), of which version 0.1.0
            took it.
        best_step: the update after which the network was saved: the last, or with early stopping
            that of its best test.
        fitted: whether its head was fitted to units of a given donor, so that it is the same with
            any seed.
        units: number of units of the network; None: not known, as in rows of version 0.1.0.
    """

    treatment: str
    donor: Literal["A", "B", "R", "S"] | None
    n: _Count
    target: Literal["A", "B"]
    mode: Literal["base", "frozen", "fine_tune", "random", "linear"]
    top1: _Fraction
    loss: float | None
    outcome: Literal[choices.TRAINED, choices.DIVERGED, choices.AT_CHANCE]
    training_loss: float | None
    test_images: _Count
    classes: _Count
    steps: _Count
    group: _Count
    seconds: float
    parameters: _Count
    trainable_parameters: _Count
    validation: tuple[tuple[_Count, float | None, _Fraction], ...]
    probes: Mapping[str, _Fraction | None] | None = None
    best_step: _Count | None = None
    chance_loss: float | None = None
    fitted: bool = False
    units: _Count | None = None

    @property
    def role(self) -> Role:
        """Gives its family and n, as its target sees them."""
        named = parse_treatment(self.treatment)
        if named.fine_tune and self.donor == self.target and self.n == self.units:
            return BASE_TRAINED_ON
        return Role(named.role, self.n)

    def fault_of(self, label: np.ndarray | None, predicted: np.ndarray | None) -> str | None:
        """Finds out why predictions cannot be those of this result.

        Args:
            label, predicted: integers (test images,); None: there is none.

        Returns:
            The end of a sentence whose subject is their file; None where they are.
        """
        both = (label, predicted)
        if any(a is None or a.dtype.kind != "i" or a.shape != (self.test_images,) for a in both):
            return "has no label and prediction of each image"
        if any(((a < 0) | (a >= self.classes)).any() for a in both):
            return f"names classes that are none of the {self.classes}"
        if abs(np.mean(label == predicted) - self.top1) > _TOLERANCE:
            return "holds other predictions than those of the row"
        return None
