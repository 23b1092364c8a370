"""How a picture becomes what a network takes, against NumPy."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from transfer_keras.datasets.augmentation import random_window
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.networks import alexnet


def bilinear(image, height, width):
    """Resizes as OpenCV and Caffe do: half-pixel centres, two neighbours along each side."""

    def weights(count, out):
        place = np.clip((np.arange(out) + 0.5) * count / out - 0.5, 0, count - 1)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, count - 1), place - low

    top, bottom, y = weights(image.shape[0], height)
    left, right, x = weights(image.shape[1], width)
    rows = image[top] * (1 - y)[:, None, None] + image[bottom] * y[:, None, None]
    return rows[:, left] * (1 - x)[:, None] + rows[:, right] * x[:, None]


def picture(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return pixels


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (64, 64), (256, 256)])
def test_the_paper_squeezes_the_whole_picture(height, width):
    pixels = picture(height, width)
    stored = Preprocessing(227, 256, kind="paper").store(tf.constant(pixels)).numpy()
    expected = np.round(bilinear(pixels.astype(float), 256, 256))
    assert stored.shape == (256, 256, 3)
    assert np.abs(stored.astype(int) - expected).max() <= 1  # Of what is rounded.
    assert np.mean(stored == expected) > 0.99


def test_the_mean_image_is_taken_off_at_the_place_of_the_crop():
    """Caffe's: (crop - mean at the same place), mirrored; here by the stream and the network."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 20, 20, 3), np.uint8)
    mean = rng.uniform(0, 255, (20, 20, 3)).astype(np.float32)
    cut, numbers = Preprocessing(13, 20, kind="paper"), tf.range(100, 116, dtype=tf.int64)
    epoch = tf.constant(3, tf.int64)
    given = cut.training(images, numbers, epoch, seed=5, mean=mean)
    layer = alexnet.MeanImage(cut.centre(mean[None])[0])
    top, left, mirror = (v.numpy() for v in random_window(20, 20, numbers, epoch, size=13, seed=5))
    assert len(set(zip(top, left, strict=True))) > 8
    assert 0 < mirror.sum() < 16
    actual = keras.ops.convert_to_numpy(layer(given))
    for i in range(16):
        window = slice(top[i], top[i] + 13), slice(left[i], left[i] + 13)
        expected = images[i][window].astype(np.float32) - mean[window]
        expected = expected[:, ::-1] if mirror[i] else expected
        np.testing.assert_allclose(actual[i], expected, atol=1e-4)
    in_tests = keras.ops.convert_to_numpy(layer(tf.cast(cut.centre(images), tf.float32)))
    np.testing.assert_allclose(in_tests, (images - mean)[:, 3:16, 3:16], atol=1e-4)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_of_the_stored_size_is_decoded_in_part(subsampling):
    """The crop equals one out of the decoded picture, bit for bit, wherever it lies."""
    rng, cut = np.random.default_rng(0), Preprocessing(45, 64, kind="paper")
    rough = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((64, 64))
    buffer = io.BytesIO()
    rough.save(buffer, "JPEG", quality=90, subsampling=subsampling)
    data = tf.constant(buffer.getvalue())
    mean = rng.uniform(0, 255, (64, 64, 3)).astype(np.float32)
    stored = cut.store(tf.io.decode_image(data, channels=3, expand_animations=False))
    for number in range(200):
        of_one = tf.constant(number, tf.int64)
        window = cut.windows(of_one, tf.constant(0, tf.int64), seed=1, square=True)
        for more in ({}, {"mean": mean}):
            actual = cut.crop(data, window, **more)
            expected = cut.training(stored[None], of_one[None], 0, seed=1, **more)[0]
            assert actual.dtype == expected.dtype
            assert np.array_equal(actual, expected), number


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("height", "width"), [(75, 100), (100, 60), (80, 80), (40, 30)])
def test_modern_cuts_out_of_the_short_side(kind, height, width):
    """The central crop, of a picture that is smooth: cut and then resized, or the other way."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([2.5 * y, 2.5 * x, np.full_like(y, 90)], axis=-1).clip(0, 255)
    data = encoded(pixels.astype(np.uint8), kind)
    cut = Preprocessing(28, 32, kind="modern")
    actual = cut.view(tf.constant(data)).numpy()
    assert actual.shape == (28, 28, 3)
    short = min(height, width)
    scaled = bilinear(pixels, round(height * 32 / short), round(width * 32 / short))
    top, left = ((side - 28) // 2 for side in scaled.shape[:2])
    expected = scaled[top : top + 28, left : left + 28]
    assert np.abs(actual - expected).mean() < 4  # A pixel of the picture is 2.5 levels.


def test_modern_crops_are_random_and_inside():
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[..., 0] = np.arange(90)
    cut, seen = Preprocessing(24, 32, kind="modern"), []
    for number in range(40):
        one, epoch = tf.constant(number, tf.int64), tf.constant(0, tf.int64)
        top, left, mirror = cut.windows(one, epoch, seed=1, square=False)

        def window(height, width, top=top, left=left, mirror=mirror):
            assert (height, width) == (32, 48)
            return top % (height - 23), left % (width - 23), mirror

        crop = cut.view(tf.constant(encoded(pixels, "PNG")), window).numpy()
        left, right = sorted((int(crop[0, 0, 0]), int(crop[0, -1, 0])))
        assert 0 <= left < right <= 89
        assert right - left == pytest.approx(24 * 60 / 32, abs=3)
        seen.append((left, crop[0, 0, 0] > crop[0, -1, 0]))
    lefts = [left for left, _ in seen]
    assert min(lefts) < 8
    assert max(lefts) > 36
    assert 8 < sum(mirrored for _, mirrored in seen) < 32


def test_kinds():
    with pytest.raises(ValueError, match="kind must be one of"):
        Preprocessing(8, 8, kind="old")
