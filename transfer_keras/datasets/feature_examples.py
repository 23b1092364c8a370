"""The features of a task's pictures in their place, as endless shuffled batches or as one pass."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from transfer_keras.datasets.examples import in_order, shuffled_places
from transfer_keras.datasets.sharding import ALL_ROWS
from transfer_keras.datasets.sources import fixed_parallelism


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureExamples:
    """What the frozen part of networks makes of the pictures of one task and split.

    The streams have the examples in the order of those of `Examples`, whose pictures they are.

    Attributes:
        features: one array or more, in memory or memory-mapped, each (views, examples, ...): of a
            view of each picture; that of epoch e is number e modulo views.
        labels: int32 (examples,), 0..classes-1.
    """

    features: Sequence[np.ndarray]
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def training(
        self,
        *,
        batch_size: int,
        seed: int,
        start: int = 0,
        context: tf.distribute.InputContext = ALL_ROWS,
    ) -> tf.data.Dataset:
        """Gives batches without end, of the same examples as `Examples.training`.

        Args:
            batch_size, seed, start, context: see `Examples.training`.

        Returns:
            A dataset of (features, labels): a tuple of (rows, ...) in the dtype of each array;
            int32 (rows,).
        """
        places = shuffled_places(len(self), batch_size, seed, context)
        labels = tf.constant(self.labels)
        views = len(self.features[0])

        def batch(step):
            index, epoch = places(step)
            return self._take(epoch % views, index), tf.gather(labels, index)

        steps = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        batches = steps.map(batch, num_parallel_calls=2, deterministic=True)
        return batches.prefetch(2).with_options(fixed_parallelism())

    def evaluation(
        self, *, batch_size: int, context: tf.distribute.InputContext = ALL_ROWS
    ) -> tf.data.Dataset:
        """Gives the features of all examples, in order, in one pass; of the first view.

        Args:
            batch_size, context: see `Examples.evaluation`.

        Returns:
            A dataset of (features, labels), as `training` gives them; the label is -1 for rows
            that only pad the batch.
        """
        labels = tf.constant(self.labels)

        def batch(index, real):
            return self._take(tf.constant(0, tf.int64), index), tf.where(
                real, tf.gather(labels, index), -1
            )

        batches = in_order(len(self), batch_size, context).map(batch)
        return batches.prefetch(2).with_options(fixed_parallelism())

    def _take(self, view: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Reads the features of some examples, in a graph.

        The arrays are read by NumPy: as constants of the graph they would be in memory twice.
        """

        def take(view, index):
            return [features[view][index] for features in self.features]

        dtypes = [tf.as_dtype(features.dtype) for features in self.features]
        values = tf.numpy_function(take, [view, index], dtypes, stateful=False)
        return tuple(
            tf.ensure_shape(value, (index.shape[0], *features.shape[2:]))
            for value, features in zip(values, self.features, strict=True)
        )
