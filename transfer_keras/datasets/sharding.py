"""Decides which rows of every batch a process reads, where several devices share the work.

A `tf.distribute.InputContext` describes the share of a process: its number among the processes,
and the number of devices (replicas) of all of them. `InputContext()` is one process on one device.
"""

import tensorflow as tf

ALL_ROWS = tf.distribute.InputContext()


def shard(context: tf.distribute.InputContext, batch_size: int) -> slice:
    """Gives the rows of a batch that a process reads; all processes read equally many, in order.

    Args:
        context: the process's share of the work.
        batch_size: of the whole batch, a multiple of the number of replicas.
    """
    size = batch_size // context.num_input_pipelines
    return slice(context.input_pipeline_id * size, (context.input_pipeline_id + 1) * size)


def padded_size(context: tf.distribute.InputContext, count: int) -> int:
    """Rounds the size of a batch, which may be short, up to a multiple of the replicas."""
    return -(-count // context.num_replicas_in_sync) * context.num_replicas_in_sync
