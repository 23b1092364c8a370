"""Which units of a group's networks are watched, and what they are likened to."""

import functools
from collections.abc import Mapping

import keras
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import parse_treatment
from transfer_keras.training import (
    Events,
    UnitMonitor,
    Watch,
    WatchedNetwork,
    WatchedUnit,
    activations,
)


def watch_units(
    every: int,
    fused: keras.Model,
    runs: Mapping[str, Events],
    references: Mapping[str, Mapping[str, keras.Model]],
    test: tf.data.Dataset,
    cuts: Mapping[str, int],
) -> tuple[Watch, UnitMonitor]:
    """What the loop measures of each unit, and the monitor that writes it.

    Args:
        every: steps from one look to the next.
        fused: the networks of a group, before the first step.
        runs: name of each treatment that is watched -> its run.
        references: see `group_models.Models`; only read here.
        test: of (images, labels), as the networks are tested.
        cuts: name of each treatment -> how many of its units came from a donor.
    """
    everyone = {id(m): m for name in runs for m in references[name].values()}
    known = {key: _answers(model, test) for key, model in everyone.items()}
    tensors: list[keras.KerasTensor] = []
    likened: list[bool] = []
    networks = {}
    for name in runs:
        treatment = parse_treatment(name)
        units = surgery.fused_units(fused, name)
        watched = []
        for unit in units:
            like = {k: known[id(model)][unit.index - 1] for k, model in references[name].items()}
            if unit.index <= cuts[name] and not treatment.fine_tune:
                answers = like["donor"]  # A frozen unit is the donor's.
            else:
                answers = len(tensors)
                tensors.append(unit.output)
                likened.append(bool(like))
            watched.append(WatchedUnit(unit.name, unit.kernels, answers, like))
        trainable = [v for u in units for layer in u.layers for v in layer.trainable_variables]
        networks[name] = WatchedNetwork(watched, cuts[name], trainable)
    monitor = UnitMonitor(runs, networks, fused.trainable_variables)
    return Watch(every, tensors, functools.partial(activations.keep, likened=likened)), monitor


def _answers(model: keras.Model, test: tf.data.Dataset) -> list[activations.Answers]:
    """What each unit of a network answers to the images of a look."""
    outputs = keras.Model(model.input, [unit.output for unit in surgery.units(model)])
    batches, seen = [], 0
    for images, _ in test:
        if seen >= Watch.images:
            break
        values = outputs(tf.cast(images, tf.float32), training=False)
        kept = activations.keep(values, [True] * len(values))
        batches.append(tf.nest.map_structure(lambda x: x.numpy(), kept))
        seen += len(images)
    return [activations.answers(unit) for unit in zip(*batches, strict=True)]
