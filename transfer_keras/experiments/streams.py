"""What a group is trained from and tested on: pictures, or the features that are kept of them."""

import functools
import time
from collections.abc import Sequence

import keras
import tensorflow as tf

from transfer_keras.config import Group
from transfer_keras.datasets import AnyExamples, FeatureExamples
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.kept_features import keep_features
from transfer_keras.training import Streams, as_input


def make_streams(run: Run, group: Group, fused: keras.Model) -> Streams:
    """Makes the streams that a group is trained from: of features where they are kept.

    Args:
        run: of this process.
        group: whose networks they are.
        fused: the networks of the group.

    Raises:
        Interrupted: if a stop was requested.
        UserError: if features are to be kept always, and cannot be.
    """
    begun = time.monotonic()
    kept = keep_features(run, group, fused)
    if kept is None:
        return _picture_streams(run, group)
    training, pictures = run.experiment.training, _picture_streams(run, group)

    def with_pictures(features: tf.data.Dataset, images: tf.data.Dataset) -> tf.data.Dataset:
        if not kept.with_pictures:
            return features
        both = tf.data.Dataset.zip(features, images)
        return both.map(lambda kept, seen: ((*kept[0], as_input(seen[0])), kept[1]))

    def batches(start: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
        features = kept.train.training(
            batch_size=training.batch_size, seed=training.seed, start=start, context=context
        )
        return with_pictures(features, pictures.batches(start, context))

    def test(context: tf.distribute.InputContext) -> tf.data.Dataset:
        features = _in_turn(run, [kept.test, kept.held_back], context)
        return with_pictures(features, pictures.test(context))

    tensors = [*kept.tensors, fused.input] if kept.with_pictures else kept.tensors
    seconds = time.monotonic() - begun
    return Streams(batches, test, pictures.strategy, tensors, seconds, pictures.held_back)


def _picture_streams(run: Run, group: Group) -> Streams:
    training, train = run.experiment.training, run.data.train[group.target]
    held_back = run.data.held_back.get(group.target)
    mean = run.source.mean_image(group.treatments)

    def batches(start: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
        return train.training(
            batch_size=training.batch_size,
            seed=training.seed,
            start=start,
            mean=mean,
            context=context,
        )

    def test(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return _in_turn(run, [run.data.test[group.target], held_back], context)

    count = len(held_back) if held_back else 0
    return Streams(batches, test, run.devices.strategy, held_back=count)


def _in_turn(
    run: Run,
    parts: Sequence[AnyExamples | FeatureExamples | None],
    context: tf.distribute.InputContext,
) -> tf.data.Dataset:
    """Gives one pass over the examples of each part that is there."""
    batch_size = run.source.test_batch
    passes = [part.evaluation(batch_size=batch_size, context=context) for part in parts if part]
    return functools.reduce(tf.data.Dataset.concatenate, passes)


def test_stream(run: Run, target: str, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Gives one pass over the test pictures of a target."""
    return run.data.test[target].evaluation(batch_size=run.source.test_batch, context=context)
