"""Which rows of every batch one process reads, where several devices share the work.

The share of a process is told by a `tf.distribute.InputContext`: its number among the processes,
and the devices (replicas) of all of them. `InputContext()` is the one process on one device.
"""

import tensorflow as tf

ALL_ROWS = tf.distribute.InputContext()


def shard(context: tf.distribute.InputContext, batch_size: int) -> slice:
    """Gives the rows of a process: as many for each, in order.

    Args:
        context: of the process.
        batch_size: of the whole batch, a multiple of the replicas.
    """
    size = batch_size // context.num_input_pipelines
    return slice(context.input_pipeline_id * size, (context.input_pipeline_id + 1) * size)


def padded_size(context: tf.distribute.InputContext, count: int) -> int:
    """Gives the size to which a batch that may be short is padded: a multiple of the replicas."""
    return -(-count // context.num_replicas_in_sync) * context.num_replicas_in_sync
