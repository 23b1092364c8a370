"""Which units of a group's networks are watched, and what they are likened to."""

import functools
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.monitors import activations
from transfer_keras.monitors.events import Events
from transfer_keras.monitors.units import UnitMonitor, WatchedNetwork, WatchedUnit
from transfer_keras.training.watch import Watch
from transfer_keras.treatments import parse


def watch(
    every: int,
    fused: keras.Model,
    runs: Mapping[str, Events],
    references: Mapping[str, Mapping[str, keras.Model]],
    test: tf.data.Dataset,
) -> tuple[Watch, UnitMonitor]:
    """What the loop measures of each unit, and the monitor that writes it.

    Args:
        every: steps from one look to the next.
        fused: the networks of a group, before the first step.
        runs: name of each treatment that is watched -> its run.
        references: see `group_models.Models`; only read here.
        test: of (images, labels), as the networks are tested.
    """
    answers: dict[int, list] = {}
    for model in {id(m): m for name in runs for m in references[name].values()}.values():
        answers[id(model)] = _answers(model, test)
    tensors: dict[int, tuple[keras.KerasTensor, bool]] = {}  # And whether it will be likened.
    networks = {}
    for name in runs:
        treatment = parse(name)
        units = surgery.fused_units(fused, name)
        like = {key: answers[id(model)] for key, model in references[name].items()}
        watched = []
        for unit in units:
            others = {key: found[unit.index - 1] for key, found in like.items()}
            frozen = unit.index <= treatment.n and not treatment.fine_tune
            own = others["donor"] if frozen else None  # Its units are the donor's.
            tensor, _ = tensors.setdefault(id(unit.output), (unit.output, others and not frozen))
            place = list(tensors).index(id(tensor))
            watched.append(WatchedUnit(unit.name, unit.kernels, place, own, others))
        trainable = [v for u in units for layer in u.layers for v in layer.trainable_variables]
        networks[name] = WatchedNetwork(watched, treatment.n, trainable)
    monitor = UnitMonitor(runs, networks, fused.trainable_variables)
    outputs, likened = zip(*tensors.values(), strict=True)
    keep = functools.partial(activations.keep, likened=tuple(map(bool, likened)))
    return Watch(every, outputs, keep), monitor


def _answers(model: keras.Model, test: tf.data.Dataset) -> list[list[np.ndarray]]:
    """What each unit of a network answers to the images of a look, ready to be compared."""
    outputs = keras.Model(model.input, [unit.output for unit in surgery.units(model)])
    batches, seen = [], 0
    for images, _ in test:
        if seen >= Watch.images:
            break
        values = outputs(tf.cast(images, tf.float32), training=False)
        kept = activations.keep(values, [True] * len(values))
        batches.append(tf.nest.map_structure(lambda x: x.numpy(), kept))
        seen += len(images)
    return [activations.centred(unit) for unit in zip(*batches, strict=True)]
