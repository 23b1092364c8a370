"""The result of one treatment, as `row.json` holds it."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one treatment.

    Attributes:
        treatment: its name, as `A3B+`.
        donor, n, target, mode: see `treatments.Treatment`.
        top1: fraction of the test images that it got right, after the last step.
        loss: mean cross-entropy on the test images, in nats; None where it is no number.
        outcome: "trained"; "diverged" if a loss is no number; "at chance" if that on training
            images ended within 1 % of ln(classes).
        training_loss: mean cross-entropy on training images over the last hundredth of the
            steps, in nats; None where it is no number.
        test_images, classes: how many.
        steps: updates done.
        best_step: the update after which it was taken: the last, or with early stopping that of
            its best test.
        group: how many treatments were trained together with it, itself counted.
        seconds: spent on training and testing that group.
        parameters, trainable_parameters: number of scalars.
        validation: (step, loss, top1) of every test on the way, the last included.
        probes: unit -> top-1 of a linear classifier on its output; None: none were asked for.
    """

    treatment: str
    donor: str | None
    n: int
    target: str
    mode: str
    top1: float
    loss: float | None
    outcome: str
    training_loss: float | None
    test_images: int
    classes: int
    steps: int
    group: int
    seconds: float
    parameters: int
    trainable_parameters: int
    validation: tuple[tuple[int, float | None, float], ...]
    probes: Mapping[str, float] | None = None
    best_step: int | None = None
