"""Photographs much larger than a network takes: shrunk once, with the same numbers either way."""

import io
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from transfer_keras.datasets import Division, records
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

CUT = Preprocessing(32, 32, pad=4)


def photograph(width, height, seed):
    """Makes a smooth picture, as photographs are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    return small.resize((width, height), Image.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    sizes = [(600, 400), (300, 500), (40, 60), (72, 72), (73, 90), (200, 73)]
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        for number, (width, height) in enumerate(sizes):
            kind = ("jpg", "png")[number % 2]
            path = tmp_path / label / f"{number}.{kind}"
            photograph(width, height, number).save(path)
    return tmp_path


def streams(folder, *, in_memory):
    pair = TaskPair(f"folder:{folder}", None, "donor", division=Division(0.4))
    train, test = pair.read(CUT, batch_size=4, in_memory=in_memory)
    batches = train["B"].training(batch_size=4, seed=3).take(6)
    tested = test["B"].evaluation(batch_size=3)
    return train["B"], list(batches.as_numpy_iterator()), list(tested.as_numpy_iterator())


def test_held_in_memory_or_read_each_time_they_are_the_same(folder):
    held, *one = streams(folder, in_memory=True)
    for path in folder.rglob("*.*"):  # It needs the files no more.
        path.rename(path.with_suffix(".gone"))
    again = list(held.training(batch_size=4, seed=3).take(6).as_numpy_iterator())
    for path in folder.rglob("*.gone"):
        number = int(path.stem)
        path.rename(path.with_suffix((".jpg", ".png")[number % 2]))
    _, *other = streams(folder, in_memory=False)
    for batch, other_batch in zip([*one[0], *one[1], *again], [*other[0], *other[1], *other[0]],
                            strict=True):  # fmt: skip
        for a, b in zip(batch, other_batch, strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("size", [(600, 400), (300, 500), (73, 90), (72, 100), (50, 40)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_centre_is_that_of_the_photograph(size, kind):
    picture = photograph(*size, seed=1)
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    actual = CUT.view(tf.constant(buffer.getvalue())).numpy().astype(float)
    short = min(size)
    left, top = ((side - short) // 2 for side in size)
    square = picture.crop((left, top, left + short, top + short))
    expected = np.asarray(square.resize((32, 32), Image.BILINEAR), float)  # Pillow antialiases.
    # A crop begins at a whole pixel of the network's scale, so up to one off the exact centre.
    assert np.abs(actual - expected).mean() < 8
    flipped = (expected[:, ::-1], expected[::-1], expected.transpose(1, 0, 2))
    assert min(np.abs(actual - other).mean() for other in flipped) > 20


def test_only_large_ones_are_shrunk_and_only_asked_ones_held(folder):
    paths = sorted(str(p) for p in folder.rglob("*.*"))
    whole = records.of_files(paths, np.zeros(len(paths), np.int32))
    held = whole.in_memory([0, 2, 3], CUT.decode, CUT.shrunk, "reading")
    data = [held.encoded(x).numpy() for x in held.fetch(tf.constant([0, 2, 3], tf.int64))]
    shapes = [Image.open(io.BytesIO(d)).size for d in data]
    assert shapes == [(108, 72), (40, 60), (72, 72)]
    assert data[1] == pathlib.Path(paths[2]).read_bytes()
    assert held.fetch(tf.constant([1], tf.int64)).numpy()[0] == b""


@pytest.mark.parametrize("size", [(90, 130), (131, 70), (300, 401), (61, 64)])
def test_keras_reads_a_photograph_as_tests_do(tmp_path, size):
    """The accuracy on a card holds for the code on it. Pillow antialiases always,
    the pipeline where it shrinks by two or more; in smooth pictures that is little."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(9 * y / height), np.cos(7 * x / width), np.sin(5 * (x / width + y / height))]
    pixels = np.uint8(127 + 120 * np.stack(waves, axis=-1))
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    cut = Preprocessing(64, 64, kind="modern")
    seen = cut.view(tf.constant((tmp_path / "picture.png").read_bytes())).numpy()
    read = keras.utils.load_img(
        tmp_path / "picture.png",
        target_size=(64, 64), interpolation="bilinear", keep_aspect_ratio=True,
    )  # fmt: skip
    assert np.abs(np.float32(read) - seen).max() <= 3
