"""Opens a dataset by name, and reads one of its splits into memory."""

import contextlib
import dataclasses
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from transfer_keras.config import FOLDER, FORMULA_DEFAULT, UserError
from transfer_keras.datasets import records
from transfer_keras.datasets.bad_images import find_fault, refuse_bad_images, shorten_error
from transfer_keras.datasets.folder import Folder
from transfer_keras.datasets.formula_images import FormulaImages
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
        """In the order of the labels."""
        return tuple(self.builder.info.features[self.label].names)

    @property
    def names_known(self) -> bool:
        """Whether the classes have names: some datasets have only numbers until they are here."""
        return self.class_names != tuple(map(str, range(len(self.class_names))))

    @property
    def identity(self) -> str:
        """TFDS's name of just these data: dataset, config, version."""
        return self.builder.info.full_name

    @property
    def square(self) -> bool:
        """Whether all its pictures are squares of one size."""
        height, width, _ = self.builder.info.features[self.image].shape
        return height == width is not None

    @property
    def train(self) -> str:
        """The split that is trained on, in TFDS's notation; known once it is prepared."""
        return self._splits()[0]

    @property
    def test(self) -> str:
        """The split that is tested on: the second, or the last tenth of an only one."""
        return self._splits()[1]

    def _splits(self) -> tuple[str, str]:
        splits = self.builder.info.splits
        found = [name for name in ("train", "validation", "test") if name in splits]
        found = [name for name in found if splits[name].num_examples]
        if len(found) >= 2:
            return found[0], found[1]
        only = found[0] if found else next(iter(splits))
        return f"{only}[:90%]", f"{only}[90%:]"

    @property
    def at_hand(self) -> bool:
        """Whether nothing has to be downloaded first."""
        made_here = isinstance(self.builder, FormulaImages | TinyImagenet)
        return made_here or self.builder.is_prepared()

    def prepare(self) -> None:
        """Makes or downloads the files that are not on disk.

        Raises:
            UserError: if TFDS cannot.
        """
        try:
            self.builder.download_and_prepare()
        except (
            OSError,
            AssertionError,
            tf.errors.OpError,
            tfds.download.DownloadError,
        ) as error:
            raise UserError(
                f"--dataset={self.name}: TFDS could not prepare it in {self.builder.data_dir}: "
                f"{_one_line(error)}"
            ) from error

    @property
    def skipped(self) -> list[str]:
        """A line for each picture that was left out when it was prepared."""
        metadata = self.builder.info.metadata or {}
        return [f"{split}: {line}" for split in sorted(metadata) for line in metadata[split]]

    def size(self, split: str) -> int:
        """Number of examples in a split."""
        return self.builder.info.splits[split].num_examples

    def records(self, split: str) -> records.Records:
        """The examples of a split on disk; see `records.of_tfds`."""
        with _readable(self):
            return records.of_tfds(self.builder, split, self.image, self.label)


def open_source(
    name: str,
    data_dir: str | None = None,
    bad_images: str = "error",
    *,
    validation_split: float = 0.2,
    validation_seed: int = 0,
) -> Source | Folder:
    """Finds a dataset by name; `Source.prepare` then puts it on disk.

    Args:
        name: "dataset" or "dataset/config": one of ours or any of TFDS; or "folder:PATH".
        data_dir: see `catalogue.check`, which is to be called first.
        bad_images: see `bad_images.refuse_bad_images`.
        validation_split, validation_seed: see `folder.Folder`; of no other dataset.

    Raises:
        UserError: if it is no dataset of labelled pictures, or its config does not exist.
    """
    if name.startswith(FOLDER):
        return Folder(
            name,
            bad_images=bad_images,
            validation_split=validation_split,
            validation_seed=validation_seed,
        )
    dataset, _, config = name.partition("/")
    if dataset == "formula_images":
        builder = _made(name, FormulaImages, config=config or FORMULA_DEFAULT, data_dir=data_dir)
    elif dataset == "tiny_imagenet":
        builder = _made(name, TinyImagenet, config=TinyImagenetConfig.of(data_dir, bad_images))
    else:
        _check_config(name, dataset, config)
        builder = _made(name, tfds.builder, name, data_dir=data_dir)
    return Source(name, builder, *_features(name, builder.info))


def _check_config(name: str, dataset: str, config: str) -> None:
    try:
        known = [c.name for c in tfds.builder_cls(dataset).BUILDER_CONFIGS]
    except tfds.core.registered.DatasetNotFoundError:
        return  # Found as files in --data_dir alone.
    if config and not known:
        raise UserError(f"--dataset={name}: {dataset} has no configs. Give --dataset={dataset}.")
    if known and config not in known and (config or len(known) > 1):
        raise UserError(
            f"--dataset={name}: expected {dataset}/CONFIG with one of {', '.join(known)}."
        )


def _made(name: str, make, *args, **kwargs) -> tfds.core.DatasetBuilder:
    try:
        return make(*args, **kwargs)
    except UserError:
        raise
    except (ValueError, tfds.core.registered.DatasetNotFoundError) as error:
        raise UserError(f"--dataset={name}: {_one_line(error)}") from error


def _features(name: str, info: tfds.core.DatasetInfo) -> tuple[str, str]:
    keys = info.supervised_keys or ("image", "label")
    kinds = [type(info.features[key]) for key in keys if key in info.features]
    if kinds != [tfds.features.Image, tfds.features.ClassLabel]:
        raise UserError(
            f"--dataset={name}: expected pictures with one class label each. Its features: "
            f"{', '.join(info.features)}"
        )
    return keys


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def read(source: Source, split: str, preprocessing: Preprocessing, *, bad_images: str = "error"):
    """Decodes a whole split, in the order in which it lies on disk.

    Args:
        source: an open dataset.
        split: `source.train` or `source.test`.
        preprocessing: says to which size each picture is brought.
        bad_images: see `bad_images.refuse_bad_images`.

    Returns:
        (images, labels, skipped): uint8 (examples, resize, resize, 3) and int32 (examples,), the
        dataset's own labels; and a line for each picture that was left out.

    Raises:
        UserError: if files cannot be read, or a picture not and `bad_images` is "error".
    """
    with _readable(source):
        try:
            examples = source.builder.as_dataset(
                split=split, shuffle_files=False, read_config=_in_order()
            )
            images, labels = _decode(source, preprocessing, examples, source.size(split), split)
            return images, labels, []
        except tf.errors.InvalidArgumentError:
            bad = _bad(source, split)
            if not bad:
                raise
        return _without(source, split, preprocessing, bad, bad_images)


@contextlib.contextmanager
def _readable(source: Source):
    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(
            f"--dataset={source.name}: the files in {source.builder.data_path} cannot be read "
            f"({shorten_error(error)}). Remove that folder, and they are made again."
        ) from error


def _without(source: Source, split: str, preprocessing: Preprocessing, bad, bad_images: str):
    """As `read`, without the bad pictures."""
    refuse_bad_images(
        [(name, reason) for _, name, reason in bad], bad_images, where=f"--dataset={source.name}"
    )
    places = tf.constant([place for place, _, _ in bad], tf.int64)
    decode = source.builder.info.features[source.image].decode_example
    examples = (
        _undecoded(source, split)
        .enumerate()
        .filter(lambda place, _: tf.reduce_all(place != places))
        .map(lambda _, example: {**example, source.image: decode(example[source.image])})
    )
    count = source.size(split) - len(bad)
    images, labels = _decode(source, preprocessing, examples, count, split)
    return images, labels, [f"{name} {reason}" for _, name, reason in bad]


def _in_order(**more) -> tfds.ReadConfig:
    """One file after the other, as `records` has them."""
    return tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1, **more)


def _undecoded(source: Source, split: str) -> tf.data.Dataset:
    return source.builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders={source.image: tfds.decode.SkipDecoding()},
        read_config=_in_order(add_tfds_id=True),
    )


def _decode(source: Source, preprocessing: Preprocessing, examples, count: int, split: str):
    size = preprocessing.resize
    pictures = examples.map(
        lambda e: (preprocessing.store(e[source.image]), e[source.label]),
        num_parallel_calls=os.cpu_count(),  # Autotuning is off; see `fixed_parallelism`.
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


def _bad(source: Source, split: str) -> list[tuple[int, str, str]]:
    """(place, name, fault) of each picture that cannot be decoded; slow, one at a time."""
    shape = source.builder.info.features[source.image].shape
    return [
        (place, example["tfds_id"].decode(), reason)
        for place, example in enumerate(_undecoded(source, split).as_numpy_iterator())
        if (reason := find_fault(example[source.image], shape))
    ]


def fixed_parallelism() -> tf.data.Options:
    """No autotuning: its threads can block the end of an iterator for seconds."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
