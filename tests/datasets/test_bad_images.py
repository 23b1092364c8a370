"""Pictures and files that are damaged: named in an error, or left out and summed up."""

import io
import pathlib
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from support.tiny_imagenet import WNIDS, write_zip

from transfer_keras.config import dataset_names
from transfer_keras.config.errors import UserError
from transfer_keras.datasets import sources
from transfer_keras.datasets.bad_images import find_fault
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

pytestmark = pytest.mark.usefixtures("prepared_elsewhere")

BAD = f"train/{WNIDS[1]}/images/{WNIDS[1]}_2.JPEG"


def noisy(side=64, kind="JPEG"):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


FAULTS = {
    "truncated": (noisy()[:900], r"cannot be decoded \("),
    "empty": (b"", r"cannot be decoded \("),
    "a text": (b"<html>404 not found</html>", r"cannot be decoded \(Unknown image file format"),
    "another size": (noisy(32), r"has the shape \(32, 32, 3\), expected \(64, 64, 3\)"),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_good_pictures_have_no_fault(kind):
    assert find_fault(noisy(kind=kind), (64, 64, 3)) is None
    assert find_fault(noisy(48, kind), (None, None, 3)) is None


@pytest.fixture(params=["zip", "folder"])
def copy(request, files, tmp_path):
    """Makes a copy of the small set with some files replaced."""

    def make(**changes):
        changed = {**files, **{BAD if k == "BAD" else k: v for k, v in changes.items()}}
        if request.param == "zip":
            return str(write_zip(tmp_path / "tiny.zip", changed))
        for name, content in changed.items():
            path = tmp_path / "tiny" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return str(tmp_path / "tiny")

    return make


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_picture_is_named_or_left_out(copy, kind):
    content, message = FAULTS[kind]
    path = copy(BAD=content)
    source = sources.open_source("tiny_imagenet", path)
    with pytest.raises(UserError, match=rf"--data_dir={path}: 1 pictures .* {BAD} {message}"):
        source.prepare()
    source = sources.open_source("tiny_imagenet", path, "skip")
    source.prepare()
    again = sources.open_source("tiny_imagenet", path, "skip")  # Now from the disk.
    again.prepare()
    for opened in (source, again):
        assert len(opened.skipped) == 1
        assert opened.skipped[0].startswith(f"train: {BAD} ")
    images, labels, skipped = sources.read(again, again.train, Preprocessing(64, 64))
    assert not skipped
    assert len(images) == 11
    assert sorted(np.bincount(labels)) == [3, 4, 4]


def test_several_are_summed_up(copy, files):
    names = [name for name in files if name.startswith("train") and name.endswith("JPEG")][:5]
    path = copy(**dict.fromkeys(names, b"no picture"))
    with pytest.raises(UserError, match=r"5 pictures cannot be used: .*; and 2 more\. Mend"):
        sources.open_source("tiny_imagenet", path).prepare()


def test_a_member_of_a_zip_that_is_damaged_is_left_out(files, tmp_path):
    path = write_zip(tmp_path / "tiny.zip", files)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(BAD).header_offset + 30 + len(BAD) + 20
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(40) + content[start + 40 :])
    with pytest.raises(UserError, match=rf"{BAD} is damaged \("):
        sources.open_source("tiny_imagenet", str(path)).prepare()
    source = sources.open_source("tiny_imagenet", str(path), "skip")
    source.prepare()
    assert len(source.skipped) == 1


def test_a_zip_that_is_cut_short_is_named(files, tmp_path):
    path = write_zip(tmp_path / "tiny.zip", files)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(UserError, match=rf"--data_dir={path}: is a zip that is cut short"):
        dataset_names.check("tiny_imagenet", str(path))


class Pictures(tfds.core.GeneratorBasedBuilder):
    """Ten pictures of some size; the fourth and the last are damaged."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=list("abcd")),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for number in range(20):
            content = noisy(20 + number)
            content = content[:500] if number in (3, 19) else content
            yield number, {"image": io.BytesIO(content), "label": number % 4}


@pytest.fixture
def own(tmp_path):
    builder = Pictures(data_dir=tmp_path)
    builder.download_and_prepare()
    return sources.Source("pictures", builder, "image", "label")


def test_bad_pictures_of_any_tfds_dataset(own):
    with pytest.raises(UserError, match=r"--dataset=pictures: 2 pictures cannot be used: .*train"):
        sources.read(own, "train", Preprocessing(32, 32))
    cut = Preprocessing(32, 32)
    images, labels, skipped = sources.read(own, "train", cut, bad_images="skip")
    assert len(skipped) == 2
    assert all("train" in line for line in skipped)
    good = [n for n in range(20) if n not in (3, 19)]
    assert np.bincount(labels).tolist() == np.bincount([n % 4 for n in good]).tolist()
    expected = {cut.store(tf.io.decode_jpeg(noisy(20 + n))).numpy().tobytes() for n in good}
    assert {image.tobytes() for image in images} == expected


@pytest.mark.parametrize("fault", ["short", "garbage", "gone"])
def test_unreadable_files_are_named(own, fault):
    path = next(pathlib.Path(own.builder.data_path).glob("*train*record*"))
    content = path.read_bytes()
    if fault == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if fault == "short" else bytes(len(content)))
    with pytest.raises(UserError, match=r"the files in .* cannot be read .*Remove that folder"):
        sources.read(own, "train", Preprocessing(32, 32))


def test_a_class_without_an_image_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Pictures,
        "_generate_examples",
        lambda self: iter((n, {"image": io.BytesIO(noisy(32)), "label": n % 3}) for n in range(12)),
    )
    Pictures(data_dir=tmp_path).download_and_prepare()
    split = tmp_path / "a.txt"
    split.write_text("a\nb\n")
    pair = TaskPair("pictures", str(tmp_path), str(split))
    with pytest.raises(UserError, match=r"1 of 2 classes of task B have no training image: d\."):
        pair.read(Preprocessing(32, 32), batch_size=2)
