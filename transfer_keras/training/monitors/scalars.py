"""Loss and accuracy in TensorBoard, a run a network."""

from collections.abc import Mapping

from transfer_keras.training.monitors.events import Events, scalar_summary, text_summary
from transfer_keras.training.scores import Scores, Trained


class Scalars:
    """Writes the scores and the outcome of each network.

    The tags are `loss/training`, `accuracy/training`, `loss/validation`, `accuracy/validation`,
    and at the end the text `outcome`.

    Args:
        runs: network's name -> its run; other networks are left out.
    """

    def __init__(self, runs: Mapping[str, Events]):
        self._runs = runs

    def on_log(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Writes the training scores."""
        self._write("training", step, scores)

    def on_test_end(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Writes the scores on the test images."""
        self._write("validation", step, scores)

    def on_train_end(self, step: int, trained: Mapping[str, Trained]) -> None:
        """Writes the outcome."""
        for name, run in self._runs.items():
            network = trained[name]
            markdown = f"**{network.outcome}**: training loss {network.scores.loss:.4g} at the end"
            run.write(step, text_summary("outcome", markdown))

    def _write(self, kind: str, step: int, scores: Mapping[str, Scores]) -> None:
        for name, run in self._runs.items():
            loss, accuracy = scores[name]
            points = (f"loss/{kind}", loss), (f"accuracy/{kind}", accuracy)
            run.write(step, *(scalar_summary(tag, value) for tag, value in points))
            # The checkpoint of this step follows, after which it is not written again.
            run.flush()
