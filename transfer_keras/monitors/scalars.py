"""Loss and accuracy to TensorBoard, a run a treatment."""

import pathlib
from collections.abc import Mapping

import tensorflow as tf


class Scalars:
    """Tags `loss/training`, `accuracy/training`, `loss/validation`, `accuracy/validation`.

    Args:
        folders: network's name -> the folder of its run.
    """

    def __init__(self, folders: Mapping[str, pathlib.Path]):
        self._writers = {n: tf.summary.create_file_writer(str(f)) for n, f in folders.items()}

    def training(self, step: int, scores: Mapping) -> None:
        self._write("training", step, scores)

    def validation(self, step: int, scores: Mapping) -> None:
        self._write("validation", step, scores)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _write(self, kind: str, step: int, scores: Mapping) -> None:
        for name, score in scores.items():
            with self._writers[name].as_default(step):
                tf.summary.scalar(f"loss/{kind}", score.loss)
                tf.summary.scalar(f"accuracy/{kind}", score.accuracy)
