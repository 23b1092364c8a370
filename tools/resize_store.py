"""Makes a store of a dataset at the size that networks are trained from, once.

python tools/resize_store.py --dataset=folder:pictures --output=stores --name=pictures256
python -m transfer_keras.train --dataset=pictures256 --data_dir=stores --network=alexnet

What `train` would do to each picture each time it is read, decoding and resizing it, is done here
for all of them: `--preprocessing=paper` squeezes the whole picture into a square, `modern` keeps
the central square of its short side. The store is a dataset of TFDS, of TFRecord files with JPEGs
(`--format=bmp`: raw pixels, four times as large and quicker to read), and beside them
`manifest.jsonl` with the digest of each. Stopped, it goes on at the file where it was; a file that
is damaged is made again. Labels, and so splits, stay what they are.
"""

import hashlib
import itertools
import json
import os
import pathlib
import re
import struct
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from absl import flags

from transfer_keras.config import UserError, choices, dataset_names, launch
from transfer_keras.datasets import Preprocessing, StreamedExamples, sources

_DATASET = flags.DEFINE_string("dataset", None, "As `train` takes it.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As `train` takes it.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of stores; `train --data_dir`.", required=True
)
_NAME = flags.DEFINE_string("name", None, "Of the store; `train --dataset`.", required=True)
_SIZE = flags.DEFINE_integer("size", 256, "Side in pixels.", 8)
_PREPROCESSING = flags.DEFINE_enum(
    "preprocessing", "paper", choices.PREPROCESSING, "How a picture becomes a square."
)
_FORMAT = flags.DEFINE_enum("format", "jpeg", ("jpeg", "bmp"), "JPEG of quality 95, or raw pixels.")
_SHARDS = flags.DEFINE_integer("shards", 64, "Files of the training split.", 1)

_VERSION = "1.0.0"
_QUALITY = 95


def main() -> None:
    """Writes the store, and prints the command that trains from it."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", _NAME.value) or _NAME.value in dataset_names.names():
        raise UserError(
            f"--name={_NAME.value}: expected small letters, digits and underscores, and no name "
            "that TFDS or this program has."
        )
    if _FORMAT.value == "bmp" and _SIZE.value % 4:
        raise UserError(f"--size={_SIZE.value}: a BMP's rows are multiples of 4 pixels.")
    dataset_names.check(_DATASET.value, _DATA_DIR.value)
    source = sources.open_source(_DATASET.value, _DATA_DIR.value)
    source.prepare()
    output = pathlib.Path(_OUTPUT.value).expanduser()
    folder = output / _NAME.value / _VERSION
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(folder, {
        "source": source.identity, "size": _SIZE.value, "preprocessing": _PREPROCESSING.value,
        "format": _FORMAT.value, "shards": _SHARDS.value,
    })  # fmt: skip
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(_SIZE.value, _SIZE.value, 3)),
            "label": tfds.features.ClassLabel(names=source.class_names),
        }
    )
    splits = [
        _write(store, source, split, name, features)
        for split, name in ((source.train, "train"), (source.test, "validation"))
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=splits,
        description=f"{source.identity} at {_SIZE.value} pixels ({_PREPROCESSING.value}).",
        supervised_keys=("image", "label"),
    )
    count = sum(split.num_examples for split in splits)
    gigabytes = sum(split.num_bytes for split in splits) / 1e9
    print(f"{count:,} pictures, {gigabytes:.2f} GB, in {folder}")
    print(
        f"python -m transfer_keras.train --dataset={_NAME.value} --data_dir={output} "
        "--network=alexnet"
    )


class Store:
    """The files of a store, and `manifest.jsonl`, which has a line each.

    Args:
        folder: where the files are.
        settings: those that the files were made with.

    Raises:
        UserError: if the folder holds a store of other settings.
    """

    def __init__(self, folder: pathlib.Path, settings: dict):
        self.folder = folder
        self._manifest = folder / "manifest.jsonl"
        lines = self._manifest.read_text().splitlines() if self._manifest.exists() else []
        first, *files = map(json.loads, lines) if lines else [settings]
        if first != settings:
            differing = ", ".join(f"{k} is {first.get(k)!r} there" for k in settings
                                  if first.get(k) != settings[k])  # fmt: skip
            raise UserError(f"--name: {folder} holds another store: {differing}. Give a new name.")
        self._files = {line["file"]: line for line in files}
        if not lines:
            self._add(settings)

    def bytes_of(self, name: str) -> int | None:
        """Gives the size of a file, in bytes; None unless it is as the manifest has it."""
        path, line = self.folder / name, self._files.get(name)
        if not line or not path.exists() or _digest(path) != line["sha256"]:
            return None
        return line["bytes"]

    def write(self, name: str, records: Iterable[bytes]) -> int:
        """Writes a file, whole or not at all; gives its size in bytes."""
        path = self.folder / name
        partial = path.with_name(f".partial-{name}")
        with tf.io.TFRecordWriter(str(partial)) as file:
            for record in records:
                file.write(record)
        partial.replace(path)
        line = {"file": name, "bytes": path.stat().st_size, "sha256": _digest(path)}
        self._add(line)
        return line["bytes"]

    def _add(self, line: dict) -> None:
        with self._manifest.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(store: Store, source, split: str, name: str, features) -> tfds.core.SplitInfo:
    """Writes the files of a split that are missing."""
    size, kind = _SIZE.value, _PREPROCESSING.value
    everything = StreamedExamples.of_classes(
        source.records(split), range(len(source.class_names)),
        Preprocessing(size, size, augment=False, kind=kind),
        square=kind == "paper" or source.square,
    )  # fmt: skip
    shards = _SHARDS.value
    if name != "train":  # Of about the same size.
        shards = max(1, round(shards * source.size(split) / source.size(source.train)))
    shards = min(shards, len(everything))
    ends = np.linspace(0, len(everything), shards + 1).astype(int)
    total = 0
    with tqdm.tqdm(total=len(everything), desc=name, unit=" pictures") as bar:
        for number, (begin, end) in enumerate(itertools.pairwise(ends)):
            file = f"{_NAME.value}-{name}.tfrecord-{number:05d}-of-{shards:05d}"
            file_size = store.bytes_of(file)
            if file_size is None:
                part = everything.part(slice(begin, end))
                file_size = store.write(file, _serialized(part, features, bar))
            total += file_size
            bar.update(end - bar.n)
    template = tfds.core.ShardedFileTemplate(
        data_dir=store.folder, dataset_name=_NAME.value, split=name, filetype_suffix="tfrecord"
    )
    return tfds.core.SplitInfo(
        name=name, shard_lengths=np.diff(ends).tolist(), num_bytes=total, filename_template=template
    )


def _serialized(part: StreamedExamples, features, bar) -> Iterator[bytes]:
    pictures = part.evaluation(batch_size=64).unbatch()
    if _FORMAT.value == "jpeg":
        pictures = pictures.map(
            lambda image, label: (tf.io.encode_jpeg(image, quality=_QUALITY), label),
            num_parallel_calls=os.cpu_count(),
            deterministic=True,
        )
    pictures = pictures.prefetch(64).with_options(sources.fixed_parallelism())
    for image, label in pictures.as_numpy_iterator():
        data = image if _FORMAT.value == "jpeg" else bmp(image)
        example = features.encode_example({"image": data, "label": int(label)})
        record = tf.train.Example.FromString(features.serialize_example(example))
        yield record.SerializeToString(deterministic=True)
        bar.update()


def bmp(image: np.ndarray) -> bytes:
    """Encodes uint8 (height, width, 3), the width a multiple of 4, as a BMP without compression."""
    height, width, _ = image.shape
    pixels = image[::-1, :, ::-1].tobytes()  # From the lowest row up; blue, green, red.
    header = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    facts = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return header + facts + pixels


if __name__ == "__main__":
    launch.start(main)
