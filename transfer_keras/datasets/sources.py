"""Opens a dataset by name, and reads one of its splits into memory."""

import contextlib
import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from transfer_keras.config import FOLDER, FORMULA_DEFAULT, UserError, image_folders
from transfer_keras.datasets import prepared, records
from transfer_keras.datasets.bad_images import find_fault, refuse_bad_images, shorten_error
from transfer_keras.datasets.contents import Contents, read_contents
from transfer_keras.datasets.division import USUAL, Division
from transfer_keras.datasets.folder import Folder
from transfer_keras.datasets.formula_images import FormulaImages
from transfer_keras.datasets.picture_size import refuse_large
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.tiny_imagenet import TinyImagenet, TinyImagenetConfig


@dataclasses.dataclass(frozen=True)
class Source:
    """A TFDS dataset of labelled pictures.

    Attributes:
        name: as it was asked for.
        builder: the TFDS builder.
        image, label: names of the two features.
    """

    name: str
    builder: tfds.core.DatasetBuilder
    image: str
    label: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """Gives the names of the classes, in the order of their labels."""
        return tuple(self.builder.info.features[self.label].names)

    @property
    def names_known(self) -> bool:
        """Tells whether the classes have names; of some datasets these come with the download."""
        return self.class_names != tuple(map(str, range(len(self.class_names))))

    @property
    def identity(self) -> str:
        """Gives TFDS's name of just these data: dataset, config, version."""
        if isinstance(self.builder, TinyImagenet):
            return self.builder.identity
        return self.builder.info.full_name

    @property
    def square(self) -> bool:
        """Tells whether all pictures are squares of one size."""
        height, width, _ = self.builder.info.features[self.image].shape
        return height == width is not None

    @property
    def train(self) -> str:
        """Names the split that is trained on, in TFDS's notation; known once it is prepared."""
        return self._splits()[0]

    @property
    def test(self) -> str:
        """Names the split that is tested on: the second, or the last tenth of a single one."""
        return self._splits()[1]

    def _splits(self) -> tuple[str, str]:
        splits = self.builder.info.splits
        names = [name for name in ("train", "validation", "test") if name in splits]
        names = [name for name in names if splits[name].num_examples]
        if len(names) >= 2:
            return names[0], names[1]
        only = names[0] if names else next(iter(splits))
        return f"{only}[:90%]", f"{only}[90%:]"

    @property
    def at_hand(self) -> bool:
        """Tells whether nothing has to be downloaded first."""
        needs_no_download = isinstance(self.builder, FormulaImages | TinyImagenet)
        return needs_no_download or self.builder.is_prepared()

    def prepare(self) -> None:
        """Makes or downloads the files that are not on disk.

        Raises:
            UserError: if TFDS cannot, or a file is missing.
        """
        prepared.prepare(self.name, self.builder, print)
        if isinstance(self.builder, TinyImagenet):
            self.builder.keep_contents()

    @property
    def skipped(self) -> list[str]:
        """Lists the pictures that were left out when the dataset was prepared, a line for each."""
        metadata = self.builder.info.metadata or {}
        return [f"{split}: {line}" for split in sorted(metadata) for line in metadata[split]]

    def size(self, split: str) -> int:
        """Counts the examples of a split."""
        return self.builder.info.splits[split].num_examples

    def contents(self, kept: pathlib.Path) -> Contents:
        """Gives a digest of the files of both splits; see `contents.read_contents`."""
        splits = self.builder.info.splits
        paths = {
            os.fspath(path): None
            for split in (self.train, self.test)
            for path in splits[split.partition("[")[0]].filepaths
        }
        files = {
            os.fsencode(os.path.basename(path)): path for path in paths if os.path.exists(path)
        }
        return read_contents(files, kept, where=f"--dataset={self.name}")

    def records(self, split: str) -> records.Records:
        """Gives the examples of a split on disk, as `records.of_tfds` does.

        Raises:
            UserError: if the files are of another format than TFRecord, or cannot be read.
        """
        with _files_readable(self):
            return records.of_tfds(self.builder, split, self.image, self.label)


def open_source(
    name: str,
    data_dir: str | None = None,
    bad_images: str = "error",
    *,
    division: Division = USUAL,
    leave_out: str | None = None,
) -> Source | Folder:
    """Finds a dataset by name; `Source.prepare` then puts it on disk.

    Args:
        name: "dataset" or "dataset/config": one of ours or any of TFDS; or "folder:PATH".
        data_dir: the folder of prepared datasets, or of "tiny_imagenet" the zip or folder to
            read. `config.dataset_names.check` must have accepted it.
        bad_images: "error" or "skip", the policy of `bad_images.refuse_bad_images`.
        division, leave_out: see `folder.Folder`; other datasets ignore them.

    Raises:
        UserError: if it is no dataset of labelled pictures, or its config does not exist.
    """
    if name.startswith(FOLDER):
        return Folder(name, bad_images=bad_images, division=division, leave_out=leave_out)
    dataset, _, config = name.partition("/")
    if dataset == "formula_images":
        builder = prepared.make_builder(
            name, FormulaImages, config=config or FORMULA_DEFAULT, data_dir=data_dir
        )
    elif dataset == "tiny_imagenet":
        config = TinyImagenetConfig.of(data_dir, bad_images)
        builder = prepared.make_builder(name, TinyImagenet, config=config)
    else:
        _check_config(name, dataset, config)
        builder = prepared.make_builder(name, tfds.builder, name, data_dir=data_dir)
    return Source(name, builder, *_features(name, builder.info))


def _check_config(name: str, dataset: str, config: str) -> None:
    try:
        known = [c.name for c in tfds.builder_cls(dataset).BUILDER_CONFIGS]
    except tfds.core.registered.DatasetNotFoundError:
        # It may exist as files in --data_dir alone, which `tfds.builder` finds.
        return
    if config and not known:
        raise UserError(f"--dataset={name}: {dataset} has no configs. Give --dataset={dataset}.")
    if known and config not in known and (config or len(known) > 1):
        raise UserError(
            f"--dataset={name}: expected {dataset}/CONFIG with one of {', '.join(known)}."
        )


def _features(name: str, info: tfds.core.DatasetInfo) -> tuple[str, str]:
    """Finds the names of the features that hold the picture and the label."""
    keys = info.supervised_keys or ("image", "label")
    features = info.features or {}
    kinds = [type(features[key]) for key in keys if key in features]
    if kinds != [tfds.features.Image, tfds.features.ClassLabel]:
        raise UserError(
            f"--dataset={name}: expected pictures with one class label each. Its features: "
            f"{', '.join(features)}"
        )
    classes, most = features[keys[1]].num_classes or 0, image_folders.MOST_CLASSES
    if not 2 <= classes <= most:
        raise UserError(f"--dataset={name}: has {classes:,} classes. Expected 2 to {most:,}.")
    return keys


def read(source: Source, split: str, preprocessing: Preprocessing, *, bad_images: str = "error"):
    """Decodes a whole split, in the order in which it lies on disk.

    Args:
        source: an open dataset.
        split: `source.train` or `source.test`.
        preprocessing: decides to which size each picture is resized.
        bad_images: "error" or "skip", the policy of `bad_images.refuse_bad_images`.

    Returns:
        (images, labels, skipped): uint8 (examples, resize, resize, 3); int32 (examples,), the
        dataset's own labels; and a line for each picture that was left out.

    Raises:
        UserError: if a file cannot be read, or a picture cannot be decoded and `bad_images` is
            "error".
    """
    with _files_readable(source):
        try:
            examples = _undecoded(source, split).map(lambda e: _decode_picture(source, e))
            images, labels = _decode(source, preprocessing, examples, source.size(split), split)
            return images, labels, []
        except tf.errors.InvalidArgumentError:
            # The error does not say which picture it is about.
            bad = _find_faults(source, split)
            if not bad:
                raise
        return _read_without(source, split, preprocessing, bad, bad_images)


@contextlib.contextmanager
def _files_readable(source: Source):
    """Turns an error of TensorFlow in its block into a `UserError` that names the files."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"--dataset={source.name}: the files in {source.builder.data_path} cannot be read "
            f"({shorten_error(error)}). Remove that folder, and they are made again."
        ) from error


def _read_without(source: Source, split: str, preprocessing: Preprocessing, bad, bad_images: str):
    """Reads a split as `read` does, without the pictures that `_find_faults` gave."""
    refuse_bad_images(
        [(name, reason) for _, name, reason in bad], bad_images, where=f"--dataset={source.name}"
    )
    places = tf.constant([place for place, _, _ in bad], tf.int64)
    examples = (
        _undecoded(source, split)
        .enumerate()
        .filter(lambda place, _: tf.reduce_all(place != places))
        .map(lambda _, example: _decode_picture(source, example))
    )
    count = source.size(split) - len(bad)
    images, labels = _decode(source, preprocessing, examples, count, split)
    return images, labels, [f"{name} {reason}" for _, name, reason in bad]


def _decode_picture(source: Source, example):
    """Decodes the picture of an example as TFDS does, but none that would fill the memory."""
    decode = source.builder.info.features[source.image].decode_example
    return {**example, source.image: decode(refuse_large(example[source.image]))}


def _in_order(**more) -> tfds.ReadConfig:
    """Configures TFDS to read one file after the other, the order that `records` has."""
    return tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1, **more)


def _undecoded(source: Source, split: str, **more) -> tf.data.Dataset:
    """Gives the examples of a split, their pictures encoded."""
    return source.builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders={source.image: tfds.decode.SkipDecoding()},
        read_config=_in_order(**more),
    )


def _decode(source: Source, preprocessing: Preprocessing, examples, count: int, split: str):
    """Decodes `count` examples into arrays: (images, labels), as `read` returns them."""
    size = preprocessing.resize
    # The number of threads is fixed, since autotuning is off; see `fixed_parallelism`.
    pictures = examples.map(
        lambda e: (preprocessing.store(e[source.image]), e[source.label]),
        num_parallel_calls=os.cpu_count(),
        deterministic=True,
    )
    pictures = pictures.batch(256).with_options(fixed_parallelism())
    images = np.empty((count, size, size, 3), np.uint8)
    labels = np.empty(count, np.int32)
    with tqdm.tqdm(total=count, desc=f"reading {split}", unit=" images", leave=False) as bar:
        done = 0  # The bar's own count stands still with TQDM_DISABLE.
        for batch, batch_labels in pictures.as_numpy_iterator():
            if done + len(batch) > count:
                raise _miscounted(source, split, count, "more")
            images[done : done + len(batch)] = batch
            labels[done : done + len(batch)] = batch_labels
            done += len(batch)
            bar.update(len(batch))
        if done < count:
            raise _miscounted(source, split, count, f"{done:,}")
    records.check_labels(source.builder, labels, source.label, split)
    return images, labels


def _miscounted(source: Source, split: str, count: int, found: str) -> UserError:
    folder = source.builder.data_path
    return UserError(
        f"--dataset={source.name}: {split} has {found} examples, and dataset_info.json in {folder} "
        f"says {count:,}. Remove that folder, and it is made again."
    )


def _find_faults(source: Source, split: str) -> list[tuple[int, str, str]]:
    """Finds (place, name, fault) of each picture that cannot be decoded.

    It decodes one picture at a time, which is slow.
    """
    shape = source.builder.info.features[source.image].shape
    named = _undecoded(source, split, add_tfds_id=True)
    return [
        (place, example["tfds_id"].decode(), reason)
        for place, example in enumerate(named.as_numpy_iterator())
        if (reason := find_fault(example[source.image], shape))
    ]


def fixed_parallelism() -> tf.data.Options:
    """Gives options without autotuning, whose threads can block an iterator's end for seconds."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
