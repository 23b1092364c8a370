"""How the networks of a group are trained, from what their experiment says."""

import bisect
from collections.abc import Sequence

import keras
import numpy as np

from transfer_keras import surgery
from transfer_keras.config import Experiment, Treatment
from transfer_keras.training import Rates, Recipe


def recipe(
    experiment: Experiment,
    fused: keras.Model,
    treatments: Sequence[Treatment],
    labels: np.ndarray,
) -> Recipe:
    """Of a group.

    Args:
        experiment: what it belongs to.
        fused: its networks as one model.
        treatments: all of them, of one target.
        labels: int (examples,), on which they are trained.
    """
    weights = class_weights(labels) if experiment.class_weights == "balanced" else None
    return Recipe(
        steps=experiment.steps,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        weight_decay=experiment.weight_decay,
        class_weights=weights,
        rates=rates(experiment, fused, treatments),
    )


def class_weights(labels: np.ndarray) -> tuple[float, ...]:
    """One for each class, so that all count the same and the mean over the examples is 1.

    Args:
        labels: int (examples,), 0..classes-1, each at least once.
    """
    counts = np.bincount(labels)
    return tuple((len(labels) / (len(counts) * counts)).tolist())


def rates(
    experiment: Experiment, fused: keras.Model, treatments: Sequence[Treatment]
) -> Rates | None:
    """For the transferred units that are fine-tuned: they wait for the warm-up to end, and the rate
    of each is `layerwise_decay` of that of the unit, or block, above it (Howard and Ruder 2018,
    "Universal Language Model Fine-tuning for Text Classification", section 3.2, whose decay is
    1 / 2.6).

    Returns:
        None where that changes nothing.
    """
    if not experiment.warm_up_head and experiment.layerwise_decay == 1:
        return None
    factors: dict[int, float] = {}
    still = []
    for treatment in (t for t in treatments if t.fine_tune):
        for unit in surgery.fused_units(fused, treatment.name)[: experiment.cut(treatment)]:
            place = bisect.bisect_left(experiment.architecture.cuts, unit.index)  # From 0.
            factor = experiment.layerwise_decay ** (treatment.n - place)
            for layer in unit.layers:
                factors |= {id(variable): factor for variable in layer.trainable_variables}
                if layer.trainable and isinstance(layer, keras.layers.BatchNormalization):
                    still.append(layer)
    if not factors:
        return None
    variables = fused.trainable_variables
    return Rates(
        [factors.get(id(variable), 1.0) for variable in variables],
        [id(variable) in factors for variable in variables],
        experiment.warm_up_head,
        still,
    )
