"""Keeps every test on the way, for the rows of results."""

from collections import defaultdict
from collections.abc import Mapping


class History:
    """Attributes: tests: network's name -> [(step, loss, top-1)]."""

    def __init__(self):
        self.tests: dict[str, list[tuple[int, float, float]]] = defaultdict(list)

    def training(self, step: int, scores: Mapping, gradients: Mapping) -> None:
        """Training scores are not kept."""

    def validation(self, step: int, scores: Mapping) -> None:
        for name, score in scores.items():
            self.tests[name].append((step, score.loss, score.accuracy))

    def end(self, step: int, trained: Mapping) -> None:
        """Nothing more to keep."""

    def close(self) -> None:
        """Nothing to close."""
