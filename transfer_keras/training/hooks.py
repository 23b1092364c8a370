"""The hooks at which the training loop calls its monitors."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from transfer_keras.training.scores import Scores, Trained
from transfer_keras.training.unit_metrics import UnitMeasurement


class Monitor(Protocol):
    """An object that is called while networks train, and changes nothing.

    A monitor defines the hooks that it needs, and the loop calls those that it has: no base class
    is needed. `step` is the number of updates done; mappings have the networks' names as keys.

    Early stopping does not change what is shown of a network that is done before the others of
    its group; only the result in `on_train_end` leaves its later tests out.

    Example:
        >>> class PrintTests:
        ...     def on_test_end(self, step, scores):
        ...         for name, score in scores.items():
        ...             print(f"{step} {name}: top-1 {score.accuracy:.2f}")
        >>> PrintTests().on_test_end(40, {"A3B": Scores(loss=1.25, accuracy=0.5)})
        40 A3B: top-1 0.50
    """

    def on_train_begin(self, step: int) -> None:
        """Takes note that the training begins.

        Args:
            step: 0, or the updates before an interruption.
        """

    def on_log(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Takes the scores on the training images since the last log."""

    def on_unit_metrics(self, step: int, measurement: UnitMeasurement) -> None:
        """Takes a measurement of the units, as the `UnitMetrics` of the training describe it."""

    def on_test_end(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Takes the scores on all test images."""

    def on_train_end(self, step: int, trained: Mapping[str, Trained]) -> None:
        """Takes the result of each network, which has its final weights now."""


def call_hook(monitors: Sequence[Monitor], name: str, *arguments: object) -> None:
    """Calls a hook of all monitors that have it, in their order."""
    for monitor in monitors:
        hook = getattr(monitor, name, None)
        if hook is not None:
            hook(*arguments)
