"""Features in place of pictures come in the order of the pictures."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.datasets import Examples, FeatureExamples, Preprocessing

COUNT, VIEWS = 23, 3


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, 8, 8, 3)).astype(np.uint8)
    cut = Preprocessing(6, 8, augment=True, views=VIEWS)
    return Examples(images, rng.integers(0, 4, COUNT).astype(np.int32), np.arange(COUNT) * 7, cut)


@pytest.fixture(scope="module")
def features(pictures):
    """Keeps the crops themselves, and their sums."""
    crops = np.stack([
        np.concatenate([images for images, _ in pictures.view(v, batch_size=5, seed=1)])
        for v in range(VIEWS)
    ])  # fmt: skip
    return FeatureExamples([crops, crops.astype(np.float32).sum(axis=(2, 3, 4))], pictures.labels)


def test_views_are_the_crops_of_the_first_epochs_and_repeat(pictures):
    new = dataclasses.replace(
        pictures, preprocessing=dataclasses.replace(pictures.preprocessing, views=None)
    )
    streams = [
        examples.training(batch_size=COUNT, seed=1).take(2 * VIEWS).as_numpy_iterator()
        for examples in (pictures, new)
    ]
    for epoch, ((repeated, labels), (fresh, other_labels)) in enumerate(zip(*streams, strict=True)):
        assert np.array_equal(labels, other_labels)
        assert np.array_equal(repeated, fresh) == (epoch < VIEWS)


@pytest.mark.parametrize("start", [0, 9])
def test_training_gives_the_features_of_the_same_crops(pictures, features, start):
    seen = pictures.training(batch_size=4, seed=1, start=start).take(40)
    kept = features.training(batch_size=4, seed=1, start=start).take(40)
    for (images, labels), ((crops, sums), same_labels) in zip(seen, kept, strict=True):
        assert np.array_equal(images, crops)
        assert np.array_equal(labels, same_labels)
        assert np.array_equal(tf.reduce_sum(tf.cast(images, tf.float32), (1, 2, 3)), sums)


def test_a_pass_gives_each_once_and_marks_what_pads(features):
    context = tf.distribute.InputContext(num_replicas_in_sync=2)
    batches = list(features.evaluation(batch_size=6, context=context).as_numpy_iterator())
    labels = np.concatenate([labels for _, labels in batches])
    crops = np.concatenate([crops for (crops, _), _ in batches])
    assert len(labels) == COUNT + 1
    assert np.array_equal(labels[:COUNT], features.labels)
    assert labels[COUNT] == -1
    assert np.array_equal(crops[:COUNT], features.features[0][0])


def test_shards_of_a_batch_are_its_rows(features):
    whole = next(features.training(batch_size=6, seed=0).as_numpy_iterator())
    rows = []
    for part in range(2):
        context = tf.distribute.InputContext(2, part, 2)
        rows.append(
            next(features.training(batch_size=6, seed=0, context=context).as_numpy_iterator())
        )
    assert np.array_equal(np.concatenate([labels for _, labels in rows]), whole[1])
    assert np.array_equal(np.concatenate([f[0] for f, _ in rows]), whole[0][0])


def test_bfloat16_stays_bfloat16(pictures):
    values = tf.cast(np.arange(2.0 * COUNT).reshape(1, COUNT, 2), tf.bfloat16).numpy()
    (batch,), _ = next(iter(FeatureExamples([values], pictures.labels).evaluation(batch_size=4)))
    assert batch.dtype == tf.bfloat16
    assert batch.shape == (4, 2)


def test_a_digest_is_of_pictures_and_their_crops(pictures):
    images = pictures.images.copy()
    images[3, 0, 0, 0] ^= 1
    others = [
        dataclasses.replace(pictures, images=images),
        dataclasses.replace(pictures, numbers=pictures.numbers + 1),
        dataclasses.replace(pictures, preprocessing=Preprocessing(6, 8, augment=False)),
    ]
    digests = {examples.digest for examples in (pictures, *others)}
    assert len(digests) == 4
    assert dataclasses.replace(pictures).digest == pictures.digest
