"""Several devices: each takes its rows of a batch, and of a dropout's mask."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from transfer_keras.training.keras_internals import all_layers


def distribute(
    strategy: tf.distribute.Strategy,
    stream: Callable[[tf.distribute.InputContext], tf.data.Dataset],
):
    """Distributes a stream of batches over all devices.

    Args:
        strategy: holds the devices.
        stream: makes, of the input context of a process, its rows of every (images, labels); all
            processes have the same number of rows.

    Returns:
        A distributed dataset: it yields the arguments of `strategy.run`, batch by batch. Replica
        by replica, the rows are in the order of the batch.
    """

    def batches_of_process(context):
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        batches = stream(context)
        if replicas == 1:
            return batches

        def split(values):
            """Reshapes (rows, ...) to (replicas, rows of one, ...)."""
            shape = tf.shape(values)
            static = values.shape[0] and values.shape[0] // replicas
            first = [[replicas, shape[0] // replicas], shape[1:]]
            return tf.ensure_shape(
                tf.reshape(values, tf.concat(first, axis=0)), (replicas, static, *values.shape[1:])
            )

        by_replica = batches.map(lambda *values: tf.nest.map_structure(split, values))
        return by_replica.unbatch().prefetch(replicas)

    return strategy.distribute_datasets_from_function(batches_of_process)


class _ShardedDropout(keras.layers.Dropout):
    """Draws the mask of the whole batch, and takes the rows of this replica.

    All replicas draw the same mask, from the same seed, and it is the one that a single device
    draws. `advance_seed` has to be called after each step.
    """

    def call(self, inputs, training=False):
        """Drops the same values of these rows as a single device drops."""
        if not training or not self.rate:
            return inputs
        replica = tf.distribute.get_replica_context()
        rows = tf.shape(inputs)[0]
        shape = tf.concat([[rows * replica.num_replicas_in_sync], tf.shape(inputs)[1:]], axis=0)
        mask = tf.nn.experimental.stateless_dropout(
            tf.ones(shape, inputs.dtype),
            rate=self.rate,
            seed=tf.cast(tf.convert_to_tensor(self.seed_generator.state), tf.int32),
        )
        begin = tf.cast(replica.replica_id_in_sync_group, tf.int32) * rows
        return inputs * tf.reshape(mask[begin : begin + rows], tf.shape(inputs))

    def advance_seed(self) -> None:
        """Changes the state of the seed as one call on a single device does."""
        state = self.seed_generator.state
        state.assign(state + tf.constant([0, 1], state.dtype))


@contextlib.contextmanager
def masks_of_whole_batch(
    model: keras.Model, strategy: tf.distribute.Strategy
) -> Iterator[list[_ShardedDropout]]:
    """Makes the dropouts of a model draw on many devices what they draw on one.

    Keras's own cannot: every replica would draw the same mask for its rows of the batch.

    Args:
        model: calls each of its dropouts once a step.
        strategy: holds the devices; with a single one nothing is changed.

    Yields:
        The dropouts whose `advance_seed` has to be called after each step.
    """
    several = strategy.num_replicas_in_sync > 1
    classes = {
        layer: type(layer)
        for layer in all_layers(model)
        if several and type(layer) is keras.layers.Dropout and layer.rate and not layer.noise_shape
    }
    for layer in classes:
        layer.__class__ = _ShardedDropout
    try:
        yield list(classes)
    finally:
        for layer, own_class in classes.items():
            layer.__class__ = own_class
