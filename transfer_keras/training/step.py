"""One update, and one test, of every network of a group on one batch.

The networks share nothing that is trained, so the gradient of the sum of their losses is each
one's own.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.training.learning_rates import inference_mode
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.replicas import masks_of_whole_batch
from transfer_keras.training.scores import Predictions
from transfer_keras.training.unit_metrics import Watch


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    *,
    jit_compile: bool = False,
) -> Callable:
    """One update as a `tf.function`.

    Args:
        model: images, float32 -> {name: logits}, as `surgery.fuse` makes it.
        optimizer: from `recipe.make_optimizer()`; it is built here.
        recipe: its `batch_size` is that of the whole batch, over all devices.
        strategy: where it runs, in whose scope model and optimizer were made.
        jit_compile: whether XLA compiles the forward and the backward pass.

    Returns:
        (images, labels, watch, still=False) -> (sums, norms). `watch`: a boolean tensor. `still`:
        a Python boolean, whether the layers of `recipe.rates.still` are in inference mode; each
        of the two has a graph of its own. `sums`: float32 (names, 2), of loss and of right
        answers, the names in the order of `model.output`; no class weighs more in them. `norms`:
        float32 (trainable variables,), the L2 norm of the loss's gradient by each of
        `model.trainable_variables`, before weight decay; zeros unless `watch`.

    Raises:
        ValueError: if the recipe has another number of class weights than the networks have
            classes, or another number of rates than they have trainable variables.
    """
    variables = model.trainable_variables
    weigh = _weighing(recipe.class_weights, model)
    with strategy.scope():
        optimizer.build(variables)
    # Keras's own sum is by a custom gradient, which TensorFlow registers for good: with it the
    # graph, and the weights of every group that the process has trained.
    optimizer._all_reduce_sum_gradients = list

    def gradients_of(images, labels, still):  # `still` for `tf.function`, which traces by it.
        with tf.GradientTape() as tape:
            logits = model(tf.cast(images, tf.float32), training=True)
            losses = [_cross_entropy(labels, logits[name]) for name in model.output]
            weighed = [tf.reduce_sum(weigh(loss, labels)) for loss in losses]
            total = tf.add_n(weighed) / recipe.batch_size
        gradients = tape.gradient(total, variables)
        right = [_right(labels, logits[name]) for name in model.output]
        sums = [
            tf.stack([tf.reduce_sum(loss), tf.reduce_sum(tf.cast(hit, loss.dtype))])
            for loss, hit in zip(losses, right, strict=True)
        ]
        return gradients, tf.stack(sums)

    if jit_compile:  # Not the update: it speaks to the other replicas.
        gradients_of = tf.function(gradients_of, jit_compile=True)

    def summed_up(strategy, *gradients):
        pairs = [(gradient, gradient) for gradient in gradients]
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

    def replica_step(images, labels, watch, still):
        gradients, sums = gradients_of(images, labels, still)
        if strategy.num_replicas_in_sync > 1:
            gradients = tf.distribute.get_replica_context().merge_call(summed_up, gradients)
        norms = tf.cond(
            watch,
            lambda: tf.stack([tf.norm(gradient) for gradient in gradients]),
            lambda: tf.zeros(len(gradients), gradients[0].dtype),
        )
        optimizer.apply(recipe.adjust(gradients, variables), variables)
        return sums, norms

    @tf.function
    def step(images, labels, watch, still=False):
        held = recipe.rates.still if still else ()
        with masks_of_whole_batch(model, strategy) as dropouts, inference_mode(held):
            sums, norms = strategy.run(replica_step, args=(images, labels, watch, still))
            for dropout in dropouts:
                dropout.moved_on()
        norms, *_ = strategy.experimental_local_results(norms)  # All replicas' are the same.
        return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), norms

    return step


def make_test(model: keras.Model, watch: Watch | None = None) -> Callable:
    """A function that runs the model in inference mode over one pass of (images, labels).

    Args:
        model: as for `make_train_step`.
        watch: what is measured besides the scores; None: nothing.

    Returns:
        (examples, scores, activations) -> (predictions, measured). `examples`: the pass, a
        `tf.data.Dataset`. `scores`: whether predictions on all of it are wanted, a mapping by the
        networks' names; else it is empty. `activations`: whether what `watch` measures is wanted,
        a list with an entry a batch; else it is empty. Both come out of one pass, and the pass
        ends where nothing more is wanted of it.
    """
    tensors = list(watch.tensors) if watch else []
    whole = keras.Model(model.input, (model.output, tensors)) if tensors else None

    def predicted(logits, labels):
        return {name: _predicted(logits[name], labels) for name in model.output}

    @tf.function(reduce_retracing=True)
    def plain(images, labels):
        logits = model(tf.cast(images, tf.float32), training=False)
        return predicted(logits, labels), []

    @tf.function(reduce_retracing=True)
    def watching(images, labels):
        logits, values = whole(tf.cast(images, tf.float32), training=False)
        return predicted(logits, labels), watch.measure(values)

    def test(examples: tf.data.Dataset, *, scores: bool, activations: bool):
        labels, found, measured, seen = [], [], [], 0
        activations = activations and whole is not None
        if not (scores or activations):  # Else a batch would be read for nothing.
            return {}, []
        for images, batch_labels in examples:
            look = activations and seen < watch.images
            if not (look or scores):
                break
            out = (watching if look else plain)(images, batch_labels)
            answers, kept = tf.nest.map_structure(lambda x: x.numpy(), out)
            labels.append(batch_labels.numpy())
            found.append(answers)
            measured += [kept] if look else []
            seen += len(batch_labels)
        predictions = {
            name: Predictions(
                np.concatenate(labels),
                np.concatenate([part[name][0] for part in found]),
                np.concatenate([part[name][1] for part in found]),
            )
            for name in (model.output if scores else ())
        }
        return predictions, measured

    return test


def make_test_in_parts(model: keras.Model, strategy: tf.distribute.Strategy) -> Callable:
    """As `make_test`, of scores alone, on all devices.

    Returns:
        One pass as `replicas.distribute` gives it, where rows that only fill a batch have the label
        -1 -> predictions on the others.
    """

    def replica_test(images, labels):
        logits = model(tf.cast(images, tf.float32), training=False)
        return labels, {name: _predicted(logits[name], labels) for name in model.output}

    @tf.function(reduce_retracing=True)
    def batch(images, labels):
        out = strategy.run(replica_test, args=(images, labels))
        return tf.nest.map_structure(lambda value: strategy.gather(value, axis=0), out)

    def test(examples):
        found = [
            tf.nest.map_structure(lambda x: x.numpy(), batch(images, labels))
            for images, labels in examples
        ]
        labels = np.concatenate([labels for labels, _ in found])
        real = labels >= 0
        return {
            name: Predictions(
                labels[real],
                *(np.concatenate([out[name][k] for _, out in found])[real] for k in range(2)),
            )
            for name in model.output
        }

    return test


def _weighing(weights: Sequence[float] | None, model: keras.Model) -> Callable:
    """(losses, labels) -> the losses, each times the weight of its class."""
    if weights is None:
        return lambda losses, labels: losses
    classes = {name: logits.shape[-1] for name, logits in model.output.items()}
    if set(classes.values()) != {len(weights)}:
        raise ValueError(f"class_weights: expected {classes}. Received: {len(weights)}")
    return lambda losses, labels: losses * tf.gather(tf.constant(weights, losses.dtype), labels)


def _predicted(logits, labels):
    answers = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return answers, _cross_entropy(tf.maximum(labels, 0), logits)


def _cross_entropy(labels, logits):
    if logits.dtype.size < tf.float32.size:
        logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _right(labels, logits):
    return tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
