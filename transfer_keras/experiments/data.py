"""The data of an experiment."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from transfer_keras.config import Experiment, UserError
from transfer_keras.datasets import AnyExamples, Division, Preprocessing, TaskPair
from transfer_keras.experiments.feature_store import FeatureStore
from transfer_keras.experiments.grouping import check_memory


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The tasks, and their examples: `train["A"]`, `test["B"]`, ...

    Attributes:
        pair: the tasks.
        train, test: name of a task -> its examples.
        held_back: the same of training examples by which early stopping decides; there may be none.
        features: what frozen units made of these examples so far.
    """

    pair: TaskPair
    train: Mapping[str, AnyExamples]
    test: Mapping[str, AnyExamples]
    held_back: Mapping[str, AnyExamples] = dataclasses.field(default_factory=dict)
    features: FeatureStore = dataclasses.field(default_factory=FeatureStore)


def open_tasks(experiment: Experiment, *, prepare: bool = True) -> TaskPair:
    """Opens the tasks of an experiment; no picture is read yet.

    Args:
        experiment: says of which dataset and split.
        prepare: see `TaskPair`.

    Raises:
        UserError: see `TaskPair`; or if the examples wanted of each class are less than a batch, or
            a network does not fit into the memory.
    """
    if prepare:
        check_memory(experiment)
    asked, batch = experiment.data, experiment.training.batch_size
    pair = TaskPair(
        asked.dataset,
        asked.data_dir,
        asked.split,
        bad_images=asked.bad_images,
        examples_per_class=asked.examples_per_class,
        prepare=prepare,
        division=division_of(experiment),
        leave_out=asked.leave_out,
    )
    if prepare:
        check_memory(experiment, max(map(len, pair.tasks.values())))
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


def division_of(experiment: Experiment) -> Division:
    """Says how the pictures of a folder are divided; the seed says which fold is validated on."""
    asked = experiment.data
    return Division(
        asked.validation_split,
        asked.validation_seed,
        asked.folds,
        experiment.training.seed % (asked.folds or 1),
        asked.group_by,
    )


def read_data(experiment: Experiment, *, in_memory: bool | None = None) -> TaskData:
    """Reads the data of an experiment.

    Args:
        experiment: says which.
        in_memory: see `TaskPair.read`.

    Raises:
        UserError: see `TaskPair`.
    """
    pair = open_tasks(experiment)
    preprocessing, training = image_preprocessing(experiment), experiment.training
    batch = training.batch_size
    train, test = pair.read(preprocessing, batch_size=batch, in_memory=in_memory)
    if (part := training.early_stopping_split) is None:
        return TaskData(pair, train, test)
    divided = {name: hold_back(examples, part) for name, examples in train.items()}
    train = {name: kept for name, (kept, _) in divided.items()}
    for name, (kept, back) in divided.items():
        if len(kept) < batch or not len(back):
            raise UserError(
                f"--early_stopping_split={part}: of task {name} {len(kept)} training images remain "
                f"and {len(back)} are held back. Expected a batch of {batch}, and one or more."
            )
    return TaskData(pair, train, test, {name: back for name, (_, back) in divided.items()})


def hold_back(
    examples: AnyExamples, part: float, *, most: int | None = None
) -> tuple[AnyExamples, AnyExamples]:
    """Divides examples at random, the same each time: each class alike, and none gives up all.

    Args:
        examples: to divide.
        part: of each class that is held back; one example at the least, where it has two.
        most: so many examples, or two of each class, are taken of all; None: all are.

    Returns:
        Those that are kept, and those that are held back, in their order.
    """
    order = np.random.default_rng(0).permutation(len(examples))
    by_class = [order[examples.labels[order] == label] for label in np.unique(examples.labels)]
    each = None if most is None else max(2, most // len(by_class))
    back, kept = [], []
    for places in by_class:
        places = places[:each]
        count = min(max(1, round(part * len(places))), len(places) - 1)
        back.append(places[:count])
        kept.append(places[count:])
    kept, back = (examples.part(np.sort(np.concatenate(places))) for places in (kept, back))
    return kept, back


def image_preprocessing(experiment: Experiment) -> Preprocessing:
    """Says how an experiment's pictures become what its networks take."""
    return Preprocessing(
        image_size=experiment.image_size,
        resize=experiment.resize,
        pad=experiment.architecture.pad,
        augment=experiment.data.augment,
        views=experiment.data.views,
        kind=experiment.data.preprocessing,
        upright=experiment.data.turns_pictures,
    )
