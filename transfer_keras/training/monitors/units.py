"""What each unit of each network is doing, to TensorBoard."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from transfer_keras.training.monitors import filters
from transfer_keras.training.monitors.activations import Answers, answers
from transfer_keras.training.monitors.cka import linear_cka
from transfer_keras.training.monitors.events import Events, histogram, image, scalar
from transfer_keras.training.monitors.monitor import Monitor

# Tags are `<unit>/<metric>`.
METRICS = (
    "weight_norm",
    "gradient_norm",
    "update_ratio",
    "distance_from_transferred",
    "distance_from_initial",
    "activation_mean",
    "activation_std",
    "dead_fraction",
    "cka_donor",
    "cka_base",
)


class WatchedUnit(NamedTuple):
    """A unit of a network in training.

    Attributes:
        name: as `conv3`.
        kernels: its variables of rank 2 or more.
        answers: of its output, where they never change: those of the donor's unit if it is frozen;
            else its place among `Watch.tensors`.
        like: name of another network ("donor", "base") -> the answers of its unit at this place.
    """

    name: str
    kernels: Sequence[keras.Variable]
    answers: Answers | int
    like: Mapping[str, Answers]


class WatchedNetwork(NamedTuple):
    """A network in training: its units from the input up, how many lower ones came from a donor,
    and what is trained."""

    units: Sequence[WatchedUnit]
    transferred: int
    trainable: Sequence[keras.Variable]


class UnitMonitor(Monitor):
    """Writes, at every look, for each unit:

    - `weight_norm`: L2 norm of its kernels, the weights of rank 2 or more, as one vector; biases
      and the weights and statistics of normalisation are left out of this and what follows.
    - `gradient_norm`: L2 norm of the loss's gradient by them, before weight decay, at this step.
    - `update_ratio`: L2 norm of what this step added to them, over their norm before it.
    - `distance_from_initial`: L2 norm of their difference from what they were before the first
      step, over the norm of that; `distance_from_transferred`: the same for the units that came
      from a donor, which were what the donor gave.
    - `activation_mean`, `activation_std`, `dead_fraction`: see `activations.answers`.
    - `cka_donor`, `cka_base`: likeness of its output to that of the donor's unit at the same place
      and of the target base's; see `cka.linear_cka`.
    - `weights`: a histogram of its kernels.

    Frozen units have neither gradient nor update. The gradient norm over all that a network trains
    is `gradient_norm/training`; the first layer of networks for pictures is `<unit>/filters`.

    Args:
        runs: network's name -> its run.
        networks: the same names -> what is watched, before the first step: the weights are copied
            from it here.
        trainable: the variables that are trained, of all networks, in the order of
            `Look.gradients`.
    """

    def __init__(
        self,
        runs: Mapping[str, Events],
        networks: Mapping[str, WatchedNetwork],
        trainable: Sequence[keras.Variable],
    ):
        self._runs = runs
        self._networks = {name: networks[name] for name in runs}
        self._index = {id(variable): place for place, variable in enumerate(trainable)}
        self._initial = {}
        for network in self._networks.values():
            for kernel in itertools.chain(*(unit.kernels for unit in network.units)):
                self._initial.setdefault(id(kernel), kernel.numpy().copy())

    @np.errstate(all="ignore")  # A network that diverges shows it by values that are no numbers.
    def look(self, step, look):
        shared: dict[tuple, list] = {}  # Networks share frozen units: each is measured once.
        for name, run in self._runs.items():
            network = self._networks[name]
            summaries = []
            for number, unit in enumerate(network.units, 1):
                transferred = number <= network.transferred
                key = (unit.name, transferred, *map(id, unit.kernels))
                if key not in shared:
                    shared[key] = self._summaries(unit, transferred, number == 1, look)
                summaries += shared[key]
            if look.gradients is not None:
                norm = self._gradient_norm(network.trainable, look)
                summaries.append(scalar("gradient_norm/training", norm))
            run.write(step, *summaries)
            run.flush()

    def _summaries(self, unit: WatchedUnit, transferred: bool, first: bool, look) -> list:
        now = [kernel.numpy() for kernel in unit.kernels]
        metrics = {"weight_norm": _norm(now)}
        initial = [self._initial[id(kernel)] for kernel in unit.kernels]
        distance = _ratio(_norm(map(np.subtract, now, initial)), _norm(initial))
        metrics["distance_from_initial"] = distance
        if transferred:
            metrics["distance_from_transferred"] = distance
        trained = [self._index[id(k)] for k in unit.kernels if id(k) in self._index]
        if trained and look.gradients is not None:
            before = [look.before[place] for place in trained]
            moved = [w for k, w in zip(unit.kernels, now, strict=True) if id(k) in self._index]
            metrics["gradient_norm"] = self._gradient_norm(unit.kernels, look)
            metrics["update_ratio"] = _ratio(_norm(map(np.subtract, moved, before)), _norm(before))
        own = unit.answers
        if not isinstance(own, Answers):
            own = answers([batch[unit.answers] for batch in look.activations])
        metrics |= own.statistics
        for name, other in unit.like.items():
            metrics[f"cka_{name}"] = linear_cka(own.centred, other.centred)
        summaries = [scalar(f"{unit.name}/{name}", value) for name, value in metrics.items()]
        weights = np.concatenate([w.ravel() for w in now])
        summaries.append(histogram(f"{unit.name}/weights", weights))
        if first and filters.is_shown(now[0].shape):
            summaries.append(image(f"{unit.name}/filters", filters.grid(now[0])))
        return summaries

    def _gradient_norm(self, variables: Sequence[keras.Variable], look) -> float:
        places = [self._index[id(v)] for v in variables if id(v) in self._index]
        return float(np.linalg.norm(look.gradients[places].astype(np.float64)))


def _norm(arrays: Iterable[np.ndarray]) -> float:
    """L2 norm of all of them as one vector."""
    return math.hypot(*(float(np.linalg.norm(array.ravel())) for array in arrays))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
