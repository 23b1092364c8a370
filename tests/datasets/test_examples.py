import itertools

import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.datasets.augmentation import draw, random_crop_and_mirror
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing


def make_examples(count=50, *, image_size=6, resize=6, pad=0, augment=False):
    """Makes pictures whose pixels hold their picture's number (first channel) and their place."""
    images = np.zeros((count, resize, resize, 3), np.uint8)
    images[..., 0] = np.arange(count)[:, None, None]
    images[..., 1] = np.arange(1, resize + 1)[:, None]
    images[..., 2] = np.arange(1, resize + 1)
    labels = np.arange(count, dtype=np.int32) % 7
    cut = Preprocessing(image_size, resize, pad, augment)
    return Examples(images, labels, np.arange(count) + 1000, cut)


def take(examples, batches, **arguments):
    stream = itertools.islice(examples.training(batch_size=8, **arguments), batches)
    return [(images.numpy(), labels.numpy()) for images, labels in stream]


def test_of_classes_against_brute_force():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 200).astype(np.int32)
    images = rng.integers(0, 255, (200, 4, 4, 3)).astype(np.uint8)
    classes = (7, 2, 3)
    selected = Examples.of_classes(images, labels, classes, Preprocessing(4, 4))
    expected = [i for i in range(200) if labels[i] in classes]
    assert selected.numbers.tolist() == expected
    assert [classes[k] for k in selected.labels] == [labels[i] for i in expected]
    assert np.array_equal(selected.images, images[expected])


@pytest.mark.parametrize("first", [1, 5, 1000])
def test_the_first_of_each_class_against_brute_force(first):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, 200).astype(np.int32)
    images = rng.integers(0, 255, (200, 4, 4, 3)).astype(np.uint8)
    classes, counts, expected = (7, 2, 3), {}, []
    for place, label in enumerate(labels):
        counts[label] = counts.get(label, 0) + 1
        if label in classes and counts[label] <= first:
            expected.append(place)
    selected = Examples.of_classes(images, labels, classes, Preprocessing(4, 4), first=first)
    assert selected.numbers.tolist() == expected
    assert [classes[k] for k in selected.labels] == [labels[i] for i in expected]
    assert np.array_equal(selected.images, images[expected])


def test_pixels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (30, 5, 5, 3)).astype(np.uint8)
    examples = Examples(images, np.zeros(30, np.int32), np.arange(30), Preprocessing(5, 5))
    mean, variance = examples.pixels()
    np.testing.assert_allclose(mean, images.reshape(-1, 3).mean(axis=0))
    np.testing.assert_allclose(variance, images.reshape(-1, 3).astype(float).var(axis=0))


def test_an_epoch_shows_each_example_once_and_keeps_its_label():
    examples = make_examples(50)
    batches = take(examples, 18, seed=0)
    orders = []
    for epoch in range(3):
        part = batches[6 * epoch : 6 * epoch + 6]  # 50 // 8 batches; two examples are left out.
        seen = np.concatenate([images[:, 0, 0, 0] for images, _ in part])
        assert len(set(seen)) == 48
        assert np.array_equal(np.concatenate([labels for _, labels in part]), seen % 7)
        orders.append(seen.tolist())
    assert orders[0] != orders[1] != orders[2]
    assert set(orders[0]) != set(orders[1])  # Other ones are left out.


@pytest.mark.parametrize("augment", [False, True])
def test_a_stream_can_start_anywhere(augment):
    examples = make_examples(pad=2, augment=augment)
    whole = take(examples, 15, seed=4)
    for start in (0, 1, 6, 13):
        for (images, labels), (x, y) in zip(
            whole[start:], take(examples, 15 - start, seed=4, start=start), strict=True
        ):
            assert np.array_equal(images, x)
            assert np.array_equal(labels, y)
    other = take(examples, 15, seed=5)
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(whole, other, strict=True))


def test_order_is_spread():
    """Over many epochs each example takes each place about as often (chi-squared)."""
    from scipy import stats

    examples = make_examples(24)
    batches = take(examples, 3 * 400, seed=1)
    places = np.concatenate([images[:, 0, 0, 0] for images, _ in batches]).reshape(400, 24)
    for place in (0, 11, 23):
        counts = np.bincount(places[:, place], minlength=24)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_evaluation_is_one_pass_in_order():
    examples = make_examples(50, image_size=4, resize=6, augment=True)
    batches = list(examples.evaluation(batch_size=16))
    images = np.concatenate([images.numpy() for images, _ in batches])
    assert np.array_equal(images[:, 0, 0, 0], np.arange(50))
    assert np.array_equal(np.concatenate([y.numpy() for _, y in batches]), examples.labels)
    assert np.array_equal(images, examples.images[:, 1:5, 1:5])


def test_crops_and_mirrors_against_numpy():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (200, 7, 9, 3)).astype(np.uint8)
    ids, epochs = tf.range(200), tf.fill([200], 3)
    crops = random_crop_and_mirror(images, ids, epochs, size=5, seed=1).numpy()
    seen = set()
    for image, cut in zip(images, crops, strict=True):
        places = [
            (top, left, mirror)
            for top, left, mirror in itertools.product(range(3), range(5), (False, True))
            if np.array_equal(image[top : top + 5, left : left + 5][:, :: -1 if mirror else 1], cut)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 3 * 5 * 2


def test_draws_depend_on_the_example_not_on_its_batch():
    ids = tf.constant([5, 9, 2, 7], tf.int64)
    together = draw(ids, tf.constant(1), high=1000, seed=3, purpose=0).numpy()
    alone = [int(draw(i, tf.constant(1), high=1000, seed=3, purpose=0)) for i in ids]
    assert together.tolist() == alone
    for change in ({"seed": 4}, {"purpose": 1}):
        arguments = {"high": 1000, "seed": 3, "purpose": 0, **change}
        assert draw(ids, tf.constant(1), **arguments).numpy().tolist() != alone
    assert draw(ids, tf.constant(2), high=1000, seed=3, purpose=0).numpy().tolist() != alone


def test_too_large_a_batch():
    with pytest.raises(ValueError, match="batch_size=60, examples=50"):
        make_examples(50).training(batch_size=60, seed=0)
