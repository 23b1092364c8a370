"""The units of a group that are measured, and the networks that they are compared to."""

import functools
from collections.abc import Mapping

import keras
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import parse_treatment
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.group_networks import GroupNetworks
from transfer_keras.training import (
    Events,
    MeasuredNetwork,
    MeasuredUnit,
    UnitActivations,
    UnitMetrics,
    UnitMonitor,
    combine_summaries,
    summarise_activations,
)


def make_unit_metrics(
    run: Run, networks: GroupNetworks, events: Mapping[str, Events], test: tf.data.Dataset
) -> tuple[UnitMetrics, UnitMonitor]:
    """Makes what the loop measures of each unit, and the monitor that writes it.

    What units are compared to is measured at once.

    Args:
        run: says how often.
        networks: of a group, before the first step; their references are only read here.
        events: name of each treatment that is measured -> its run in TensorBoard.
        test: (images, labels), as the networks are tested.
    """
    references = networks.references
    models = {id(model): model for name in events for model in references[name].values()}
    known = {key: _activations(model, test) for key, model in models.items()}
    tensors: list[keras.KerasTensor] = []
    compared: list[bool] = []
    measured = {}
    for name in events:
        treatment = parse_treatment(name)
        transferred = run.experiment.units_transferred(treatment)
        units = surgery.fused_units(networks.fused, name)
        measured_units = []
        for unit in units:
            compared_to = {
                reference: known[id(model)][unit.index - 1]
                for reference, model in references[name].items()
                if unit.index <= transferred or not treatment.linear  # Else it has none there.
            }
            if unit.index <= transferred and not treatment.fine_tune:
                activations = compared_to["donor"]  # A frozen unit is the donor's.
            else:
                activations = len(tensors)
                tensors.append(unit.output)
                compared.append(bool(compared_to))
            measured_units.append(MeasuredUnit(unit.name, unit.kernels, activations, compared_to))
        trainable = [v for u in units for layer in u.layers for v in layer.trainable_variables]
        measured[name] = MeasuredNetwork(measured_units, transferred, trainable)
    monitor = UnitMonitor(events, measured, networks.fused.trainable_variables)
    every = run.experiment.execution.metrics_every
    summarise = functools.partial(summarise_activations, compared=compared)
    return UnitMetrics(every, tensors, summarise), monitor


def _activations(model: keras.Model, test: tf.data.Dataset) -> list[UnitActivations]:
    """Measures each unit of a network on the images of a measurement."""
    outputs = keras.Model(model.input, [unit.output for unit in surgery.units(model)])
    batches, images_seen = [], 0
    for images, _ in test:
        if images_seen >= UnitMetrics.images:
            break
        values = outputs(tf.cast(images, tf.float32), training=False)
        summaries = summarise_activations(values, compared=[True] * len(values))
        batches.append(tf.nest.map_structure(lambda x: x.numpy(), summaries))
        images_seen += len(images)
    return [combine_summaries(unit) for unit in zip(*batches, strict=True)]
