"""A task's pictures on disk, decoded while they are needed; the same streams as `examples`."""

import dataclasses
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tqdm

from transfer_keras.datasets.examples import (
    Examples,
    channel_counts,
    choose,
    in_order,
    mixed,
    pixels,
    shuffled_places,
)
from transfer_keras.datasets.preprocessing import Pixels, Preprocessing, decoded
from transfer_keras.datasets.records import Records
from transfer_keras.datasets.sharding import ALL_ROWS, padded_size
from transfer_keras.datasets.sources import fixed_parallelism

_READ_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedExamples:
    """The pictures of one task and split, of which none is in memory.

    Streams are those of `Examples` with the same pictures, value for value.

    Attributes:
        records: where the pictures are.
        labels: int32 (examples,), 0..classes-1.
        numbers: int64 (examples,), each picture's place in `records`, its identity.
        preprocessing: how a picture becomes what a network takes.
        square: whether they are brought to squares whole, as those in memory are.
    """

    records: Records
    labels: np.ndarray
    numbers: np.ndarray
    preprocessing: Preprocessing
    square: bool = True

    def __len__(self):
        return len(self.labels)

    @classmethod
    def of_classes(
        cls, records, classes, preprocessing, *, first: int | None = None, square: bool = True
    ) -> "StreamedExamples":
        """See `Examples.of_classes`."""
        numbers, labels = choose(records.labels, classes, first=first)
        return cls(records, labels, numbers, preprocessing, square)

    def shuffled(self) -> "StreamedExamples":
        """The same in a fixed order that mixes the classes, so that any part is a sample."""
        order = mixed(len(self))
        return dataclasses.replace(self, labels=self.labels[order], numbers=self.numbers[order])

    def part(self, which: slice) -> "StreamedExamples":
        """Some of them."""
        return dataclasses.replace(self, labels=self.labels[which], numbers=self.numbers[which])

    def in_memory(self, title: str) -> Examples:
        """The same, decoded once and for all."""
        images = np.empty((len(self), *self.preprocessing.stored_shape), np.uint8)
        for place, batch in self._all(title):
            images[place : place + len(batch)] = batch
        return Examples(images, self.labels, self.numbers, self.preprocessing)

    def pixels(self) -> Pixels:
        """See `Examples.pixels`; in one pass over all pictures."""
        total, counts = 0, np.zeros((3, 256), np.int64)
        for _, batch in self._all("what is normal in the pictures"):
            counts += channel_counts(batch)
            if self.preprocessing.kind == "paper":
                total += batch.sum(axis=0, dtype=np.int64)
        return pixels(counts, total / len(self) if self.preprocessing.kind == "paper" else None)

    def training(
        self,
        *,
        batch_size: int,
        seed: int,
        start: int = 0,
        mean: np.ndarray | None = None,
        context: tf.distribute.InputContext = ALL_ROWS,
    ) -> tf.data.Dataset:
        """See `Examples.training`."""
        places = shuffled_places(len(self), batch_size, seed, context)
        cut, numbers = self.preprocessing, tf.constant(self.numbers)

        def batch(step):
            index, epoch = places(step)
            number = tf.gather(numbers, index)
            return index, *cut.windows(number, epoch, seed=seed, square=self.square)

        def picture(encoded, top, left, mirror):
            if not cut.augment:
                return self._tested(encoded)
            if self.square:
                return cut.crop(encoded, (top, left, mirror), mean=mean)
            rest = cut.image_size - 1
            return cut.view(
                encoded,
                lambda height, width: (top % (height - rest), left % (width - rest), mirror),
                pad=cut.pad,
            )

        steps = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        pictures = self._pictures(steps.map(batch), picture)
        return pictures.batch(
            batch_size // context.num_input_pipelines, drop_remainder=True
        ).prefetch(2)

    def evaluation(
        self, *, batch_size: int, context: tf.distribute.InputContext = ALL_ROWS
    ) -> tf.data.Dataset:
        """See `Examples.evaluation`."""
        places = in_order(len(self), batch_size, context)
        pictures = self._pictures(places, lambda encoded, real: (self._tested(encoded), real))
        batches = pictures.batch(padded_size(context, batch_size) // context.num_input_pipelines)
        return batches.map(lambda seen, labels: (seen[0], tf.where(seen[1], labels, -1))).prefetch(
            2
        )

    def _tested(self, encoded):
        return self.preprocessing.centre(self._stored(encoded)[None])[0]

    def _stored(self, encoded):
        """uint8 (resize, resize, 3), or of "modern" pictures that are not square what tests see."""
        if self.square:
            return self.preprocessing.store(decoded(encoded))
        return self.preprocessing.view(encoded)

    def _all(self, title: str) -> Iterator[tuple[int, np.ndarray]]:
        """(place of the first, uint8 (batch, ...)) of all, in order, as `_stored`."""
        places = in_order(len(self), _READ_AT_ONCE, ALL_ROWS)
        pictures = self._pictures(places, lambda encoded, _: self._stored(encoded))
        with tqdm.tqdm(total=len(self), desc=title, unit=" images", leave=False) as bar:
            for images, _ in pictures.batch(_READ_AT_ONCE).prefetch(2).as_numpy_iterator():
                yield bar.n, images
                bar.update(len(images))

    def _pictures(self, places: tf.data.Dataset, picture: Callable) -> tf.data.Dataset:
        """Of batches of places and more: (picture(encoded, what more there is), label) of each."""
        numbers, labels = tf.constant(self.numbers), tf.constant(self.labels)

        def fetch(index, *more):
            handles = self.records.fetch(tf.gather(numbers, index))
            return handles, tf.gather(labels, index), *more

        def decode(handle, label, *more):
            return picture(self.records.encoded(handle), *more), label

        examples = places.map(fetch, num_parallel_calls=2, deterministic=True).prefetch(2).unbatch()
        pictures = examples.map(decode, num_parallel_calls=os.cpu_count(), deterministic=True)
        return pictures.with_options(fixed_parallelism())
