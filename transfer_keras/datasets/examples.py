"""A task's pictures in memory, as endless shuffled batches or as one pass."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from transfer_keras.datasets.preprocessing import Pixels, Preprocessing
from transfer_keras.datasets.sharding import ALL_ROWS, padded_size, shard
from transfer_keras.datasets.sources import fixed_parallelism


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """The pictures of one task and split.

    Attributes:
        images: uint8 (examples, resize, resize, 3).
        labels: int32 (examples,), 0..classes-1.
        numbers: int64 (examples,), each picture's place in the dataset, its identity.
        preprocessing: how a batch is cut out of them.
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
        """Those whose label is in `classes`, relabelled by their place in it.

        Args:
            images, labels: a whole split, as `sources.read` gives it.
            classes: labels of the task, in the order of its new ones.
            preprocessing: see above.
            first: of each class so many at the most, those that come first; None: all.
        """
        numbers, relabelled = choose(labels, classes, first=first)
        return cls(images[numbers], relabelled, numbers, preprocessing)

    def shuffled(self) -> "Examples":
        """The same in a fixed order that mixes the classes, so that any part is a sample."""
        order = mixed(len(self))
        return dataclasses.replace(
            self, images=self.images[order], labels=self.labels[order], numbers=self.numbers[order]
        )

    def pixels(self) -> Pixels:
        """What is normal in all pictures: by channel, or of "paper" their mean image."""
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
        """Batches without end; each epoch a new order, the remainder left out.

        Batch number t is a function of (seed, t) alone, so a stream can begin at any step at
        once: the order of an epoch is a keyed permutation, evaluated where it is needed.

        Args:
            batch_size: at most the number of examples.
            seed: Python integer.
            start: number of the first batch.
            mean: a mean image; see `Preprocessing.training`.
            context: which rows of each batch are given; see `sharding`.

        Returns:
            Of (images, labels): uint8 (rows, image_size, image_size, 3), or float32 with a mean
            image; int32 (rows,).
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

    def evaluation(
        self, *, batch_size: int, context: tf.distribute.InputContext = ALL_ROWS
    ) -> tf.data.Dataset:
        """One pass in order, nothing left out, centre crops.

        Args:
            batch_size: of all but the last, before it is padded.
            context: which rows of each batch are given; those that pad it have the label -1.
        """
        images, labels = tf.constant(self.images), tf.constant(self.labels)

        def batch(index, real):
            pictures = self.preprocessing.centre(tf.gather(images, index))
            return pictures, tf.where(real, tf.gather(labels, index), -1)

        batches = in_order(len(self), batch_size, context).map(batch)
        return batches.prefetch(2).with_options(fixed_parallelism())


def choose(labels, classes, *, first: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The examples of a task.

    Args:
        labels: int32 (examples,), of a whole split.
        classes: labels of the task, in the order of its new ones.
        first: of each class so many at the most, those that come first; None: all.

    Returns:
        Their places in the split, ascending, and their new labels.
    """
    numbers = np.flatnonzero(np.isin(labels, classes))
    if first is not None:
        kept = [numbers[labels[numbers] == label][:first] for label in classes]
        numbers = np.sort(np.concatenate(kept))
    relabelled = np.full(max(labels.max(), max(classes)) + 1, -1, np.int32)
    relabelled[list(classes)] = np.arange(len(classes))
    return numbers, relabelled[labels[numbers]]


def mixed(count: int) -> np.ndarray:
    """A fixed random order."""
    return np.random.default_rng(0).permutation(count)


def in_order(count: int, batch_size: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Gives (places, int64; whether they are real, and do not only pad) of a process's rows of each
    batch of a pass."""
    size = padded_size(context, batch_size)
    mine = []
    for begin in range(0, count, size):
        places = np.arange(begin, begin + padded_size(context, min(size, count - begin)))
        mine.append(places[shard(context, len(places))])
    places = np.concatenate(mine)
    rows = tf.data.Dataset.from_tensor_slices((np.minimum(places, count - 1), places < count))
    return rows.batch(size // context.num_input_pipelines)


def shuffled_places(
    count: int, batch_size: int, seed: int, context: tf.distribute.InputContext = ALL_ROWS
) -> Callable:
    """The order of an endless stream of batches; each epoch another, its remainder left out.

    Args:
        count: of examples.
        batch_size: at most that.
        seed: Python integer.
        context: which rows of each batch are given; see `sharding`.

    Returns:
        Number of a batch -> (places of its examples, int64 (rows,); its epoch), in a graph:
        a keyed permutation, evaluated where it is needed.
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
    """uint8 (batch, height, width, 3) -> int64 (3, 256): how often each value is in a channel."""
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)])


def pixels(counts: np.ndarray, mean_image: np.ndarray | None) -> Pixels:
    """From `channel_counts`, and the mean image where that is wanted."""
    values = np.arange(256)
    means = [np.average(values, weights=channel) for channel in counts]
    variances = [
        np.average((values - mean) ** 2, weights=channel)
        for channel, mean in zip(counts, means, strict=True)
    ]
    mean = means if mean_image is None else mean_image
    return Pixels(np.asarray(mean), np.asarray(variances))
