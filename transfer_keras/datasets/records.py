"""Reads the examples of a split from disk, one by one, in any order.

Since any example can be read at any time, the order of an epoch can be a pure function of its
number, and a stream can begin at any step at once, however large the dataset is.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm

from transfer_keras.config import UserError
from transfer_keras.datasets.bad_images import find_fault, shorten_error
from transfer_keras.files import DamagedFile, read_arrays, set_aside, write_arrays

# So many files are open at a time: systems allow 1,024, and ImageNet has 1,024.
_OPEN_FILES = 200
# Bytes before a record in a TFRecord file: the length of the record, and the length's checksum.
_HEADER = 12
# Bytes after a record in a TFRecord file: the checksum of the record.
_FOOTER = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """A split on disk.

    Attributes:
        labels: int32 (examples,), the dataset's own labels, in the order on disk; -1 for examples
            that belong to no class.
        fetch: function from the places of examples, int64 (batch,), to what `encoded` takes,
            string (batch,); called in a graph.
        encoded: function from one string of `fetch` to the bytes of the picture's file, string;
            called in a graph, for many examples in parallel.
        name: function from the place of an example to the name by which a person finds it.
        has_files: whether that is the path of a file of its own.
    """

    labels: np.ndarray
    fetch: Callable
    encoded: Callable
    name: Callable[[int], str]
    has_files: bool = False

    def __len__(self):
        return len(self.labels)

    def without(self, places: Collection[int]) -> "Records":
        """Gives the same examples, but those at the given places belong to no class."""
        labels = self.labels.copy()
        labels[list(places)] = -1
        return dataclasses.replace(self, labels=labels)

    def in_memory(
        self, places: Sequence[int], decode: Callable, shrink: Callable, title: str
    ) -> "Records":
        """Reads the pictures at some places, and holds their files in memory.

        A picture that `shrink` makes smaller is held as a PNG file, which loses nothing.

        Args:
            places: of the examples to read.
            decode: function from the bytes of a file to its picture, uint8 (height, width, 3).
            shrink: function from a picture, uint8 (height, width, 3), to the picture that is held:
                the same, or a smaller one.
            title: of the progress bar.

        Returns:
            Records of the same examples, of which only those at `places` can be read.

        Raises:
            tf.errors.OpError: if a picture cannot be decoded.
        """

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
        def read(place):
            encoded = self.encoded(self.fetch(place[None])[0])
            image = decode(encoded)
            small = shrink(image)
            return tf.cond(
                tf.reduce_all(tf.shape(small) == tf.shape(image)),
                lambda: encoded,
                lambda: tf.io.encode_png(small, compression=1),
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

    def find_faults(self, places: Sequence[int], title: str) -> dict[int, str]:
        """Decodes the pictures at some places, and finds those that cannot be used.

        Args:
            places: of the examples to decode.
            title: of the progress bar.

        Returns:
            Place -> fault, for each picture that cannot be used.
        """

        def check(place):
            try:
                data = self.encoded(self.fetch(tf.constant([place], tf.int64))[0]).numpy()
            except tf.errors.OpError as error:
                return shorten_error(error)
            return find_fault(data, (None, None, 3))

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            faults = pool.map(check, places)
            bar = tqdm.tqdm(faults, title, len(places), unit=" images", leave=False)
            return {place: fault for place, fault in zip(places, bar, strict=True) if fault}


def of_files(paths: Sequence[str], labels: np.ndarray) -> Records:
    """Gives the records of pictures that have a file each.

    Args:
        paths: of the files, text or bytes.
        labels: int32 (files,).
    """
    names = tf.constant(list(paths))
    return Records(
        labels,
        lambda index: tf.gather(names, index),
        tf.io.read_file,
        paths.__getitem__,
        has_files=True,
    )


def of_tfds(builder: tfds.core.DatasetBuilder, split: str, image: str, label: str) -> Records:
    """Gives the records of a split that TFDS has prepared as TFRecord files.

    The first call finds the place of each record in one pass over the files, and writes these
    places to an index file in the same folder.

    Args:
        builder: of the dataset, whose files are on disk.
        split: in TFDS's notation.
        image, label: names of the two features.

    Raises:
        UserError: if the files are of another format.
    """
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"--dataset={builder.info.full_name}: is too large for the memory, and its files are "
            f"{builder.info.file_format.value}. Prepare it as tfrecord, TFDS's default."
        )

    def deserialize(record, feature):
        decoders = {image: tfds.decode.SkipDecoding()}
        return builder.info.features.deserialize_example(record, decoders=decoders)[feature]

    # Where the records lie.
    # The index of a file has the length and the label of each of its records. The lengths add up
    # to the place of each record. TFDS's instructions say which records belong to the split.
    instructions = builder.info.splits[split].file_instructions
    paths = [instruction.filename for instruction in instructions]
    indices = _index(
        list(map(pathlib.Path, paths)), lambda record: deserialize(record, label), split
    )
    _check_counts(builder, split.partition("[")[0], dict(zip(paths, indices, strict=True)))
    files, offsets, lengths, labels = [], [], [], []
    for number, (instruction, index) in enumerate(zip(instructions, indices, strict=True)):
        end = None if instruction.take < 0 else instruction.skip + instruction.take
        in_split = slice(instruction.skip, end)
        begin = np.cumsum(index[0] + _HEADER + _FOOTER) - index[0] - _FOOTER
        files.append(np.full(len(index[0][in_split]), number))
        offsets.append(begin[in_split])
        lengths.append(index[0][in_split])
        labels.append(index[1][in_split])
    file, offset, length = map(np.concatenate, (files, offsets, lengths))
    labels = np.concatenate(labels)
    check_labels(builder, labels, label, split)

    # How a record is read.
    # Many threads read from the same open files, with `os.pread`, which has no position. A file
    # that leaves the cache is closed when no thread refers to it any more.
    @functools.lru_cache(_OPEN_FILES)
    def open_file(number):
        return open(paths[number], "rb", buffering=0)

    def read(index):
        records = []
        for place in index:
            # The name refers to the file until it is read: another thread may fill the cache.
            opened = open_file(file[place])
            records.append(os.pread(opened.fileno(), length[place], offset[place]))
        return np.array(records, object)

    def fetch(index):
        return tf.ensure_shape(tf.numpy_function(read, [index], tf.string), index.shape)

    # What a record holds.
    # TFDS takes the record apart and leaves the picture encoded. So a crop of it can be decoded
    # without the rest.
    def encoded(record):
        return deserialize(record, image)

    def name(place: int) -> str:
        return f"record {place:,} of {split}"

    return Records(labels.astype(np.int32), fetch, encoded, name)


def check_labels(
    builder: tfds.core.DatasetBuilder, labels: np.ndarray, label: str, split: str
) -> None:
    """Checks that all labels of a split are those of classes, or -1.

    Raises:
        UserError: if one is not.
    """
    classes = builder.info.features[label].num_classes
    if len(odd := np.flatnonzero((labels < -1) | (labels >= classes))):
        raise UserError(
            f"--dataset={builder.info.full_name}: record {odd[0]:,} of {split} has the label "
            f"{labels[odd[0]]}, and there are {classes} classes. Remove the folder "
            f"{builder.data_path}, and it is made again."
        )


def _check_counts(
    builder: tfds.core.DatasetBuilder, split: str, indices: Mapping[str, np.ndarray]
) -> None:
    """Checks that files have as many records as TFDS believes.

    Args:
        builder: of the dataset.
        split: a whole one.
        indices: path of a file -> its index.

    Raises:
        UserError: if one has not.
    """
    facts = builder.info.splits[split]
    for path, count in zip(map(os.fspath, facts.filepaths), facts.shard_lengths, strict=True):
        if path in indices and (found := indices[path].shape[1]) != count:
            raise UserError(
                f"--dataset={builder.info.full_name}: {path} has {found:,} records, and "
                f"dataset_info.json beside it says {count:,}. Remove the folder "
                f"{builder.data_path}, and it is made again."
            )


def _index(paths: Sequence[pathlib.Path], label_of: Callable, split: str) -> list[np.ndarray]:
    """Finds the length and the label of each record of some files.

    They are read from the index file if that was made for the same files, by their sizes and times.
    Else the files are scanned, and the index file is written if the folder can be written to.

    Args:
        paths: of the TFRecord files, all in one folder.
        label_of: function from a record, string, to its label; called in a graph.
        split: in TFDS's notation, which names the index file.

    Returns:
        For each file int64 (2, records): the lengths in bytes, and the labels.
    """
    index_file = paths[0].with_name(f"index-{split.partition('[')[0]}.safetensors")
    facts = [path.stat() for path in paths]
    stamps = np.array([(each.st_size, each.st_mtime_ns) for each in facts], np.int64)
    if (indices := _read_index(index_file, stamps)) is not None:
        return indices

    def scan(path: pathlib.Path) -> np.ndarray:
        def describe(record):
            return tf.stack([tf.cast(tf.strings.length(record), tf.int64), label_of(record)])

        records = tf.data.TFRecordDataset(str(path)).map(describe)
        return np.array(list(records.as_numpy_iterator()), np.int64).reshape(-1, 2).T

    with concurrent.futures.ThreadPoolExecutor() as pool:
        scanned = pool.map(scan, paths)
        bar = tqdm.tqdm(scanned, f"indexing {split}", len(paths), unit=" files", leave=False)
        indices = list(bar)
    if os.access(index_file.parent, os.W_OK):
        ends = np.cumsum([index.shape[1] for index in indices])
        records = np.concatenate(indices, axis=1)
        write_arrays(index_file, {"stamps": stamps, "ends": ends, "records": records})
    return indices


def _read_index(path: pathlib.Path, stamps: np.ndarray) -> list[np.ndarray] | None:
    """Reads an index file; None where there is none, it is of other files, or it is damaged."""
    if not os.path.lexists(path):
        return None
    try:
        arrays = read_arrays(path).arrays
        if not np.array_equal(arrays.get("stamps"), stamps):
            return None
        ends, records = (arrays.get(name) for name in ("ends", "records"))
        whole = ends is not None and records is not None
        whole = whole and (ends.dtype, ends.shape) == (np.int64, (len(stamps),))
        whole = whole and (records.dtype, records.shape) == (np.int64, (2, ends[-1]))
        if not whole or (np.diff(ends, prepend=0) < 0).any() or (records[0] < 0).any():
            raise DamagedFile(path, "is no index of these files")
        indices = np.split(records, ends[:-1], axis=1)
        sizes = [(index[0] + _HEADER + _FOOTER).sum() for index in indices]
        if not np.array_equal(sizes, stamps[:, 0]):
            raise DamagedFile(path, "is no index of these files")
        return indices
    except DamagedFile as error:
        if os.access(path.parent, os.W_OK):
            set_aside(error, print, "the files are indexed again")
        return None
