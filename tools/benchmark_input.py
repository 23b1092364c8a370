"""Times how fast pictures come from disk, against bare decoding of the same files.

python tools/make_pictures.py --output=pictures --classes=100 --train=20
python tools/benchmark_input.py --dataset=folder:pictures

Every contender gives the same pictures, in turn, `--rounds` times; medians are printed, as pictures
a second of wall time and core, and as pictures a second of processor time. `bare` decodes the
files' bytes, which are in memory already, and does nothing else. `paper` and `modern` are the
streams of training with that preprocessing: reading at random, decoding, resizing, cropping,
mirroring, batches; `tests` is the pass of `paper` over test images; `half` is `paper` for half of
the classes, timed for a whole epoch of it. A store that `resize_store.py` has made is another
`--dataset`. On a machine with a GPU the numbers are of its processor too: decoding is done there.
"""

import dataclasses
import os
import resource
import statistics
import time

import numpy as np
import tensorflow as tf
from absl import flags

from transfer_keras.config import dataset_names, launch
from transfer_keras.datasets import Preprocessing, StreamedExamples, sources

_DATASET = flags.DEFINE_string("dataset", None, "As `train` takes it.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "As `train` takes it.")
_IMAGES = flags.DEFINE_integer("images", 1000, "Pictures of a measurement.", 64)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Measurements of each contender.", 1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 227, "Side of a crop in pixels.", 1)
_RESIZE = flags.DEFINE_integer("resize", 256, "Side of a picture before that.", 1)

_BATCH = 32


def main() -> None:
    """Measures every contender in turn, and prints a table."""
    dataset_names.check(_DATASET.value, _DATA_DIR.value)
    source = sources.open_source(_DATASET.value, _DATA_DIR.value)
    source.prepare()
    records = source.records(source.train)
    classes = range(len(source.class_names))
    cut = Preprocessing(_IMAGE_SIZE.value, _RESIZE.value, kind="paper")
    paper = StreamedExamples.of_classes(records, classes, cut)
    modern = dataclasses.replace(
        paper, preprocessing=dataclasses.replace(cut, kind="modern"), square=source.square
    )
    half = StreamedExamples.of_classes(records, classes[::2], cut)
    count = min(_IMAGES.value, len(paper)) // _BATCH * _BATCH
    order = np.random.default_rng(0).permutation(len(paper))[:count]
    index = tf.constant(paper.numbers[order])
    handles = tf.unstack(records.fetch(index))
    data = [records.encoded(handle).numpy() for handle in handles]
    contenders = {
        "bare": (count, lambda: _bare(data)),
        "paper": (count, lambda: _training(paper, count)),
        "modern": (count, lambda: _training(modern, count)),
        "tests": (count, lambda: paper.part(slice(count)).evaluation(batch_size=_BATCH)),
        "half": (len(half) // _BATCH * _BATCH, lambda: _training(half, len(half))),
    }
    size = np.mean([len(encoded) for encoded in data]) / 1e3
    print(f"{source.identity}: {len(paper):,} pictures of {size:.0f} KB")
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(_ROUNDS.value):
        for name, (images, stream) in contenders.items():
            timings[name].append(tuple(seconds / images for seconds in _timed(stream())))
    print(f"{'':8}{'a second':>14}{'a core-second':>16}{'against bare':>15}{'pictures':>10}")
    bare = _median(timings["bare"], 1)
    for name, (images, _) in contenders.items():
        wall, cpu = _median(timings[name], 0), _median(timings[name], 1)
        print(f"{name:8}{1 / wall:14,.0f}{1 / cpu:16,.0f}{bare / cpu:14.0%}{images:11,}")


def _bare(data: list[bytes]) -> tf.data.Dataset:
    def decode(encoded):
        return tf.shape(tf.io.decode_image(encoded, channels=3, expand_animations=False))

    pictures = tf.data.Dataset.from_tensor_slices(data).map(
        decode, num_parallel_calls=os.cpu_count(), deterministic=True
    )
    return pictures.with_options(sources.fixed_parallelism())


def _training(examples: StreamedExamples, count: int) -> tf.data.Dataset:
    return examples.training(batch_size=_BATCH, seed=0).take(count // _BATCH)


def _timed(pictures: tf.data.Dataset) -> tuple[float, float]:
    """Measures the second of two passes: seconds on the clock, and of all cores."""
    for _ in range(2):
        begun, used = time.perf_counter(), _processor()
        for _ in pictures:
            pass
        wall, cpu = time.perf_counter() - begun, _processor() - used
    return wall, cpu


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _median(timings: list[tuple[float, float]], which: int) -> float:
    return statistics.median(values[which] for values in timings)


if __name__ == "__main__":
    launch.start(main)
