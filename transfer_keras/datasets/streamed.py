"""A task's pictures on disk, as endless shuffled batches or as one pass, decoded on the way."""

import dataclasses
import functools
import hashlib
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
from transfer_keras.datasets.preprocessing import Pixels, Preprocessing
from transfer_keras.datasets.records import Records
from transfer_keras.datasets.sharding import ALL_ROWS, padded_size
from transfer_keras.datasets.sources import fixed_parallelism

# Size of the batches in which all pictures are read.
_READ_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, eq=False)
class StreamedExamples:
    """The pictures of one task and split, which stay on disk.

    The streams equal those of `Examples` of the same pictures, value for value.

    Attributes:
        records: the split on disk that the pictures are read from.
        labels: int32 (examples,), 0..classes-1.
        numbers: int64 (examples,), each picture's place in `records`, which is its identity.
        preprocessing: how a picture becomes the square that a network takes.
        square: True: whole pictures are resized to squares, as those of `Examples` are; False:
            crops are cut out of pictures of any shape.
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
        """Selects the examples of a task and gives them the task's labels.

        Args:
            records: a whole split on disk.
            classes: the dataset's labels of the task's classes; the new label of a class is its
                place in this sequence.
            preprocessing: how a picture becomes the square that a network takes.
            first: selects at most so many examples of each class, the first ones; None: all.
            square: whether whole pictures are resized to squares.
        """
        numbers, labels = choose(records.labels, classes, first=first)
        return cls(records, labels, numbers, preprocessing, square)

    def shuffled(self) -> "StreamedExamples":
        """Gives the same examples in a fixed random order, so that any part is a sample of all."""
        return self.part(mixed(len(self)))

    def part(self, which: slice | np.ndarray) -> "StreamedExamples":
        """Selects the examples at some places: those of a slice, or int (places,)."""
        return dataclasses.replace(self, labels=self.labels[which], numbers=self.numbers[which])

    def without_faults(self, title: str) -> "StreamedExamples":
        """Decodes all pictures, and leaves out those that cannot be.

        Args:
            title: of the progress bar.
        """
        faults = self.records.find_faults(self.numbers.tolist(), title)
        return self.part(np.flatnonzero(~np.isin(self.numbers, list(faults))))

    @functools.cached_property
    def digest(self) -> str:
        """Gives a digest of the pictures' files and of how they become what a network takes."""
        total = hashlib.sha256(repr((self.square, self.preprocessing)).encode())
        total.update(np.ascontiguousarray(self.numbers))

        def encoded(place):
            (handle,) = tf.unstack(self.records.fetch(place[None]), num=1)
            return self.records.encoded(handle)

        places = tf.data.Dataset.from_tensor_slices(self.numbers)
        files = places.map(encoded, num_parallel_calls=2, deterministic=True)
        for file in files.with_options(fixed_parallelism()).as_numpy_iterator():
            total.update(hashlib.sha256(file).digest())
        return total.hexdigest()

    def in_memory(self, title: str) -> Examples:
        """Reads and decodes all pictures, and holds them in memory.

        Args:
            title: of the progress bar.
        """
        images = np.empty((len(self), *self.preprocessing.stored_shape), np.uint8)
        for place, batch in self._all(title):
            images[place : place + len(batch)] = batch
        return Examples(images, self.labels, self.numbers, self.preprocessing)

    def pixels(self) -> Pixels:
        """Computes the mean and the variance of the pixels, in one pass over all pictures.

        With the preprocessing "paper" the mean is a mean image, else one number a channel.
        """
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
        """Gives batches without end; each epoch has a new order, and its remainder is left out.

        A stream can begin at any step at once.

        Args:
            batch_size: at most the number of examples.
            seed: Python integer.
            start: number of the first batch.
            mean: float32 (resize, resize, 3), a mean image; see `Preprocessing.training`.
            context: decides which rows of each batch this process reads; see `sharding`.

        Returns:
            A dataset of (images, labels), equal to that of `Examples.training`.
        """
        places = shuffled_places(len(self), batch_size, seed, context)
        numbers = tf.constant(self.numbers)

        def batch(step):
            index, epoch = places(step)
            these = tf.gather(numbers, index)
            return index, *self.preprocessing.windows(these, epoch, seed=seed, square=self.square)

        steps = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        pictures = self._pictures(steps.map(batch), self._crop(mean))
        return pictures.batch(
            batch_size // context.num_input_pipelines, drop_remainder=True
        ).prefetch(2)

    def evaluation(
        self, *, batch_size: int, context: tf.distribute.InputContext = ALL_ROWS
    ) -> tf.data.Dataset:
        """Gives the centre crops of all examples, in order, in one pass.

        Args:
            batch_size: of every batch but the last, before it is padded.
            context: decides which rows of each batch this process reads; see `sharding`.

        Returns:
            A dataset of (images, labels), equal to that of `Examples.evaluation`.
        """
        places = in_order(len(self), batch_size, context)
        pictures = self._pictures(places, lambda encoded, real: (self._centre(encoded), real))
        batches = pictures.batch(padded_size(context, batch_size) // context.num_input_pipelines)

        def mark_padding(row, labels):
            images, real = row
            return images, tf.where(real, labels, -1)

        return batches.map(mark_padding).prefetch(2)

    def view(
        self, number: int, *, batch_size: int, seed: int, mean: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """Gives the crops of all examples in one epoch of `training`, in order, in one pass.

        Args:
            number: of the epoch.
            batch_size: of every batch but the last.
            seed, mean: see `training`.

        Returns:
            A dataset of (images, labels), equal to that of `Examples.view`.
        """
        numbers = tf.constant(self.numbers)
        epoch = tf.constant(number, tf.int64)

        def windows(index, _):
            these = tf.gather(numbers, index)
            return index, *self.preprocessing.windows(these, epoch, seed=seed, square=self.square)

        places = in_order(len(self), batch_size, ALL_ROWS).map(windows)
        return self._pictures(places, self._crop(mean)).batch(batch_size).prefetch(2)

    def _crop(self, mean: np.ndarray | None) -> Callable:
        """Makes (encoded, top, left, mirror) -> the crop of training of one picture."""
        cut = self.preprocessing

        def picture(encoded, top, left, mirror):
            if not cut.augment:
                return self._centre(encoded)
            if self.square:
                return cut.crop(encoded, (top, left, mirror), mean=mean)
            # The shape is known only now; see `random_window` for the remainder.
            rest = cut.image_size - 1
            return cut.view(
                encoded,
                lambda height, width: (top % (height - rest), left % (width - rest), mirror),
                pad=cut.pad,
            )

        return picture

    def _centre(self, encoded):
        """Decodes the centre crop of a picture, uint8 (image_size, image_size, 3)."""
        return self.preprocessing.centre(self._stored(encoded)[None])[0]

    def _stored(self, encoded):
        """Decodes a picture as it is held in memory or measured.

        It is a square, uint8 (resize, resize, 3); or the centre crop, uint8 (image_size,
        image_size, 3), if whole pictures are not resized to squares.
        """
        if self.square:
            return self.preprocessing.store(self.preprocessing.decode(encoded))
        return self.preprocessing.view(encoded)

    def _all(self, title: str) -> Iterator[tuple[int, np.ndarray]]:
        """Reads all pictures in order, and gives (place of the first, uint8 (batch, ...))."""
        places = in_order(len(self), _READ_AT_ONCE, ALL_ROWS)
        pictures = self._pictures(places, lambda encoded, _: self._stored(encoded))
        with tqdm.tqdm(total=len(self), desc=title, unit=" images", leave=False) as bar:
            done = 0  # The bar's own count stands still with TQDM_DISABLE.
            for images, _ in pictures.batch(_READ_AT_ONCE).prefetch(2).as_numpy_iterator():
                yield done, images
                done += len(images)
                bar.update(len(images))

    def _pictures(self, places: tf.data.Dataset, picture: Callable) -> tf.data.Dataset:
        """Reads and decodes the examples of batches of places, one by one.

        Args:
            places: dataset of (places, ...): int64 (batch,), and tensors of as many rows.
            picture: function from (encoded, ...), of one example, to its picture.

        Returns:
            A dataset of (picture, label), one example each.
        """
        numbers, labels = tf.constant(self.numbers), tf.constant(self.labels)

        def fetch(index, *more):
            handles = self.records.fetch(tf.gather(numbers, index))
            return handles, tf.gather(labels, index), *more

        def decode(handle, label, *more):
            return picture(self.records.encoded(handle), *more), label

        examples = places.map(fetch, num_parallel_calls=2, deterministic=True).prefetch(2).unbatch()
        pictures = examples.map(decode, num_parallel_calls=os.cpu_count(), deterministic=True)
        return pictures.with_options(fixed_parallelism())
