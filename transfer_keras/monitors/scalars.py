"""Loss, accuracy and gradient norm to TensorBoard, a run a treatment."""

import contextlib
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class Scalars:
    """Tags `loss/training`, `accuracy/training`, `loss/validation`, `accuracy/validation`,
    `gradient_norm/training` (over all that is trained), and at the end the text `outcome`.

    Args:
        folders: network's name -> the folder of its run; other networks are left out.
    """

    def __init__(self, folders: Mapping[str, pathlib.Path]):
        self._writers = {n: tf.summary.create_file_writer(str(f)) for n, f in folders.items()}

    def begin(self, step: int) -> None:
        """The files are open already."""

    def training(self, step: int, scores: Mapping, gradients: Mapping) -> None:
        self._write("training", step, scores)
        for name, writer in self._writers.items():
            with _written(), writer.as_default(step):
                tf.summary.scalar("gradient_norm/training", np.linalg.norm(gradients[name]))

    def validation(self, step: int, scores: Mapping) -> None:
        self._write("validation", step, scores)
        for writer in self._writers.values():
            with _written():
                writer.flush()

    def end(self, step: int, trained: Mapping) -> None:
        for name, writer in self._writers.items():
            network = trained[name]
            text = f"**{network.outcome}**: training loss {network.scores.loss:.4g} at the end"
            with _written(), writer.as_default(step):
                tf.summary.text("outcome", text)

    def close(self) -> None:
        for writer in self._writers.values():
            with _written():
                writer.close()

    def _write(self, kind: str, step: int, scores: Mapping) -> None:
        for name, writer in self._writers.items():
            with _written(), writer.as_default(step):
                tf.summary.scalar(f"loss/{kind}", scores[name].loss)
                tf.summary.scalar(f"accuracy/{kind}", scores[name].accuracy)


@contextlib.contextmanager
def _written():
    """TensorFlow's errors of the file system as Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's events cannot be written: {error.message}") from error
