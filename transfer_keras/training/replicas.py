"""What several devices do differently: their parts of a batch, and of a dropout's mask."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf


def distribute(
    strategy: tf.distribute.Strategy,
    stream: Callable[[tf.distribute.InputContext], tf.data.Dataset],
):
    """A stream of batches to all devices.

    Args:
        strategy: where it goes.
        stream: input context of a process -> its rows of every (images, labels), as many as of
            every other process.

    Returns:
        What gives `strategy.run` its arguments, batch by batch; replica by replica the rows are in
        the order of the batch.
    """

    def of_process(context):
        here = context.num_replicas_in_sync // context.num_input_pipelines
        batches = stream(context)
        if here == 1:
            return batches

        def split(values):
            shape = tf.shape(values)
            static = values.shape[0] and values.shape[0] // here
            parts = tf.reshape(values, tf.concat([[here, shape[0] // here], shape[1:]], axis=0))
            return tf.ensure_shape(parts, (here, static, *values.shape[1:]))

        return batches.map(lambda *values: tuple(map(split, values))).unbatch().prefetch(here)

    return strategy.distribute_datasets_from_function(of_process)


class _OwnPart(keras.layers.Dropout):
    """Draws the mask of the whole batch, and takes the rows of this replica.

    All replicas draw the same mask, from the same seed, and it is the one that a single device
    draws; its state moves on by `moved_on`.
    """

    def call(self, inputs, training=False):
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

    def moved_on(self) -> None:
        """As after a call by a single device."""
        state = self.seed_generator.state
        state.assign(state + tf.constant([0, 1], state.dtype))


@contextlib.contextmanager
def masks_of_whole_batch(
    model: keras.Model, strategy: tf.distribute.Strategy
) -> Iterator[list[_OwnPart]]:
    """Within it, the dropouts of a model draw on many devices what they draw on one.

    Keras's own cannot: every replica would draw the same mask for its part of the batch.

    Args:
        model: of which each dropout is called once a step.
        strategy: where it runs; on one device nothing is changed.

    Yields:
        The dropouts, which `moved_on` has to follow each step.
    """
    several = strategy.num_replicas_in_sync > 1
    kinds = {
        layer: type(layer)
        for layer in model._flatten_layers()
        if several and type(layer) is keras.layers.Dropout and not layer.noise_shape
    }
    for layer in kinds:
        layer.__class__ = _OwnPart
    try:
        yield list(kinds)
    finally:
        for layer, kind in kinds.items():
            layer.__class__ = kind
