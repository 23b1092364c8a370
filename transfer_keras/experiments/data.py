"""The data of an experiment."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from transfer_keras.config import Experiment, UserError
from transfer_keras.datasets import AnyExamples, Preprocessing, TaskPair


class Data(NamedTuple):
    """The tasks, and their examples: `train["A"]`, `test["B"]`, ..."""

    pair: TaskPair
    train: Mapping[str, AnyExamples]
    test: Mapping[str, AnyExamples]


def open_tasks(experiment: Experiment, *, prepare: bool = True) -> TaskPair:
    """Its tasks; no picture is read yet.

    Args:
        experiment: whose.
        prepare: see `TaskPair`.

    Raises:
        UserError: see `TaskPair`; or if the examples wanted of each class are less than a batch.
    """
    pair = TaskPair(
        experiment.dataset,
        experiment.data_dir,
        experiment.split,
        bad_images=experiment.bad_images,
        examples_per_class=experiment.examples_per_class,
        prepare=prepare,
        validation_split=experiment.validation_split,
        validation_seed=experiment.validation_seed,
    )
    for task in pair.tasks.values():
        images = len(task) * (experiment.examples_per_class or math.inf)
        if images < experiment.batch_size:
            raise UserError(
                f"--examples_per_class={experiment.examples_per_class}: task {task.name} of "
                f"{experiment.dataset}, split {experiment.split}, has {len(task)} classes, so "
                f"{images} training images, less than a batch of {experiment.batch_size}. Give "
                "more, or a smaller --batch_size."
            )
    return pair


def read_data(experiment: Experiment, *, in_memory: bool | None = None) -> Data:
    """The data of an experiment.

    Args:
        experiment: whose.
        in_memory: see `TaskPair.read`.

    Raises:
        UserError: see `TaskPair`.
    """
    pair = open_tasks(experiment)
    how = image_preprocessing(experiment)
    examples = pair.read(how, batch_size=experiment.batch_size, in_memory=in_memory)
    return Data(pair, *examples)


def image_preprocessing(experiment: Experiment) -> Preprocessing:
    """How its pictures become what its networks take."""
    return Preprocessing(
        image_size=experiment.image_size,
        resize=experiment.resize,
        pad=experiment.architecture.pad,
        augment=experiment.augment,
        kind=experiment.preprocessing,
    )
