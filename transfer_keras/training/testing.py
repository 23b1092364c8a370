"""One pass over the test images: predictions of every network, and summaries of activations."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.training.batch_norm import fused_batch_norm
from transfer_keras.training.replicas import distribute
from transfer_keras.training.scores import Predictions
from transfer_keras.training.step import as_input, cross_entropy, part_above
from transfer_keras.training.unit_metrics import UnitMetrics


def make_test(
    model: keras.Model,
    stream: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    strategy: tf.distribute.Strategy,
    unit_metrics: UnitMetrics | None,
    *,
    inputs: list[keras.KerasTensor] | None = None,
) -> Callable:
    """Makes a pass over the test images; all devices share the predictions.

    Args:
        model: images, float32 -> {name: logits}, as `surgery.fuse` makes it.
        stream: input context -> one pass over (images, labels); see `loop.Streams`.
        strategy: holds the devices.
        unit_metrics: what is measured besides the scores; None: nothing.
        inputs: tensors of the model, of which the stream has the values in place of images; None:
            the model's input.

    Returns:
        (scores, activations) -> (predictions, summaries). `scores`: whether to predict all
        images; the predictions are a mapping by the networks' names, else it is empty.
        `activations`: whether to measure the units; the summaries are a list with an entry a
        batch, else it is empty.
    """
    forward = part_above(model, inputs)
    measure = None
    if unit_metrics and unit_metrics.tensors:
        measure = _with_tensors(model, inputs or [model.input], unit_metrics.tensors)
    run_alone = _make_single_test(forward, measure, unit_metrics)
    all_rows = stream(tf.distribute.InputContext())
    if strategy.num_replicas_in_sync == 1:
        return lambda *, scores, activations: run_alone(
            all_rows, scores=scores, activations=activations
        )
    run_sharded, shards = _make_sharded_test(forward, strategy), distribute(strategy, stream)

    # Each process measures the activations of the same first images by itself.
    def test(*, scores: bool, activations: bool):
        _, summaries = run_alone(all_rows, scores=False, activations=activations)
        return run_sharded(shards) if scores else {}, summaries

    return test


def _with_tensors(
    model: keras.Model,
    inputs: list[keras.KerasTensor],
    tensors: Sequence[keras.KerasTensor],
) -> Callable:
    """Makes inputs -> ({name: logits}, the values of tensors), in inference mode.

    A tensor can be wanted twice, or be an input itself, of which Keras makes no model.
    """
    given = {id(tensor): tensor for tensor in inputs}
    wanted = {id(tensor): tensor for tensor in (*model.output.values(), *tensors)}
    inside = [tensor for key, tensor in wanted.items() if key not in given]
    measured = keras.Model(inputs, inside)

    def call(values):
        values = tf.nest.flatten(values)
        made = tf.nest.flatten(measured(values, training=False))
        known = dict(zip(given, values, strict=True))
        known |= {id(tensor): value for tensor, value in zip(inside, made, strict=True)}
        logits = {name: known[id(tensor)] for name, tensor in model.output.items()}
        return logits, [known[id(tensor)] for tensor in tensors]

    return call


def _make_single_test(
    model: keras.Model, with_tensors: Callable | None, unit_metrics: UnitMetrics | None
) -> Callable:
    """Makes a pass on one device.

    Args:
        model: inputs -> {name: logits}.
        with_tensors: what `_with_tensors` makes; None: nothing is measured.
        unit_metrics: see `make_test`.

    Returns:
        (examples, scores, activations) -> (predictions, summaries), as `make_test` describes;
        `examples` is the pass. It ends where nothing more of it is needed.
    """

    def predict(logits, labels):
        return {name: _predict(logits[name], labels) for name in model.output}

    @tf.function(reduce_retracing=True)
    def predict_only(images, labels):
        with fused_batch_norm():
            logits = model(as_input(images), training=False)
        return predict(logits, labels), []

    @tf.function(reduce_retracing=True)
    def predict_and_measure(images, labels):
        with fused_batch_norm():
            logits, values = with_tensors(as_input(images))
        return predict(logits, labels), unit_metrics.summarise(values)

    def test(examples: tf.data.Dataset, *, scores: bool, activations: bool):
        labels, outputs, summaries, images_done = [], [], [], 0
        activations = activations and with_tensors is not None
        # Without this, one batch would be read for nothing.
        if not (scores or activations):
            return {}, []
        for images, batch_labels in examples:
            measure = activations and images_done < unit_metrics.images
            if not (measure or scores):
                break
            run = predict_and_measure if measure else predict_only
            result = run(images, batch_labels)
            predicted, summary = tf.nest.map_structure(lambda x: x.numpy(), result)
            labels.append(batch_labels.numpy())
            outputs.append(predicted)
            summaries += [summary] if measure else []
            images_done += len(batch_labels)
        predictions = {
            name: Predictions(
                np.concatenate(labels),
                np.concatenate([batch[name][0] for batch in outputs]),
                np.concatenate([batch[name][1] for batch in outputs]),
            )
            for name in (model.output if scores else ())
        }
        return predictions, summaries

    return test


def _make_sharded_test(model: keras.Model, strategy: tf.distribute.Strategy) -> Callable:
    """Makes a pass on all devices, for predictions alone.

    Returns:
        A function: a pass as `replicas.distribute` gives it, where rows that only fill a batch
        have the label -1 -> predictions for the other rows.
    """

    def predict_shard(images, labels):
        with fused_batch_norm():
            logits = model(as_input(images), training=False)
        return labels, {name: _predict(logits[name], labels) for name in model.output}

    @tf.function(reduce_retracing=True)
    def predict_batch(images, labels):
        out = strategy.run(predict_shard, args=(images, labels))
        return tf.nest.map_structure(lambda value: strategy.gather(value, axis=0), out)

    def test(examples):
        batches = [
            tf.nest.map_structure(lambda x: x.numpy(), predict_batch(images, labels))
            for images, labels in examples
        ]
        labels = np.concatenate([labels for labels, _ in batches])
        real = labels >= 0
        return {
            name: Predictions(
                labels[real],
                *(np.concatenate([out[name][k] for _, out in batches])[real] for k in range(2)),
            )
            for name in model.output
        }

    return test


def _predict(logits, labels):
    """Gives the class with the highest logit and the loss of each example."""
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return predicted, cross_entropy(tf.maximum(labels, 0), logits)
