import base64
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.forged_pictures import animation, claims, encode, folder_of, whole_png

from transfer_keras.config import UserError
from transfer_keras.datasets import picture_size, task_pair
from transfer_keras.datasets.bad_images import find_fault
from transfer_keras.datasets.folder_check import check_folder
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

LARGE = {
    "PNG": claims("PNG", 100_000, 100_000),
    "PNG of 2**31": claims("PNG", 2**31 - 1, 2**31 - 1),
    "PNG of 16,000": claims("PNG", 16_000, 16_000),
    "JPEG": claims("JPEG", 65_500, 65_500),
    "BMP": claims("BMP", 100_000, 100_000),
    "BMP upside down": claims("BMP", 100_000, -100_000),
    "GIF": claims("GIF", 60_000, 60_000),
    "GIF of 4,000 frames": animation(4000, 300),
}
MESSAGE = r"has more than 178,956,970 pixels, which would fill the memory: scale it down"


@pytest.mark.parametrize("kind", LARGE)
def test_large_ones_are_known_by_their_headers(kind, monkeypatch):
    def decode(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(tf.io, "decode_image", decode)
    assert find_fault(LARGE[kind], (None, None, 3)) == MESSAGE
    with pytest.raises(tf.errors.InvalidArgumentError, match="picture is too large"):
        picture_size.refuse_large(tf.constant(LARGE[kind]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7)])
def test_what_is_counted_is_what_is_decoded(kind, size):
    data = encode(kind, size)
    frames = 2 if kind == "GIF" else 1  # A screen, and a frame on it.
    assert picture_size.count_pixels(data) == frames * size[0] * size[1]
    assert picture_size.refuse_large(tf.constant(data)).numpy() == data


def test_jpeg_xl():
    """Of it Pillow knows nothing."""
    picture = base64.b64decode("/woYAU6ASAgAAQBgAEsYixUA1Igxxo8x7gEcQImBg5Z/cn9IPg==")
    height, width, _ = tf.io.decode_image(picture).shape
    assert picture_size.count_pixels(picture) == height * width
    box = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x10ftypjxl \0\0\0\0"
    box += (8 + len(picture)).to_bytes(4, "big") + b"jxlc" + picture
    assert picture_size.count_pixels(box) == height * width
    assert picture_size.count_pixels(box[:30]) == -1


@pytest.mark.parametrize("frames", [2, 60])
def test_the_frames_of_an_animation_are_counted(frames):
    assert picture_size.count_pixels(animation(frames, 20)) == (frames + 1) * 400


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_no_cut_header_fails_otherwise_than_by_decoding(kind):
    data = encode(kind)
    for end in range(0, min(len(data), 60)):
        assert picture_size.count_pixels(data[:end]) <= 1600 * 2
        fault = find_fault(data[:end], (None, None, 3))
        assert fault is None or fault.startswith("cannot be decoded")


def test_a_header_between_the_limits_is_decoded():
    """Pillow warns of such pictures."""
    assert picture_size.find_large_picture(claims("PNG", 13_000, 13_000)) is None


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("kind", ["PNG of 16,000", "GIF of 4,000 frames", "whole"])
def test_a_folder_with_one(tmp_path, kind, fits, monkeypatch):
    monkeypatch.setattr(task_pair, "_fits", lambda *_: fits)
    root = folder_of(tmp_path / "set")
    path = root / "bee" / "9.png"
    path.write_bytes(whole_png(14_000) if kind == "whole" else LARGE[kind])
    pair = TaskPair(f"folder:{root}", None, "whole")

    def read():
        train, test = pair.read(Preprocessing(8, 8), batch_size=2)
        for examples in (train, test):
            pair.refuse_faults(examples)

    with pytest.raises(UserError, match=rf"1 pictures cannot be used: {path} {MESSAGE}"):
        read()
    (finding,) = [f for f in check_folder(f"folder:{root}").findings if f.pictures[0].fault]
    assert finding.note == MESSAGE
    pair = TaskPair(f"folder:{root}", None, "whole", bad_images="skip")
    pair.read(Preprocessing(8, 8), batch_size=2)
    assert len(pair.skipped) == 1


def test_a_file_of_a_tebibyte_is_not_read(tmp_path):
    root = folder_of(tmp_path / "set")
    with open(root / "bee" / "9.png", "wb") as file:
        file.truncate(2**40)
    message = r"9\.png is a file of 1,099,511,627,776 bytes, expected at most 1,073,741,824"
    with pytest.raises(UserError, match=message):
        TaskPair(f"folder:{root}", None, "whole")


def test_the_check_changes_no_pixel():
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    for kind in ("PNG", "BMP"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        decoded = Preprocessing(8, 8).decode(tf.constant(buffer.getvalue()))
        assert np.array_equal(decoded, np.asarray(picture))
