"""A network that is tested again and again while its weights are set to other values."""

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import Interrupted, Treatment
from transfer_keras.experiments.context import Run
from transfer_keras.training import Predictions, Progress, make_test


class Tester:
    """Tests a network on the test pictures of its target, as a training does.

    Args:
        run: what the network belongs to.
        target: its task.
        network: images -> logits; its weights may change between two tests.
        bar: is moved by one at each test.
        title: of the work, for the person who stops it.
    """

    def __init__(self, run: Run, target: str, network: keras.Model, bar: Progress, title: str):
        self._run, self._bar, self._title, self._done = run, bar, title, 0
        examples, size = run.data.test[target], run.source.test_batch

        def stream(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return examples.evaluation(batch_size=size, context=context)

        named = keras.Model(network.input, {"network": network.output})
        self._test = make_test(named, stream, tf.distribute.get_strategy(), None)

    def __call__(self) -> Predictions:
        """Predicts all test pictures with the weights of now.

        Raises:
            Interrupted: if a stop was requested.
        """
        if self._run.stop.requested:
            raise Interrupted(self._title)
        predictions, _ = self._test(scores=True, activations=False)
        self._done += 1
        self._bar.advance(self._done)
        return predictions["network"]


def chance_top1(predictions: Predictions) -> float:
    """Computes the top-1 of the answer that is always the most frequent class."""
    return float(np.bincount(predictions.label).max() / len(predictions.label))


def network_file(treatment: Treatment, folder: str = "") -> str:
    """Gives the path of a network's file as seen from the workdir; `folder`: of another one."""
    return f"{folder}/{treatment.name}/network.keras".lstrip("/")
