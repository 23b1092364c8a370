"""What is known of a donor and of one's pictures before any training."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from transfer_keras.advice.budget import SearchPlan
from transfer_keras.advice.cost import TrainingCost
from transfer_keras.advice.first_answer import measure_of
from transfer_keras.advice.folds import fold_experiments
from transfer_keras.advice.transferability import Score
from transfer_keras.config import Experiment, choices
from transfer_keras.experiments import TaskData, donor_notes, may_fit_head, read_data
from transfer_keras.results import BALANCED

_VIEWS = 4  # Of each picture, with augmentation, where nothing is said: then they repeat.
_UNEVEN = 2  # So many times the pictures of the smallest class are in the largest.


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A donor and pictures, before the first training.

    Attributes:
        experiment: with the settings that follow from the pictures.
        data: of the experiment.
        scores: of the donor's units, by estimates without training; see `estimate`.
        cost: of trainings of the experiment.
    """

    experiment: Experiment
    data: TaskData
    scores: Sequence[Score]
    cost: TrainingCost


def read_pictures(
    experiment: Experiment,
    earlier: SearchPlan | None,
    *,
    fixed: Sequence[str],
    log: Callable[[str], None],
) -> tuple[Experiment, TaskData]:
    """Reads the pictures, once for all trainings, and settles what follows from them.

    Args:
        experiment: with a donor.
        earlier: the plan of a search that goes on, whose settings are kept.
        fixed: names of settings that are not to be chosen.
        log: called with lines for the user.

    Returns:
        The experiment with what was settled, and its data.

    Raises:
        UserError: see `read_data`.
    """
    if experiment.data.augment and not {"augment", "views"} & {*fixed}:
        experiment = experiment.replace(views=earlier.views if earlier else _VIEWS)
    data = read_data(fold_experiments(experiment)[0])
    if "class_weights" not in fixed:
        uneven = choices.BALANCED if _is_uneven(data) else choices.UNWEIGHTED
        experiment = experiment.replace(class_weights=earlier.class_weights if earlier else uneven)
    if "fit_head" not in fixed:
        fits = earlier.fit_head if earlier else may_fit_head(experiment)
        experiment = experiment.replace(fit_head=fits)
    log(_describe(experiment, data))
    return experiment, data


def _describe(experiment: Experiment, data: TaskData) -> str:
    """Writes what there is to train on, and what becomes of the donor."""
    train, test = data.train["B"], data.test["B"]
    names = data.pair.tasks["B"].class_names
    counts = np.bincount(train.labels, minlength=len(names))
    few, many = counts.min(), counts.max()
    each = f"{few}" if few == many else f"{few} to {many}"
    uneven = ""
    if _is_uneven(data):
        uneven = " They are uneven: --class_weights=balanced lets all classes count the same."
        if measure_of(experiment) == BALANCED:
            uneven = " They are uneven: all count the same in training and in what is compared."
    folds = f", in each of {experiment.data.folds} folds" if experiment.data.folds else ""
    facts = (
        f"{len(train):,} pictures of {len(names)} classes to train on ({each} a class), "
        f"{len(test):,} to validate{folds}.{uneven}"
    )
    return "\n".join([facts, *donor_notes(experiment)])


def _is_uneven(data: TaskData) -> bool:
    counts = np.bincount(data.train["B"].labels)
    return counts.max() >= _UNEVEN * counts.min()
