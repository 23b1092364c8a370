"""Opens a dataset by name, and reads one of its splits into memory."""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from transfer_keras.datasets import formula
from transfer_keras.datasets.formula_images import FormulaImages
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.tiny_imagenet import TinyImagenet, TinyImagenetConfig
from transfer_keras.errors import UserError


@dataclasses.dataclass(frozen=True)
class Source:
    """A prepared TFDS dataset of labelled pictures.

    Attributes:
        builder: the TFDS builder, its files on disk.
        train: the split that is trained on, in TFDS's notation.
        test: the split that is tested on.
        image, label: names of the two features.
        class_names: in the order of the labels.
    """

    builder: tfds.core.DatasetBuilder
    train: str
    test: str
    image: str
    label: str
    class_names: tuple[str, ...]

    def size(self, split: str) -> int:
        """Number of examples in a split."""
        return self.builder.info.splits[split].num_examples


def open_source(name: str, data_dir: str | None = None) -> Source:
    """Opens a dataset and makes or downloads it where it is not on disk.

    Args:
        name: "dataset" or "dataset/config": one of ours or any of TFDS.
        data_dir: see `catalogue.check`, which is to be called first.

    Raises:
        UserError: if it is no dataset of labelled pictures, or TFDS cannot prepare it.
    """
    dataset, _, config = name.partition("/")
    if dataset == "formula_images":
        builder = _made(name, FormulaImages, config=config or formula.DEFAULT, data_dir=data_dir)
    elif dataset == "tiny_imagenet":
        builder = _made(name, TinyImagenet, config=TinyImagenetConfig.of(data_dir))
    else:
        builder = _made(name, tfds.builder, name, data_dir=data_dir)
    image, label = _features(name, builder.info)
    try:
        builder.download_and_prepare()
    except (OSError, AssertionError, tfds.download.DownloadError) as error:
        raise UserError(
            f"--dataset={name}: TFDS could not prepare it in {builder.data_dir}: {error}"
        ) from error
    train, test = _splits(builder.info)
    names = tuple(builder.info.features[label].names)
    return Source(builder, train, test, image, label, names)


def _made(name: str, make, *args, **kwargs) -> tfds.core.DatasetBuilder:
    try:
        return make(*args, **kwargs)
    except UserError:
        raise
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        raise UserError(f"--dataset={name}: {' '.join(str(error).split())}") from error


def _features(name: str, info: tfds.core.DatasetInfo) -> tuple[str, str]:
    keys = info.supervised_keys or ("image", "label")
    kinds = [type(info.features[key]) for key in keys if key in info.features]
    if kinds != [tfds.features.Image, tfds.features.ClassLabel]:
        raise UserError(
            f"--dataset={name}: expected pictures with one class label each. Its features: "
            f"{', '.join(info.features)}"
        )
    return keys


def _splits(info: tfds.core.DatasetInfo) -> tuple[str, str]:
    """Train and test; a dataset with no second split is tested on the last tenth of its first."""
    for test in ("validation", "test"):
        if test in info.splits and info.splits[test].num_examples:
            return "train", test
    return "train[:90%]", "train[90%:]"


def read(source: Source, split: str, preprocessing: Preprocessing):
    """Decodes a whole split, in the order in which it lies on disk.

    Args:
        source: an open dataset.
        split: `source.train` or `source.test`.
        preprocessing: says to which size each picture is brought.

    Returns:
        (images, labels): uint8 (examples, resize, resize, 3) and int32 (examples,), the
        dataset's own labels.
    """
    count, size = source.size(split), preprocessing.resize
    pictures = source.builder.as_dataset(
        split=split, shuffle_files=False, read_config=tfds.ReadConfig(try_autocache=False)
    )
    pictures = pictures.map(
        lambda e: (preprocessing.store(e[source.image]), e[source.label]),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    pictures = pictures.batch(256).with_options(fixed_parallelism())
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty(count, np.int32)
    with tqdm.tqdm(total=count, desc=f"reading {split}", unit=" images", leave=False) as bar:
        for batch, batch_labels in pictures.as_numpy_iterator():
            images[bar.n : bar.n + len(batch)] = batch
            labels[bar.n : bar.n + len(batch)] = batch_labels
            bar.update(len(batch))
    return images, labels


def fixed_parallelism() -> tf.data.Options:
    """No autotuning: its threads can block the end of an iterator for seconds."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
