import contextlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from transfer_keras.config import dataset_names
from transfer_keras.config.errors import UserError
from transfer_keras.datasets import sources
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

COUNT = 20


@contextlib.contextmanager
def mocked(*splits):
    """Gives TFDS's own mock, with the sizes that a prepared dataset would have for its splits."""

    def prepare(builder, **_):
        infos = [
            tfds.core.SplitInfo(name=name, shard_lengths=[COUNT], num_bytes=0) for name in splits
        ]
        builder.info.set_splits(tfds.core.splits.SplitDict(infos))

    with tfds.testing.mock_data(num_examples=COUNT), pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
        yield


@pytest.mark.parametrize(
    ("name", "size", "classes", "test"),
    [
        ("cifar10", 32, 10, "test"),
        ("cifar100", 32, 100, "test"),
        ("imagenet_resized/32x32", 32, 1000, "validation"),
        ("imagenet2012", 64, 1000, "validation"),
        ("mnist", 32, 10, "test"),
        ("horses_or_humans", 32, 2, "test"),
    ],
)
def test_tfds_by_name(name, size, classes, test, tmp_path):
    dataset_names.check(name, str(tmp_path))
    with mocked("train", test):
        source = sources.open_source(name, str(tmp_path))
        assert len(source.class_names) == classes
        source.prepare()
        images, labels, _ = sources.read(source, source.train, Preprocessing(size, size))
    assert (source.train, source.test) == ("train", test)
    assert (images.shape, images.dtype) == ((COUNT, size, size, 3), np.uint8)
    assert images.std(axis=(1, 2, 3)).min() > 0
    assert labels.shape == (COUNT,)
    assert labels.max() < classes


def test_a_dataset_of_one_split_is_tested_on_its_last_tenth(tmp_path):
    with mocked("train"):
        source = sources.open_source("tf_flowers", str(tmp_path))
        source.prepare()
    assert (source.train, source.test) == ("train[:90%]", "train[90%:]")
    assert (source.size(source.train), source.size(source.test)) == (18, 2)


def test_not_labelled_pictures(tmp_path):
    with (
        mocked("train"),
        pytest.raises(UserError, match=r"--dataset=coco/2017: expected pictures with one class"),
    ):
        sources.open_source("coco/2017", str(tmp_path))


def test_every_tfds_image_classification_dataset_is_known():
    registered = tfds.core.registered._DATASET_REGISTRY
    tfds.list_builders()
    expected = {n for n, c in registered.items() if "image_classification" in c.__module__}
    assert len(expected) > 30
    assert expected <= set(dataset_names.names())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagenet_resized/31x31", r"expected imagenet_resized/CONFIG with one of .*32x32"),
        ("imagenet_resized", r"expected imagenet_resized/CONFIG with one of .*32x32"),
        ("cifar10/foo", r"cifar10 has no configs"),
    ],
)
def test_configs(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        sources.open_source(name, str(tmp_path))


def test_a_dataset_without_training_images_is_split(tmp_path):
    with mocked("test"):
        source = sources.open_source("imagenet_v2/matched-frequency", str(tmp_path))
        source.prepare()
    assert (source.train, source.test) == ("test[:90%]", "test[90%:]")


def test_folder_of_an_own_tfds_dataset_counts_as_known(tmp_path):
    with pytest.raises(UserError, match="no such image dataset"):
        dataset_names.check("my_pictures", str(tmp_path))
    (tmp_path / "my_pictures").mkdir()
    dataset_names.check("my_pictures", str(tmp_path))


def test_classes_that_are_named_when_the_data_come(tmp_path):
    """CIFAR-10's are numbers until TFDS has prepared it; a second run must find the same names."""
    with mocked("train", "test"):
        prepare = tfds.core.DatasetBuilder.download_and_prepare
        with pytest.raises(UserError, match=r"the names of its classes come with the data"):
            TaskPair("cifar10", str(tmp_path), "natural", prepare=False)
        assert len(TaskPair("cifar10", str(tmp_path), "0", prepare=False).tasks["A"]) == 5

        def named(builder, **arguments):
            prepare(builder, **arguments)
            builder.info.features["label"].names = sorted(ANIMALS | VEHICLES)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", named)
            tasks = TaskPair("cifar10", str(tmp_path), "natural").tasks
    assert set(tasks["A"].class_names) == ANIMALS
    assert set(tasks["B"].class_names) == VEHICLES


ANIMALS = {"bird", "cat", "deer", "dog", "frog", "horse"}
VEHICLES = {"airplane", "automobile", "ship", "truck"}
