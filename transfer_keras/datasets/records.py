"""The examples of a split where they lie on disk, read one by one when they are wanted.

Reading at random is what makes the order of an epoch a pure function of its number, and lets a
stream begin at any step at once, however large the dataset is.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Collection, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from transfer_keras.config import UserError
from transfer_keras.datasets.bad_images import find_fault, shorten_error

_OPEN_FILES = 200  # At a time; systems allow 1,024, and ImageNet has as many.
_FRAME = 12  # Bytes before a record in a TFRecord file: its length, and that one's checksum.
_TAIL = 4  # The checksum of the record.


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """A split on disk.

    Attributes:
        labels: int32 (examples,), the dataset's own, in its order.
        fetch: int64 (batch,), places of examples -> string (batch,), what `encoded` takes; called
            in a graph.
        encoded: string, of one example -> string, the bytes of the picture's file; called in a
            graph, of many examples at a time.
        name: place -> what a person finds the example by.
    """

    labels: np.ndarray
    fetch: Callable
    encoded: Callable
    name: Callable[[int], str]

    def __len__(self):
        return len(self.labels)

    def without(self, places: Collection[int]) -> "Records":
        """The same, but these are of no class."""
        labels = self.labels.copy()
        labels[list(places)] = -1
        return dataclasses.replace(self, labels=labels)

    def kept(self, places: Sequence[int], smaller: Callable, title: str) -> "Records":
        """The same, with these examples in memory; no other can be read.

        Args:
            places: of the examples.
            smaller: uint8 (height, width, 3) -> the same, or smaller, as it shall be kept.
            title: of the progress bar.

        Raises:
            tf.errors.OpError: if one cannot be decoded.
        """

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
        def read(place):
            encoded = self.encoded(self.fetch(place[None])[0])
            image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
            small = smaller(image)
            return tf.cond(
                tf.reduce_all(tf.shape(small) == tf.shape(image)),
                lambda: encoded,
                lambda: tf.io.encode_png(small, compression=1),  # Nothing is lost.
            )

        pictures = np.full(len(self), b"", object)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            data = pool.map(lambda place: read(tf.constant(place, tf.int64)).numpy(), places)
            bar = tqdm.tqdm(data, title, len(places), unit=" images", leave=False)
            for place, picture in zip(places, bar, strict=True):
                pictures[place] = picture

        def fetch(index):
            return tf.ensure_shape(
                tf.numpy_function(pictures.__getitem__, [index], tf.string), index.shape
            )

        return dataclasses.replace(self, fetch=fetch, encoded=lambda picture: picture)

    def faults(self, places: Sequence[int], title: str) -> dict[int, str]:
        """Those of the examples that cannot be decoded, and why; decodes all of them.

        Args:
            places: of the examples.
            title: of the progress bar.
        """

        def look(place):
            try:
                data = self.encoded(self.fetch(tf.constant([place], tf.int64))[0]).numpy()
            except tf.errors.OpError as error:
                return shorten_error(error)
            return find_fault(data, (None, None, 3))

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            bar = tqdm.tqdm(pool.map(look, places), title, len(places), unit=" images", leave=False)
            return {place: why for place, why in zip(places, bar, strict=True) if why}


def of_files(paths: Sequence[str], labels: np.ndarray) -> Records:
    """A picture a file.

    Args:
        paths: of the files.
        labels: int32 (files,).
    """
    names = tf.constant(list(paths))
    return Records(
        labels, lambda index: tf.gather(names, index), tf.io.read_file, paths.__getitem__
    )


def of_tfds(builder: tfds.core.DatasetBuilder, split: str, image: str, label: str) -> Records:
    """A split that TFDS has prepared as TFRecord files.

    Where each record lies is found in one pass over the files, and kept beside them.

    Args:
        builder: of the dataset, which is on disk.
        split: in TFDS's notation.
        image, label: names of the features.

    Raises:
        UserError: if the files are of another format.
    """
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"--dataset={builder.info.full_name}: is too large for the memory, and its files are "
            f"{builder.info.file_format.value}. Prepare it as tfrecord, TFDS's default."
        )

    def label_of(record):
        decoders = {image: tfds.decode.SkipDecoding()}
        return builder.info.features.deserialize_example(record, decoders=decoders)[label]

    instructions = builder.info.splits[split].file_instructions
    found = _indexed([pathlib.Path(i.filename) for i in instructions], label_of, split)
    files, offsets, lengths, labels = [], [], [], []
    for number, (instruction, index) in enumerate(zip(instructions, found, strict=True)):
        end = None if instruction.take < 0 else instruction.skip + instruction.take
        part = slice(instruction.skip, end)
        begin = np.cumsum(index[0] + _FRAME + _TAIL) - index[0] - _TAIL
        files.append(np.full(len(index[0][part]), number))
        offsets.append(begin[part])
        lengths.append(index[0][part])
        labels.append(index[1][part])
    file, offset, length = map(np.concatenate, (files, offsets, lengths))
    paths = [instruction.filename for instruction in instructions]

    @functools.lru_cache(_OPEN_FILES)
    def opened(number):
        return open(paths[number], "rb", buffering=0)  # Closed when nothing refers to it any more.

    def read(index):
        records = []
        for place in index:
            shard = opened(file[place])  # Held until it is read: others may fill the cache.
            records.append(os.pread(shard.fileno(), length[place], offset[place]))
        return np.array(records, object)

    def fetch(index):
        return tf.ensure_shape(tf.numpy_function(read, [index], tf.string), index.shape)

    def encoded(record):
        decoders = {image: tfds.decode.SkipDecoding()}
        return builder.info.features.deserialize_example(record, decoders=decoders)[image]

    def name(place: int) -> str:
        return f"record {place:,} of {split}"

    return Records(np.concatenate(labels).astype(np.int32), fetch, encoded, name)


def _indexed(paths: Sequence[pathlib.Path], label_of: Callable, split: str) -> list[np.ndarray]:
    """Of each file int64 (2, records): lengths in bytes, and labels; from an index beside them
    where that is of these files."""
    kept = paths[0].with_name(f"index-{split.partition('[')[0]}.npz")
    sizes = np.array([path.stat().st_size for path in paths])
    if kept.exists():
        with np.load(kept) as index:
            if np.array_equal(index["sizes"], sizes):
                return np.split(index["records"], index["ends"][:-1], axis=1)

    def scan(path: pathlib.Path) -> np.ndarray:
        def facts(record):
            return tf.stack([tf.cast(tf.strings.length(record), tf.int64), label_of(record)])

        records = tf.data.TFRecordDataset(str(path)).map(facts)
        return np.array(list(records.as_numpy_iterator()), np.int64).reshape(-1, 2).T

    with concurrent.futures.ThreadPoolExecutor() as pool:
        scanned = pool.map(scan, paths)
        bar = tqdm.tqdm(scanned, f"indexing {split}", len(paths), unit=" files", leave=False)
        found = list(bar)
    if os.access(kept.parent, os.W_OK):  # Else it is made again each time.
        partial = kept.with_name(f".{os.getpid()}-{kept.name}")
        ends = np.cumsum([index.shape[1] for index in found])
        np.savez(partial, sizes=sizes, ends=ends, records=np.concatenate(found, axis=1))
        partial.replace(kept)
    return found
