"""The data of an experiment."""

from collections.abc import Mapping
from typing import NamedTuple

from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair
from transfer_keras.settings import Experiment


class Data(NamedTuple):
    """The tasks, and their examples in memory: `train["A"]`, `test["B"]`, ..."""

    pair: TaskPair
    train: Mapping[str, Examples]
    test: Mapping[str, Examples]


def open_tasks(experiment: Experiment) -> TaskPair:
    """Its tasks; no picture is read yet.

    Raises:
        UserError: see `TaskPair`.
    """
    return TaskPair(
        experiment.dataset,
        experiment.data_dir,
        experiment.split,
        bad_images=experiment.bad_images,
    )


def read(experiment: Experiment) -> Data:
    """The data of an experiment.

    Raises:
        UserError: see `TaskPair`.
    """
    pair = open_tasks(experiment)
    preprocessing = Preprocessing(
        image_size=experiment.image_size,
        resize=experiment.resize,
        pad=experiment.architecture.pad,
        augment=experiment.augment,
    )
    return Data(pair, *pair.read(preprocessing, batch_size=experiment.batch_size))
