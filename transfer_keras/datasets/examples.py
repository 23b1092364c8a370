"""A task's pictures in memory, as endless shuffled batches or as one pass."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from transfer_keras.datasets.preprocessing import Pixels, Preprocessing
from transfer_keras.datasets.sharding import ALL_ROWS, padded_size, shard
from transfer_keras.datasets.sources import fixed_parallelism


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """The pictures of one task and split, in memory.

    Attributes:
        images: uint8 (examples, resize, resize, 3).
        labels: int32 (examples,), 0..classes-1.
        numbers: int64 (examples,), each picture's place in the dataset, which is its identity.
        preprocessing: how the crops of a batch are cut out of the pictures.
    """

    images: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray
    preprocessing: Preprocessing

    def __len__(self):
        return len(self.labels)

    @classmethod
    def of_classes(
        cls, images, labels, classes, preprocessing, *, first: int | None = None
    ) -> "Examples":
        """Selects the examples of a task and gives them the task's labels.

        Args:
            images, labels: a whole split, as `sources.read` gives it.
            classes: the dataset's labels of the task's classes; the new label of a class is its
                place in this sequence.
            preprocessing: how the crops of a batch are cut out of the pictures.
            first: selects at most so many examples of each class, the first ones; None: all.
        """
        numbers, relabelled = choose(labels, classes, first=first)
        return cls(images[numbers], relabelled, numbers, preprocessing)

    def shuffled(self) -> "Examples":
        """Gives the same examples in a fixed random order, so that any part is a sample of all."""
        return self.part(mixed(len(self)))

    def part(self, which: slice | np.ndarray) -> "Examples":
        """Selects the examples at some places: those of a slice, or int (places,)."""
        return dataclasses.replace(
            self,
            images=self.images[which],
            labels=self.labels[which],
            numbers=self.numbers[which],
        )

    @functools.cached_property
    def digest(self) -> str:
        """Gives a digest of the pictures and of how they become what a network takes."""
        total = hashlib.sha256(repr((self.images.shape, self.preprocessing)).encode())
        for array in (self.images, self.numbers):
            total.update(np.ascontiguousarray(array))
        return total.hexdigest()

    def pixels(self) -> Pixels:
        """Computes the mean and the variance of the pixels over all pictures.

        With the preprocessing "paper" the mean is a mean image, else one number a channel.
        """
        mean = self.images.mean(axis=0) if self.preprocessing.kind == "paper" else None
        return pixels(channel_counts(self.images), mean)

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

        Batch number t is a function of (seed, t) alone: the order of an epoch is a keyed
        permutation, which is evaluated for the places of one batch. So a stream can begin at any
        step at once.

        Args:
            batch_size: at most the number of examples.
            seed: Python integer.
            start: number of the first batch.
            mean: float32 (resize, resize, 3), a mean image; see `Preprocessing.training`.
            context: decides which rows of each batch this process reads; see `sharding`.

        Returns:
            A dataset of (images, labels): uint8 (rows, image_size, image_size, 3), or float32 with
            a mean image; int32 (rows,).
        """
        places = shuffled_places(len(self), batch_size, seed, context)
        images, labels = tf.constant(self.images), tf.constant(self.labels)
        numbers = tf.constant(self.numbers)
        cut = self.preprocessing

        def batch(step):
            index, epoch = places(step)
            pictures = tf.gather(images, index)
            pictures = cut.training(
                pictures, tf.gather(numbers, index), epoch, seed=seed, mean=mean
            )
            return pictures, tf.gather(labels, index)

        steps = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        batches = steps.map(batch, num_parallel_calls=2, deterministic=True)
        return batches.prefetch(4).with_options(fixed_parallelism())

    def view(
        self, number: int, *, batch_size: int, seed: int, mean: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """Gives the crops of all examples in one epoch of `training`, in order, in one pass.

        Args:
            number: of the epoch.
            batch_size: of every batch but the last.
            seed, mean: see `training`.

        Returns:
            A dataset of (images, labels), as those of `training`.
        """
        images, labels = tf.constant(self.images), tf.constant(self.labels)
        numbers = tf.constant(self.numbers)

        def batch(index, _):
            pictures = self.preprocessing.training(
                tf.gather(images, index), tf.gather(numbers, index), number, seed=seed, mean=mean
            )
            return pictures, tf.gather(labels, index)

        batches = in_order(len(self), batch_size, ALL_ROWS).map(batch)
        return batches.prefetch(2).with_options(fixed_parallelism())

    def evaluation(
        self, *, batch_size: int, context: tf.distribute.InputContext = ALL_ROWS
    ) -> tf.data.Dataset:
        """Gives the centre crops of all examples, in order, in one pass.

        Args:
            batch_size: of every batch but the last, before it is padded.
            context: decides which rows of each batch this process reads; see `sharding`.

        Returns:
            A dataset of (images, labels): uint8 (rows, image_size, image_size, 3); int32 (rows,),
            -1 for rows that only pad the batch.
        """
        images, labels = tf.constant(self.images), tf.constant(self.labels)

        def batch(index, real):
            pictures = self.preprocessing.centre(tf.gather(images, index))
            return pictures, tf.where(real, tf.gather(labels, index), -1)

        batches = in_order(len(self), batch_size, context).map(batch)
        return batches.prefetch(2).with_options(fixed_parallelism())


def choose(labels, classes, *, first: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Finds the examples of a task in a split.

    Args:
        labels: int32 (examples,), the dataset's labels of the whole split.
        classes: the dataset's labels of the task's classes; the new label of a class is its place
            in this sequence.
        first: finds at most so many examples of each class, the first ones; None: all.

    Returns:
        The examples' places in the split, int64, ascending, and their new labels, int32.
    """
    numbers = np.flatnonzero(np.isin(labels, classes))
    if first is not None:
        by_class = [numbers[labels[numbers] == label][:first] for label in classes]
        numbers = np.sort(np.concatenate(by_class))
    relabelled = np.full(max(labels.max(), max(classes)) + 1, -1, np.int32)
    relabelled[list(classes)] = np.arange(len(classes))
    return numbers, relabelled[labels[numbers]]


def mixed(count: int) -> np.ndarray:
    """Gives a fixed random order of `count` examples, int64 (count,)."""
    return np.random.default_rng(0).permutation(count)


def in_order(count: int, batch_size: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Gives the places of the examples of one pass, in order, in batches.

    Args:
        count: number of examples.
        batch_size: of every batch but the last, before it is padded.
        context: decides which rows of each batch this process reads; see `sharding`.

    Returns:
        A dataset of (places, real): int64 (rows,), and bool (rows,), False for rows that only pad
        the batch. Rows that pad hold the place of the last example.
    """
    size = padded_size(context, batch_size)
    shards = []
    for begin in range(0, count, size):
        places = np.arange(begin, begin + padded_size(context, min(size, count - begin)))
        shards.append(places[shard(context, len(places))])
    places = np.concatenate(shards)
    rows = tf.data.Dataset.from_tensor_slices((np.minimum(places, count - 1), places < count))
    return rows.batch(size // context.num_input_pipelines)


def shuffled_places(
    count: int, batch_size: int, seed: int, context: tf.distribute.InputContext = ALL_ROWS
) -> Callable:
    """Orders the examples of an endless stream of batches, each epoch anew.

    The remainder of an epoch, fewer examples than a batch, is left out.

    Args:
        count: number of examples.
        batch_size: at most the number of examples.
        seed: Python integer.
        context: decides which rows of each batch this process reads; see `sharding`.

    Returns:
        A function from the number of a batch, int64, to (the places of its examples, int64
        (rows,); its epoch, int64), to be called in a graph. The order of an epoch is a keyed
        permutation, which is evaluated for these places alone.

    Raises:
        ValueError: if there are fewer examples than a batch has.
    """
    per_epoch = count // batch_size
    if not per_epoch:
        raise ValueError(
            f"batch_size must be at most the number of examples. Received: "
            f"batch_size={batch_size}, examples={count}"
        )

    rows = shard(context, batch_size)

    def places(step):
        epoch, place = step // per_epoch, step % per_epoch
        index = tf.random.experimental.index_shuffle(
            place * batch_size + tf.range(rows.start, rows.stop, dtype=tf.int64),
            seed=tf.stack([seed, epoch]),
            max_index=tf.constant(count - 1, tf.int64),
        )
        return index, epoch

    return places


def channel_counts(images: np.ndarray) -> np.ndarray:
    """Counts how often each value occurs in each channel.

    Args:
        images: uint8 (batch, height, width, 3).

    Returns:
        int64 (3, 256).
    """
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])


def pixels(counts: np.ndarray, mean_image: np.ndarray | None) -> Pixels:
    """Computes the mean and the variance of pixels.

    Args:
        counts: int64 (3, 256), how often each value occurs in each channel.
        mean_image: (resize, resize, 3), to be given as the mean; None: the mean of each channel.
    """
    values = np.arange(256)
    means = [np.average(values, weights=channel) for channel in counts]
    variances = [
        np.average((values - mean) ** 2, weights=channel)
        for channel, mean in zip(counts, means, strict=True)
    ]
    mean = means if mean_image is None else mean_image
    return Pixels(np.asarray(mean), np.asarray(variances))
