"""A progress bar: one line for what is trained side by side."""

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
        title: of all that is trained.
        steps: number of updates.
    """

    def __init__(self, title: str, steps: int):
        self._bar = tqdm.tqdm(total=steps, desc=title, unit=" steps", leave=True)
        self._shown: dict[str, str] = {}
        self._losses: dict[str, float] = {}
        self._top1: dict[str, float] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._bar.close()

    def on_train_begin(self, step: int) -> None:
        """Sets the bar to the steps done."""
        self._bar.n = self._bar.initial = max(step, self._bar.initial)
        self._refresh()

    def on_log(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Shows the step, the median training loss, and how many networks have diverged."""
        self._losses |= {name: score.loss for name, score in scores.items()}
        losses = [*self._losses.values()]
        finite = [loss for loss in losses if math.isfinite(loss)]
        self._shown["loss"] = f"{np.median(finite):.3f}" if finite else "nan"
        if len(finite) < len(losses):
            self._shown["diverged"] = f"{len(losses) - len(finite)} of {len(losses)}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.n = step
        self._refresh()

    def on_test_end(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Shows the median top-1 on the test images."""
        self._top1 |= {name: score.accuracy for name, score in scores.items()}
        self._shown["top-1"] = f"{np.median([*self._top1.values()]):.3f}"
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
