"""Pictures that their file says are turned; Pillow's `exif_transpose` is the oracle."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from transfer_keras.config import make_experiment
from transfer_keras.datasets import Division
from transfer_keras.datasets.orientation import open_upright, read_orientation
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair
from transfer_keras.experiments.data import image_preprocessing
from transfer_keras.results import Workdir, as_begun

UPRIGHT = Preprocessing(32, 32, pad=4, upright=True)
AS_STORED = Preprocessing(32, 32, pad=4)


def photograph(width, height, seed=0):
    """Makes a smooth picture, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(picture, kind="PNG", orientation=None):
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_turned_as_pillow_turns_it(kind, orientation):
    data = encode(photograph(50, 41), kind, orientation)
    assert read_orientation(data) == orientation
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), int)
    seen = UPRIGHT.decode(tf.constant(data)).numpy()
    tolerance = {"PNG": 0, "JPEG": 4}[kind]  # Two decoders round differently.
    assert np.abs(seen - upright).max() <= tolerance
    assert AS_STORED.decode(tf.constant(data)).shape == (41, 50, 3)


@pytest.mark.parametrize("size", [(50, 41), (300, 201)])  # The second is shrunk first.
@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_crop_is_that_of_the_upright_picture(size, orientation):
    data = encode(photograph(*size), orientation=orientation)
    turned = tf.constant(encode(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    data = tf.constant(data)

    def window(height, width):
        return height - 32, (width - 32) // 3, tf.constant(1, tf.int64)

    assert np.array_equal(UPRIGHT.view(data), AS_STORED.view(turned))
    cropped = UPRIGHT.view(data, window, pad=4), AS_STORED.view(turned, window, pad=4)
    assert np.array_equal(*cropped)
    assert not np.array_equal(UPRIGHT.view(data), AS_STORED.view(data))
    square = tuple(map(tf.constant, (1, 0, 0)))
    assert np.array_equal(UPRIGHT.crop(data, square), AS_STORED.crop(turned, square))


@pytest.mark.parametrize("size", [(60, 40), (300, 200)])
def test_a_large_jpeg_and_a_small_one_too(size):
    """Of a JPEG as it is stored, only a part is decoded; of one that is turned, all."""
    data = encode(photograph(*size), "JPEG", orientation=6)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    seen = UPRIGHT.view(tf.constant(data)).numpy().astype(int)
    assert np.abs(seen - AS_STORED.view(tf.constant(encode(turned))).numpy()).max() <= 6
    plain = tf.constant(encode(photograph(*size), "JPEG"))
    assert np.array_equal(UPRIGHT.view(plain), AS_STORED.view(plain))


@pytest.mark.parametrize("data", [
    b"", b"no picture", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00broken tags", b"BM" + bytes(60),
    encode(photograph(9, 9), "JPEG", 0), encode(photograph(9, 9), "JPEG", 9),
    encode(photograph(9, 9), "JPEG", 6)[:40],
])  # fmt: skip
def test_what_cannot_be_read_is_as_it_is_stored(data):
    assert read_orientation(data) == 1


@pytest.fixture
def folder(tmp_path):
    """Gives a folder whose pictures are stored turned, and one with the same pictures upright."""
    for label in ("one", "two"):
        for kind in ("stored", "upright"):
            (tmp_path / kind / label).mkdir(parents=True)
        for k in range(8):
            size = [(60, 40), (300, 200)][k % 2]
            data = encode(photograph(*size, seed=k), orientation=k + 1)
            (tmp_path / "stored" / label / f"{k}.png").write_bytes(data)
            upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
            upright.save(tmp_path / "upright" / label / f"{k}.png")
    return tmp_path


def batches(folder, preprocessing, in_memory):
    pair = TaskPair(f"folder:{folder}", None, "donor", division=Division(0.4))
    train, test = pair.read(preprocessing, batch_size=4, in_memory=in_memory)
    of_train = train["B"].training(batch_size=4, seed=3).take(6)
    return [
        images
        for stream in (of_train, test["B"].evaluation(batch_size=3))
        for images, _ in stream.as_numpy_iterator()
    ]


@pytest.mark.parametrize("in_memory", [True, False])
def test_training_and_tests_see_them_upright(folder, in_memory):
    seen = batches(folder / "stored", UPRIGHT, in_memory)
    expected = batches(folder / "upright", AS_STORED, False)
    for images, upright in zip(seen, expected, strict=True):
        assert np.array_equal(images, upright)


def test_a_folder_is_turned_unless_asked_otherwise_or_begun_before(tmp_path):
    def of(dataset, **settings):
        return make_experiment(["baseB"], dataset=dataset, **settings)

    pictures = f"folder:{tmp_path}"
    assert image_preprocessing(of(pictures)).upright
    assert not image_preprocessing(of(pictures, exif="ignore")).upright
    assert not image_preprocessing(of("cifar10")).upright
    assert of(pictures).identity["exif"] is True
    assert "exif" not in of(pictures, exif="ignore").identity
    assert "exif" not in of("cifar10").identity

    def goes_on_as(begun, asked):
        workdir = Workdir(tmp_path / "runs" / begun.data.exif)
        workdir.path.mkdir(parents=True, exist_ok=True)
        workdir.write_facts(begun.identity, data={}, versions={})
        (experiment,) = as_begun([asked], workdir.path)
        return experiment.data.exif

    assert goes_on_as(of(pictures), of(pictures)) == "turn"
    assert goes_on_as(of(pictures, exif="ignore"), of(pictures)) == "ignore"


def test_grey_of_16_bits_keeps_its_higher_byte():
    grey = np.asarray(photograph(50, 41).convert("L"), np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey * 256 + 77).save(buffer, "PNG")
    seen = np.asarray(open_upright(buffer.getvalue()))
    assert np.array_equal(seen, np.repeat(grey[..., None], 3, axis=-1))
    assert np.array_equal(seen, UPRIGHT.decode(tf.constant(buffer.getvalue())))
