"""Computes what the frozen units of a group make of each picture once, and keeps it."""

import functools
import hashlib
import inspect
import itertools
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import Experiment, Group, Interrupted, UserError, choices, memory
from transfer_keras.datasets import FeatureExamples
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.feature_store import FeatureSpec
from transfer_keras.training import Progress, as_input, fused_batch_norm

_SHARE = 1 / 4  # Of the memory, which features may take where nothing is said.
_WORTH = 2  # So many times as often would the frozen units have to see the pictures.
_SPARE = 2  # So many times the size of the files must be free on the disk.
# A file with more bytes a picture than so many times the picture's own is read no faster than its
# features are computed.
_LARGE = 4


class Kept(NamedTuple):
    """What a group is trained from in place of pictures.

    Attributes:
        tensors: of the fused model, whose values are kept.
        train, test: the values, in the order of the pictures.
        held_back: those of training examples by which early stopping decides; None: there are none.
        with_pictures: whether some networks need the pictures besides.
    """

    tensors: list[keras.KerasTensor]
    train: FeatureExamples
    test: FeatureExamples
    held_back: FeatureExamples | None
    with_pictures: bool


def keep_features(run: Run, group: Group, fused: keras.Model) -> Kept | None:
    """Computes the features of a group, where they are kept.

    Args:
        run: of this process.
        group: whose networks they are.
        fused: the networks of the group.

    Raises:
        Interrupted: if a stop was requested.
        UserError: if features are to be kept always, and cannot be.
    """
    execution = run.experiment.execution
    if execution.keep_features == choices.NEVER:
        return None

    # What is kept.
    # The frozen part can end in several tensors: one for each depth at which a group is frozen.
    boundary = surgery.frozen_boundary(fused)
    tensors = [tensor for tensor in boundary if _has_kernel(fused, tensor)]
    if not tensors or not _is_worth_it(run, group.target):
        return None

    # Where it is kept.
    splits = ["train", "test", *(["held_back"] if run.data.held_back else [])]
    specs = {split: _specs(run, group, fused, tensors, split) for split in splits}
    everything = list(itertools.chain.from_iterable(specs.values()))
    size, folder = sum(spec.bytes for spec in everything), None
    if not run.data.features.make_room(everything, features_limit(run.experiment)):
        folder = run.workdir.features_folder(group.names)
        if why := _why_not_on_disk(run, specs["train"], size):
            if execution.keep_features == choices.ALWAYS:
                raise UserError(f"--keep_features={choices.ALWAYS}: {why}.")
            run.log(f"{group}: features of what is frozen are not kept: {why}.")
            return None
    run.log(
        f"{group}: what is frozen sees each picture once, and its features are kept: "
        f"{size / 2**20:,.0f} MiB in {folder or 'memory'}."
    )
    frozen = _FrozenPart(fused, tensors)
    kept = {
        split: FeatureExamples(
            _features(run, group, frozen, specs[split], split, folder),
            getattr(run.data, split)[group.target].labels,
        )
        for split in splits
    }
    with_pictures = len(tensors) < len(boundary)
    return Kept(tensors, kept["train"], kept["test"], kept.get("held_back"), with_pictures)


def _has_kernel(fused: keras.Model, tensor: keras.KerasTensor) -> bool:
    """Tells whether a tensor is more than the pictures in another form."""
    if tensor is fused.input:
        return False
    below = keras.Model(fused.input, tensor)
    return any(surgery.has_kernel(layer) for layer in below.layers)


def _is_worth_it(run: Run, target: str) -> bool:
    """Tells whether pictures are seen again, and by `auto` whether often enough."""
    is_auto = run.experiment.execution.keep_features == choices.AUTO
    if run.devices.workers > 1:
        if not is_auto:
            raise UserError(
                f"--keep_features={choices.ALWAYS}: is for one machine, and there are "
                f"{run.devices.workers}. Leave it out."
            )
        return False
    if not _repeats_pictures(run.experiment):
        return False
    train, test = len(run.data.train[target]), len(run.data.test[target])
    return not is_auto or pictures_seen(run.experiment, train, test).saved


class PicturesSeen(NamedTuple):
    """How many pictures go through the frozen part of a group, a repeated one each time.

    Attributes:
        each_time: if nothing is kept.
        once: if features are kept; None: they cannot be, because no two crops are the same.
    """

    each_time: int
    once: int | None

    @property
    def saved(self) -> bool:
        """Tells whether keeping saves enough by itself."""
        return self.once is not None and self.each_time >= _WORTH * self.once


def pictures_seen(experiment: Experiment, train: int, test: int) -> PicturesSeen:
    """Counts the pictures that go through the frozen part of a group.

    Args:
        experiment: what the group belongs to.
        train, test: numbers of pictures of the target.
    """
    training = experiment.training
    tests = math.ceil(training.steps / training.validate_every)
    each_time = training.steps * training.batch_size + tests * test
    if not _repeats_pictures(experiment):
        return PicturesSeen(each_time, None)
    return PicturesSeen(each_time, _views(experiment, "train") * train + test)


def may_keep_features(experiment: Experiment) -> bool:
    """Tells whether features of what is frozen are kept, if that saves enough."""
    return (
        experiment.execution.keep_features != choices.NEVER
        and _repeats_pictures(experiment)
        and any(treatment.frozen_units for treatment in experiment.all_treatments)
    )


def _repeats_pictures(experiment: Experiment) -> bool:
    """Tells whether a training sees the same crop of a picture again."""
    return bool(experiment.data.views) or not experiment.data.augment


def _views(experiment: Experiment, split: str) -> int:
    return experiment.data.views if split == "train" and experiment.data.augment else 1


def features_limit(experiment: Experiment) -> float:
    """Gives the bytes that kept features may take in memory."""
    given = experiment.execution.features_memory
    return memory.process_memory() * _SHARE if given is None else given * 2**30


def _why_not_on_disk(run: Run, specs: Sequence[FeatureSpec], size: int) -> str | None:
    """Says why features cannot, or by `auto` should not, be kept in files; None where they can."""
    limit = features_limit(run.experiment) / 2**30
    beyond = f"{size / 2**30:.1f} GiB are more than --features_memory={limit:.1f}"
    free = shutil.disk_usage(run.workdir.path).free
    if free < _SPARE * size:
        return f"{beyond}, and {run.workdir} has {free / 2**30:.1f} GiB free"
    picture = 3 * run.experiment.image_size**2
    each = sum(spec.bytes for spec in specs) / math.prod(specs[0].shape[:2])
    if run.experiment.execution.keep_features == choices.AUTO and each > _LARGE * picture:
        return f"{beyond}, and from a file they are read no faster than they are computed"
    return None


def _specs(
    run: Run, group: Group, fused: keras.Model, tensors: Sequence[keras.KerasTensor], split: str
) -> list[FeatureSpec]:
    """Describes the features of a split; a key depends on all that its values depend on, but the
    pictures themselves."""
    examples = getattr(run.data, split)[group.target]
    training, views = run.experiment.training, _views(run.experiment, split)
    facts = [split, group.target, examples.preprocessing, run.source.test_batch]
    facts += [training.precision, tf.__version__, views]
    if split == "train":
        mean = run.source.mean_image(group.treatments)
        seed = training.seed if run.experiment.data.augment else None
        facts += [seed, None if mean is None else hashlib.sha256(mean).hexdigest()]
    specs = []
    for tensor in tensors:
        function = surgery.digest_function(keras.Model(fused.input, tensor))
        key = hashlib.sha256(repr([*facts, function]).encode()).hexdigest()[:32]
        shape = (views, len(examples), *tensor.shape[1:])
        specs.append(FeatureSpec(key, shape, keras.backend.standardize_dtype(tensor.dtype)))
    return specs


class _FrozenPart:
    """Computes the frozen part of a group's networks, traced once where that suffices."""

    def __init__(self, fused: keras.Model, tensors: Sequence[keras.KerasTensor]):
        self._fused, self._tensors, self._functions = fused, tensors, {}

    def function(self, places: Sequence[int], *, training: bool) -> Callable:
        """Gives what computes some of the tensors, as a list, from a batch of images.

        Args:
            places: of the tensors.
            training: whether layers are called as in training.
        """
        key = tuple(places), training and self._has_modes
        if key not in self._functions:
            model = keras.Model(self._fused.input, [self._tensors[place] for place in places])

            @tf.function(autograph=False)
            def compute(images):
                with fused_batch_norm():
                    return tf.nest.flatten(model(as_input(images), training=training))

            self._functions[key] = compute
        return self._functions[key]

    @functools.cached_property
    def _has_modes(self) -> bool:
        """Tells whether some layer may compute other values in training than in inference.

        Models only pass the argument on, and frozen, Keras's BatchNormalization does not heed it;
        what is random is no part of this.
        """
        model = keras.Model(self._fused.input, list(self._tensors))
        alike = (type(model), keras.Sequential, keras.layers.BatchNormalization)
        return any(
            "training" in inspect.signature(layer.call).parameters
            for layer in surgery.flat_layers(model)
            if type(layer) not in alike
        )


def _features(
    run: Run,
    group: Group,
    frozen: _FrozenPart,
    specs: Sequence[FeatureSpec],
    split: str,
    folder: pathlib.Path | None,
) -> list[np.ndarray]:
    """Gives the features of a split; computes those that are not there yet."""
    store, examples = run.data.features, getattr(run.data, split)[group.target]
    if folder is not None:  # Of these very pictures.
        folder = folder / examples.digest[:16]
    found = [store.find(spec, folder) for spec in specs]
    missing = [place for place, array in enumerate(found) if array is None]
    if missing:
        computed = store.fill(
            [specs[place] for place in missing],
            _computing(run, group, frozen.function(missing, training=split == "train"), split),
            folder,
        )
        for place, array in zip(missing, computed, strict=True):
            found[place] = array
    return found


def _computing(
    run: Run, group: Group, compute: Callable, split: str
) -> Callable[[int], Iterator[tuple[int, slice, list[np.ndarray]]]]:
    """Makes what `FeatureStore.fill` takes: the pictures of a split through the frozen part.

    All batches have one size, so that the same kernels compute each picture in any of them.
    """
    examples, views = getattr(run.data, split)[group.target], _views(run.experiment, split)
    size = min(run.source.test_batch, len(examples))
    per_view = math.ceil(len(examples) / size)

    def pictures(view: int) -> tf.data.Dataset:
        if split != "train":
            return examples.evaluation(batch_size=size)
        mean, seed = run.source.mean_image(group.treatments), run.experiment.training.seed
        return examples.view(view, batch_size=size, seed=seed, mean=mean)

    def batches(done: int) -> Iterator[tuple[int, slice, list[np.ndarray]]]:
        title = f"{group}: features of what is frozen, {split}"
        with Progress(title, views * per_view) as bar:
            for view in range(done // per_view, views):
                first = max(0, done - view * per_view)
                for number, (images, _) in enumerate(pictures(view).skip(first), first):
                    count = len(images)
                    padded = tf.concat([images, tf.repeat(images[:1], size - count, 0)], 0)
                    values = compute(padded)
                    rows = slice(number * size, number * size + count)
                    yield view, rows, [value.numpy()[:count] for value in values]
                    bar.advance(view * per_view + number + 1)
                    if run.stop.requested:
                        raise Interrupted(title)

    return batches
