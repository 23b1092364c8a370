"""Metrics of each unit of each network, in TensorBoard."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from transfer_keras.training.monitors.activations import UnitActivations, combine_summaries
from transfer_keras.training.monitors.cka import linear_cka
from transfer_keras.training.monitors.events import (
    Events,
    histogram_summary,
    image_summary,
    scalar_summary,
)
from transfer_keras.training.monitors.filters import draw_filters, is_image_kernel
from transfer_keras.training.unit_metrics import UnitMeasurement

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


class MeasuredUnit(NamedTuple):
    """A unit of a network in training.

    Attributes:
        name: as `conv3`.
        kernels: its variables of rank 2 or more.
        activations: those of the donor's unit if it is frozen, as they never change; else its
            place among `UnitMetrics.tensors`.
        compared_to: name of another network ("donor", "base") -> the activations of that
            network's unit at the same place.
    """

    name: str
    kernels: Sequence[keras.Variable]
    activations: UnitActivations | int
    compared_to: Mapping[str, UnitActivations]


class MeasuredNetwork(NamedTuple):
    """A network in training.

    Attributes:
        units: from the input up.
        transferred: how many of the lower ones came from a donor.
        trainable: the variables that are trained.
    """

    units: Sequence[MeasuredUnit]
    transferred: int
    trainable: Sequence[keras.Variable]


class UnitMonitor:
    """Writes the metrics of each unit at every measurement.

    - `weight_norm`: L2 norm of its kernels, the weights of rank 2 or more, as one vector; biases
      and the weights and statistics of normalisation are left out of this and what follows.
    - `gradient_norm`: L2 norm of the loss's gradient by them, before weight decay, at this step.
    - `update_ratio`: L2 norm of what this step added to them, over their norm before it.
    - `distance_from_initial`: L2 norm of their difference from what they were before the first
      step, over the norm of that; `distance_from_transferred`: the same for the units that came
      from a donor, which were what the donor gave.
    - `activation_mean`, `activation_std`, `dead_fraction`: see `activations.combine_summaries`.
    - `cka_donor`, `cka_base`: similarity of its output to that of the donor's unit at the same
      place and of the target base's; see `cka.linear_cka`.
    - `weights`: a histogram of its kernels.

    Frozen units have neither gradient nor update. The gradient norm over all that a network trains
    is `gradient_norm/training`; the first layer of networks for pictures is `<unit>/filters`.

    Args:
        runs: network's name -> its run.
        networks: the same names -> the networks before the first step: the weights are copied
            here.
        trainable: the variables that are trained, of all networks, in the order of
            `UnitMeasurement.gradient_norms`.
    """

    def __init__(
        self,
        runs: Mapping[str, Events],
        networks: Mapping[str, MeasuredNetwork],
        trainable: Sequence[keras.Variable],
    ):
        self._runs = runs
        self._networks = {name: networks[name] for name in runs}
        self._index = {id(variable): place for place, variable in enumerate(trainable)}
        self._initial = {}
        for network in self._networks.values():
            for kernel in itertools.chain(*(unit.kernels for unit in network.units)):
                self._initial.setdefault(id(kernel), kernel.numpy().copy())

    # A network that diverges shows it by values that are not numbers.
    @np.errstate(all="ignore")
    def on_unit_metrics(self, step: int, measurement: UnitMeasurement) -> None:
        """Writes the metrics of all units."""
        # Networks share frozen units: each is measured once.
        by_unit: dict[tuple, list[Summary]] = {}
        for name, run in self._runs.items():
            network = self._networks[name]
            summaries = []
            for number, unit in enumerate(network.units, 1):
                transferred = number <= network.transferred
                key = (unit.name, transferred, *map(id, unit.kernels))
                if key not in by_unit:
                    is_first = number == 1
                    by_unit[key] = self._summaries(unit, transferred, is_first, measurement)
                summaries += by_unit[key]
            if measurement.gradient_norms is not None:
                norm = self._gradient_norm(network.trainable, measurement)
                summaries.append(scalar_summary("gradient_norm/training", norm))
            run.write(step, *summaries)
            run.flush()

    def _summaries(
        self, unit: MeasuredUnit, transferred: bool, is_first: bool, measurement: UnitMeasurement
    ) -> list[Summary]:
        """Makes all that is written of one unit."""
        weights = [kernel.numpy() for kernel in unit.kernels]
        metrics = self._weight_metrics(unit, weights, transferred)
        metrics |= self._update_metrics(unit, weights, measurement)
        activations = unit.activations
        if not isinstance(activations, UnitActivations):
            activations = combine_summaries(
                [batch[unit.activations] for batch in measurement.activations]
            )
        metrics |= activations.statistics
        for name, reference in unit.compared_to.items():
            metrics[f"cka_{name}"] = linear_cka(activations.centred, reference.centred)
        summaries = [
            scalar_summary(f"{unit.name}/{metric}", value) for metric, value in metrics.items()
        ]
        values = np.concatenate([array.ravel() for array in weights])
        summaries.append(histogram_summary(f"{unit.name}/weights", values))
        if is_first and is_image_kernel(weights[0].shape):
            summaries.append(image_summary(f"{unit.name}/filters", draw_filters(weights[0])))
        return summaries

    def _weight_metrics(
        self, unit: MeasuredUnit, weights: Sequence[np.ndarray], transferred: bool
    ) -> dict[str, float]:
        """Computes the metrics of the weights themselves."""
        initial = [self._initial[id(kernel)] for kernel in unit.kernels]
        distance = _ratio(_norm(map(np.subtract, weights, initial)), _norm(initial))
        metrics = {"weight_norm": _norm(weights), "distance_from_initial": distance}
        return metrics | ({"distance_from_transferred": distance} if transferred else {})

    def _update_metrics(
        self, unit: MeasuredUnit, weights: Sequence[np.ndarray], measurement: UnitMeasurement
    ) -> dict[str, float]:
        """Computes the metrics of gradient and update; none for a frozen unit."""
        trained = [
            (self._index[id(kernel)], value)
            for kernel, value in zip(unit.kernels, weights, strict=True)
            if id(kernel) in self._index
        ]
        if not trained or measurement.gradient_norms is None:
            return {}
        before = [measurement.weights_before[place] for place, _ in trained]
        update = _norm(value - old for (_, value), old in zip(trained, before, strict=True))
        return {
            "gradient_norm": self._gradient_norm(unit.kernels, measurement),
            "update_ratio": _ratio(update, _norm(before)),
        }

    def _gradient_norm(
        self, variables: Sequence[keras.Variable], measurement: UnitMeasurement
    ) -> float:
        places = [self._index[id(v)] for v in variables if id(v) in self._index]
        return float(np.linalg.norm(measurement.gradient_norms[places].astype(np.float64)))


def _norm(arrays: Iterable[np.ndarray]) -> float:
    """Computes the L2 norm of all arrays as one vector."""
    return math.hypot(*(float(np.linalg.norm(array.ravel())) for array in arrays))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
