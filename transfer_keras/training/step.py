"""One update, and one test, of every network of a group on one batch.

The networks share nothing that is trained, so the gradient of the sum of their losses is each
one's own.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import Predictions


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
) -> Callable:
    """One update as a `tf.function`.

    Args:
        model: images, float32 -> {name: logits}, as `surgery.fuse` makes it.
        optimizer: from `recipe.make_optimizer()`; it is built here.
        recipe: its `batch_size` is that of the whole batch, over all devices.
        strategy: where it runs.

    Returns:
        (images, labels, watch) -> (sums, norms). `watch`: a boolean tensor. `sums`: float32
        (names, 2), of loss and of right answers, the names in the order of `model.output`.
        `norms`: float32 (trainable variables,), the L2 norm of the loss's gradient by each of
        `model.trainable_variables`, before weight decay; zeros unless `watch`.
    """
    variables = model.trainable_variables
    optimizer.build(variables)

    def replica_step(images, labels, watch):
        with tf.GradientTape() as tape:
            logits = model(tf.cast(images, tf.float32), training=True)
            losses = [_cross_entropy(labels, logits[name]) for name in model.output]
            total = tf.add_n([tf.reduce_sum(loss) for loss in losses]) / recipe.batch_size
        gradients = tape.gradient(total, variables)
        norms = tf.cond(
            watch,
            lambda: tf.stack([tf.norm(gradient) for gradient in gradients]),
            lambda: tf.zeros(len(gradients)),
        )
        optimizer.apply(recipe.adjust(gradients, variables), variables)
        right = [_right(labels, logits[name]) for name in model.output]
        sums = [
            tf.stack([tf.reduce_sum(loss), tf.reduce_sum(tf.cast(hit, tf.float32))])
            for loss, hit in zip(losses, right, strict=True)
        ]
        return tf.stack(sums), norms

    @tf.function
    def step(images, labels, watch):
        measured = strategy.run(replica_step, args=(images, labels, watch))
        return tf.nest.map_structure(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None), measured
        )

    return step


def make_predict(model: keras.Model) -> Callable[[tf.data.Dataset], dict[str, Predictions]]:
    """A function that runs the model in inference mode over one pass of (images, labels)."""

    @tf.function(reduce_retracing=True)
    def batch(images, labels):
        logits = model(tf.cast(images, tf.float32), training=False)
        return {
            name: (
                tf.argmax(logits[name], axis=-1, output_type=tf.int32),
                _cross_entropy(labels, logits[name]),
            )
            for name in model.output
        }

    def predict(examples: tf.data.Dataset) -> dict[str, Predictions]:
        labels, found = [], []
        for images, batch_labels in examples:
            labels.append(batch_labels.numpy())
            found.append(tf.nest.map_structure(lambda x: x.numpy(), batch(images, batch_labels)))
        label = np.concatenate(labels)
        return {
            name: Predictions(
                label,
                np.concatenate([part[name][0] for part in found]),
                np.concatenate([part[name][1] for part in found]),
            )
            for name in model.output
        }

    return predict


def _cross_entropy(labels, logits):
    logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _right(labels, logits):
    return tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
