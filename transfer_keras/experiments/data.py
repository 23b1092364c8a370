"""The data of an experiment."""

import dataclasses
import math
from collections.abc import Mapping

from transfer_keras.config import Experiment, UserError
from transfer_keras.datasets import AnyExamples, Preprocessing, TaskPair
from transfer_keras.experiments.feature_store import FeatureStore


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The tasks, and their examples: `train["A"]`, `test["B"]`, ...

    Attributes:
        pair: the tasks.
        train, test: name of a task -> its examples.
        features: what frozen units made of these examples so far.
    """

    pair: TaskPair
    train: Mapping[str, AnyExamples]
    test: Mapping[str, AnyExamples]
    features: FeatureStore = dataclasses.field(default_factory=FeatureStore)


def open_tasks(experiment: Experiment, *, prepare: bool = True) -> TaskPair:
    """Opens the tasks of an experiment; no picture is read yet.

    Args:
        experiment: says of which dataset and split.
        prepare: see `TaskPair`.

    Raises:
        UserError: see `TaskPair`; or if the examples wanted of each class are less than a batch.
    """
    asked, batch = experiment.data, experiment.training.batch_size
    pair = TaskPair(
        asked.dataset,
        asked.data_dir,
        asked.split,
        bad_images=asked.bad_images,
        examples_per_class=asked.examples_per_class,
        prepare=prepare,
        validation_split=asked.validation_split,
        validation_seed=asked.validation_seed,
    )
    for task in pair.tasks.values():
        images = len(task) * (asked.examples_per_class or math.inf)
        if images < batch:
            raise UserError(
                f"--examples_per_class={asked.examples_per_class}: task {task.name} of "
                f"{asked.dataset}, split {asked.split}, has {len(task)} classes, so "
                f"{images} training images, less than a batch of {batch}. Give "
                "more, or a smaller --batch_size."
            )
    return pair


def read_data(experiment: Experiment, *, in_memory: bool | None = None) -> TaskData:
    """Reads the data of an experiment.

    Args:
        experiment: says which.
        in_memory: see `TaskPair.read`.

    Raises:
        UserError: see `TaskPair`.
    """
    pair = open_tasks(experiment)
    preprocessing, batch = image_preprocessing(experiment), experiment.training.batch_size
    return TaskData(pair, *pair.read(preprocessing, batch_size=batch, in_memory=in_memory))


def image_preprocessing(experiment: Experiment) -> Preprocessing:
    """Says how an experiment's pictures become what its networks take."""
    return Preprocessing(
        image_size=experiment.image_size,
        resize=experiment.resize,
        pad=experiment.architecture.pad,
        augment=experiment.data.augment,
        views=experiment.data.views,
        kind=experiment.data.preprocessing,
    )
