"""The folds of a search: each network is trained once a fold, and together tested on all pictures.

The seed of an experiment says which fold it is tested on (`experiments.division_of`), so the folds
of one seed of a search are as many experiments with seeds in a row.
"""

import dataclasses
import pathlib

import numpy as np

from transfer_keras.config import Experiment
from transfer_keras.experiments import FeatureStore, TaskData, read_data, workdir_in
from transfer_keras.results import Workdir


def fold_experiments(experiment: Experiment) -> list[Experiment]:
    """Lists what trains the folds of a seed of a search; without folds the experiment itself."""
    folds = experiment.data.folds
    if not folds:
        return [experiment]
    first = experiment.training.seed * folds
    return [experiment.replace(seed=first + fold) for fold in range(folds)]


def fold_workdirs(folder: pathlib.Path, experiment: Experiment) -> list[Workdir]:
    """Lists the workdirs of the folds of a seed, in order."""
    return [workdir_in(folder, each) for each in fold_experiments(experiment)]


def join_predictions(workdirs: list[Workdir], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Gives the truth and the answers of a network on all pictures, fold by fold."""
    label, predicted = zip(*(workdir.predictions(name) for workdir in workdirs), strict=True)
    return np.concatenate(label), np.concatenate(predicted)


class FoldData:
    """The data of each fold, read once. Features are kept of one fold at a time.

    Args:
        first: that of the first fold.
    """

    def __init__(self, first: TaskData):
        self._by_fold, self._last = {0: first}, 0

    def of(self, experiment: Experiment) -> TaskData:
        """Gives the data of an experiment of `fold_experiments`."""
        fold = experiment.training.seed % (experiment.data.folds or 1)
        if fold != self._last:
            last = self._by_fold[self._last]
            self._by_fold[self._last] = dataclasses.replace(last, features=FeatureStore())
            self._last = fold
        if fold not in self._by_fold:
            self._by_fold[fold] = read_data(experiment)
        return self._by_fold[fold]
