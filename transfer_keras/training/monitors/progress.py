"""A progress bar, one line a group."""

import contextlib
import math
from collections.abc import Mapping

import numpy as np
import tqdm

from transfer_keras.training.scores import Scores


class Progress:
    """Shows the step, the median training loss and the median top-1 on the test images.

    Where its output is a closed pipe, it is silent and the training goes on. A context manager
    that ends the bar.

    Args:
        title: that of the group.
        steps: number of updates.
    """

    def __init__(self, title: str, steps: int):
        self._bar = tqdm.tqdm(total=steps, desc=title, unit=" steps", leave=True)
        self._shown: dict[str, str] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._bar.close()

    def on_train_begin(self, step: int) -> None:
        """Sets the bar to the steps done."""
        self._bar.n = self._bar.initial = step
        self._refresh()

    def on_log(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Shows the step, the median training loss, and how many networks have diverged."""
        losses = [score.loss for score in scores.values()]
        finite = [loss for loss in losses if math.isfinite(loss)]
        self._shown["loss"] = f"{np.median(finite):.3f}" if finite else "nan"
        if len(finite) < len(losses):
            self._shown["diverged"] = f"{len(losses) - len(finite)} of {len(losses)}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.n = step
        self._refresh()

    def on_test_end(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Shows the median top-1 on the test images."""
        self._shown["top-1"] = f"{np.median([score.accuracy for score in scores.values()]):.3f}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._refresh()

    def advance(self, step: int) -> None:
        """Moves the bar to a step; for work that the training loop does not do."""
        with contextlib.suppress(OSError):
            # It is drawn ten times a second at most.
            self._bar.update(step - self._bar.n)

    def _refresh(self) -> None:
        with contextlib.suppress(OSError):
            self._bar.refresh()
