"""The training loop: every network of a group in one step on one batch.

Our own and not Keras's `fit`, which cannot do multi-worker training on Keras 3
(keras-team/keras issue 20585). The networks of a group share nothing that is trained, so the
gradient of the sum of their losses is each one's own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.training.optimizers import Recipe


class Scores(NamedTuple):
    """Means over examples: cross-entropy in nats, and top-1 as a fraction."""

    loss: float
    accuracy: float


class Monitor(Protocol):
    """What looks on. Steps count the updates done."""

    def training(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores of each network over the batches since the last call."""

    def validation(self, step: int, scores: Mapping[str, Scores]) -> None:
        """Scores of each network on all test images."""

    def close(self) -> None:
        """The training has ended, well or not."""


class Predictions(NamedTuple):
    """What one network says of each test image, in the order of the dataset.

    Attributes:
        label: int32 (examples,), the truth.
        predicted: int32 (examples,), the class with the highest logit.
        loss: float32 (examples,), cross-entropy in nats.
    """

    label: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray

    @property
    def scores(self) -> Scores:
        return Scores(float(self.loss.mean()), float((self.label == self.predicted).mean()))


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
        (images, labels) -> float32 (names, 2): sums of loss and of right answers, the names in
        the order of `model.output`.
    """
    variables = model.trainable_variables
    optimizer.build(variables)

    def replica_step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(tf.cast(images, tf.float32), training=True)
            losses = [_cross_entropy(labels, logits[name]) for name in model.output]
            total = tf.add_n([tf.reduce_sum(loss) for loss in losses]) / recipe.batch_size
        gradients = tape.gradient(total, variables)
        optimizer.apply(recipe.adjust(gradients, variables), variables)
        right = [_right(labels, logits[name]) for name in model.output]
        return tf.stack(
            [
                tf.stack([tf.reduce_sum(loss), tf.reduce_sum(tf.cast(hit, tf.float32))])
                for loss, hit in zip(losses, right, strict=True)
            ]
        )

    @tf.function
    def step(images, labels):
        sums = strategy.run(replica_step, args=(images, labels))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)

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


def train(
    model: keras.Model,
    batches: tf.data.Dataset,
    test: tf.data.Dataset,
    *,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    validate_every: int,
    log_every: int,
    monitors: Sequence[Monitor] = (),
) -> dict[str, Predictions]:
    """Trains all networks of a fused model, in place.

    Args:
        model: see `make_train_step`.
        batches: endless (images, labels) of `recipe.batch_size` examples.
        test: one pass over the (images, labels) on which the networks are tested.
        recipe: how.
        strategy: where.
        validate_every, log_every: steps between two calls of the monitors; the last step is
            always among them.
        monitors: what looks on.

    Returns:
        What each network says of the test images after the last step.
    """
    optimizer = recipe.make_optimizer()
    step_function = make_train_step(model, optimizer, recipe, strategy)
    predict = make_predict(model)
    names, sums, since = list(model.output), 0.0, 0
    predictions: dict[str, Predictions] = {}
    try:
        for step, (images, labels) in zip(range(1, recipe.steps + 1), batches, strict=False):
            sums, since = sums + step_function(images, labels), since + 1
            if step % log_every == 0 or step == recipe.steps:
                means = sums.numpy() / (since * recipe.batch_size)
                scores = {n: Scores(*map(float, m)) for n, m in zip(names, means, strict=True)}
                for monitor in monitors:
                    monitor.training(step, scores)
                sums, since = 0.0, 0
            if step % validate_every == 0 or step == recipe.steps:
                predictions = predict(test)
                for monitor in monitors:
                    monitor.validation(step, {n: p.scores for n, p in predictions.items()})
    finally:
        for monitor in monitors:
            monitor.close()
    return predictions


def _cross_entropy(labels, logits):
    logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _right(labels, logits):
    return tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
