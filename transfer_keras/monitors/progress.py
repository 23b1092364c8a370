"""A progress bar, one line a group."""

from collections.abc import Mapping, Sequence

import tqdm


class Progress:
    """Shows the step, the mean training loss and the mean top-1 on the test images.

    Args:
        names: the networks of the group.
        steps: number of updates.
    """

    def __init__(self, names: Sequence[str], steps: int):
        self._bar = tqdm.tqdm(total=steps, desc=", ".join(names), unit=" steps", leave=True)
        self._shown: dict[str, str] = {}

    def training(self, step: int, scores: Mapping) -> None:
        loss = sum(s.loss for s in scores.values()) / len(scores)
        self._show(loss=f"{loss:.3f}")
        self._bar.update(step - self._bar.n)

    def validation(self, step: int, scores: Mapping) -> None:
        accuracy = sum(s.accuracy for s in scores.values()) / len(scores)
        self._show(**{"top-1": f"{accuracy:.3f}"})

    def close(self) -> None:
        self._bar.close()

    def _show(self, **figures: str) -> None:
        self._shown |= figures
        self._bar.set_postfix(self._shown)
