"""One update of every network of a group on one batch.

The networks share nothing that is trained, so the gradient of the sum of their losses is each
one's own.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from transfer_keras.training.batch_norm import fused_batch_norm
from transfer_keras.training.keras_internals import disable_gradient_sum
from transfer_keras.training.learning_rates import inference_mode
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.replicas import masks_of_whole_batch


def make_train_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    recipe: Recipe,
    strategy: tf.distribute.Strategy,
    *,
    inputs: list[keras.KerasTensor] | None = None,
    jit_compile: bool = False,
) -> Callable:
    """Makes one update, as a `tf.function`.

    Args:
        model: images, float32 -> {name: logits}, as `surgery.fuse` makes it.
        optimizer: from `recipe.make_optimizer()`; it is built here.
        recipe: its `batch_size` is that of the whole batch, over all devices.
        strategy: holds the devices; model and optimizer were made in its scope.
        inputs: tensors of the model, of which the update takes the values in place of images;
            None: the model's input.
        jit_compile: whether XLA compiles the forward and the backward pass.

    Returns:
        (images, labels, measure, frozen_batch_norm=False) -> (sums, norms). `measure`: a boolean
        tensor. `frozen_batch_norm`: a Python boolean, whether the layers of
        `recipe.learning_rates.frozen_batch_norm` are in inference mode; each of its two values has
        a graph of its own. `sums`: float32 (names, 2), of loss and of right predictions, the names
        in the order of `model.output`; all classes have the same weight in them. `norms`: float32
        (trainable variables,), the L2 norm of the loss's gradient by each of
        `model.trainable_variables`, before weight decay; zeros unless `measure`.

    Raises:
        ValueError: if the recipe has another number of class weights than the networks have
            classes, or another number of learning rates than they have trainable variables.
    """
    forward = part_above(model, inputs)
    variables = model.trainable_variables
    weigh = _make_weighing(recipe.class_weights, model)
    with strategy.scope():
        optimizer.build(variables)
    disable_gradient_sum(optimizer)

    # `frozen_batch_norm` is an argument because `tf.function` traces once for each of its values.
    def compute_gradients(images, labels, frozen_batch_norm):
        with tf.GradientTape() as tape:
            logits = forward(as_input(images), training=True)
            losses = [cross_entropy(labels, logits[name]) for name in model.output]
            weighed = [tf.reduce_sum(weigh(loss, labels)) for loss in losses]
            total = tf.add_n(weighed) / recipe.batch_size
        # Those of an `Embedding` are `IndexedSlices`.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(total, variables)]
        hits = [_is_right(labels, logits[name]) for name in model.output]
        sums = [
            tf.stack([tf.reduce_sum(loss), tf.reduce_sum(tf.cast(hit, loss.dtype))])
            for loss, hit in zip(losses, hits, strict=True)
        ]
        return gradients, tf.stack(sums)

    # XLA cannot compile the update, in which the replicas communicate.
    if jit_compile:
        compute_gradients = tf.function(compute_gradients, jit_compile=True)

    def sum_over_replicas(strategy, *gradients):
        pairs = [(gradient, gradient) for gradient in gradients]
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)

    def replica_step(images, labels, measure, frozen_batch_norm):
        gradients, sums = compute_gradients(images, labels, frozen_batch_norm)
        if strategy.num_replicas_in_sync > 1:
            gradients = tf.distribute.get_replica_context().merge_call(sum_over_replicas, gradients)
        norms = tf.cond(
            measure,
            lambda: tf.stack([tf.norm(gradient) for gradient in gradients]),
            lambda: tf.zeros(len(gradients), gradients[0].dtype),
        )
        optimizer.apply(recipe.adjust(gradients, variables), variables)
        return sums, norms

    @tf.function
    def step(images, labels, measure, frozen_batch_norm=False):
        frozen = recipe.learning_rates.frozen_batch_norm if frozen_batch_norm else ()
        with (
            fused_batch_norm(),
            masks_of_whole_batch(model, strategy) as dropouts,
            inference_mode(frozen),
        ):
            arguments = (images, labels, measure, frozen_batch_norm)
            sums, norms = strategy.run(replica_step, args=arguments)
            for dropout in dropouts:
                dropout.advance_seed()
        # All replicas have the same norms.
        norms, *_ = strategy.experimental_local_results(norms)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None), norms

    return step


def join_updates(updates: Sequence[Callable]) -> Callable:
    """Joins updates that share no variable into one graph, where they run at the same time.

    Args:
        updates: from `make_train_step`.

    Returns:
        (batches, measure, frozen_batch_norm) -> [(sums, norms), ...]: of each update its (images,
        labels), its `measure`, and its `frozen_batch_norm`, which are a tuple.
    """

    def update_all(batches, measure, frozen_batch_norm):
        each = zip(updates, batches, measure, frozen_batch_norm, strict=True)
        return [update(*batch, is_due, frozen) for update, batch, is_due, frozen in each]

    return update_all if len(updates) == 1 else tf.function(update_all)


def part_above(model: keras.Model, inputs: list[keras.KerasTensor] | None) -> keras.Model:
    """Gives the part of a model above tensors of it, which are its inputs; None: all of it."""
    return model if inputs is None else keras.Model(inputs, model.output)


def as_input(images: tf.Tensor | tuple[tf.Tensor, ...]) -> tf.Tensor | list[tf.Tensor]:
    """Gives what a network takes of images of any number type, or of values in their place."""
    if isinstance(images, tuple | list):
        return list(images)
    return tf.cast(images, tf.float32)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Computes the cross-entropy of each example in nats, in float32 or what is more precise.

    Args:
        labels: int32 (examples,), 0 or more.
        logits: (examples, classes).
    """
    if logits.dtype.size < tf.float32.size:
        logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _is_right(labels, logits):
    """Tells of each example whether the highest logit is that of its label."""
    return tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)


def _make_weighing(weights: Sequence[float] | None, model: keras.Model) -> Callable:
    """Makes (losses, labels) -> the losses, each times the weight of its label's class."""
    if weights is None:
        return lambda losses, labels: losses
    classes = {name: logits.shape[-1] for name, logits in model.output.items()}
    if set(classes.values()) != {len(weights)}:
        raise ValueError(f"class_weights: expected {classes}. Received: {len(weights)}")
    return lambda losses, labels: losses * tf.gather(tf.constant(weights, losses.dtype), labels)
