"""Loss and accuracy to TensorBoard, a run a network."""

from collections.abc import Mapping

from transfer_keras.training.monitors.events import Events, scalar, text
from transfer_keras.training.monitors.monitor import Monitor


class Scalars(Monitor):
    """Tags `loss/training`, `accuracy/training`, `loss/validation`, `accuracy/validation`, and at
    the end the text `outcome`.

    Args:
        runs: network's name -> its run; other networks are left out.
    """

    def __init__(self, runs: Mapping[str, Events]):
        self._runs = runs

    def training(self, step, scores):
        self._write("training", step, scores)

    def validation(self, step, scores):
        self._write("validation", step, scores)

    def end(self, step, trained):
        for name, run in self._runs.items():
            network = trained[name]
            words = f"**{network.outcome}**: training loss {network.scores.loss:.4g} at the end"
            run.write(step, text("outcome", words))

    def _write(self, kind: str, step: int, scores: Mapping) -> None:
        for name, run in self._runs.items():
            loss, accuracy = scores[name]
            run.write(step, scalar(f"loss/{kind}", loss), scalar(f"accuracy/{kind}", accuracy))
            run.flush()  # Before the checkpoint of this step, after which it is not written again.
