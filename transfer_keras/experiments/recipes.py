"""The recipe of a group: how its networks are trained, from the experiment's settings."""

import bisect
from collections.abc import Sequence

import keras
import numpy as np

from transfer_keras import surgery
from transfer_keras.config import Experiment, Treatment, choices
from transfer_keras.training import LearningRates, Recipe, chance_loss


def make_recipe(
    experiment: Experiment,
    fused: keras.Model,
    treatments: Sequence[Treatment],
    labels: np.ndarray,
) -> Recipe:
    """Makes the recipe of a group.

    Args:
        experiment: what it belongs to.
        fused: its networks as one model.
        treatments: all of them, of one target.
        labels: int (examples,), on which they are trained.
    """
    training = experiment.training
    balanced = training.class_weights == choices.BALANCED
    weights = class_weights(labels) if balanced else None
    return Recipe(
        steps=training.steps,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        optimizer=training.optimizer,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        learning_rate_warm_up=training.learning_rate_warm_up,
        class_weights=weights,
        learning_rates=learning_rates(experiment, fused, treatments),
        chance_loss=chance_loss(labels, weights),
    )


def class_weights(labels: np.ndarray) -> tuple[float, ...]:
    """Weighs classes so that all count the same and the mean over the examples is 1.

    Args:
        labels: int (examples,), 0..classes-1, each at least once.
    """
    counts = np.bincount(labels)
    return tuple((len(labels) / (len(counts) * counts)).tolist())


def learning_rates(
    experiment: Experiment, fused: keras.Model, treatments: Sequence[Treatment]
) -> LearningRates | None:
    """Sets the rates of what is not trained with the recipe's.

    That is training from scratch with a donor, be it a base that is trained on; and transferred
    units that are fine-tuned, which stay as they are until the warm-up ends. Their rate is
    `transferred_learning_rate`, times `layerwise_decay` for each unit, or block, from the lowest
    new one down to them (Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text
    Classification", section 3.2, whose decay is 1 / 2.6).

    Returns:
        None where that changes nothing.
    """
    training = experiment.training
    ratio = (training.transferred_learning_rate or training.learning_rate) / training.learning_rate
    scratch = (training.scratch_learning_rate or training.learning_rate) / training.learning_rate
    if not training.warm_up_head and training.layerwise_decay == ratio == scratch == 1:
        return None
    factors: dict[int, float] = {}
    frozen_batch_norm = []
    for treatment in (t for t in treatments if t.fine_tune):
        transferred = experiment.units_at_transferred_rate(treatment)
        for unit in surgery.fused_units(fused, treatment.name)[:transferred]:
            place = bisect.bisect_left(experiment.architecture.cuts, unit.index)  # From 0.
            factor = ratio * training.layerwise_decay ** max(0, treatment.n - place)
            for layer in unit.layers:
                factors |= {id(variable): factor for variable in layer.trainable_variables}
                if layer.trainable and isinstance(layer, keras.layers.BatchNormalization):
                    frozen_batch_norm.append(layer)
    from_scratch = {
        id(variable): scratch
        for treatment in treatments
        if scratch != 1 and (treatment.mode == "base" or experiment.continues_base(treatment))
        for unit in surgery.fused_units(fused, treatment.name)
        for layer in unit.layers
        for variable in layer.trainable_variables
    }
    if not factors and not from_scratch:
        return None
    variables = fused.trainable_variables
    return LearningRates(
        factors=[(factors | from_scratch).get(id(variable), 1.0) for variable in variables],
        frozen_in_warm_up=[id(variable) in factors for variable in variables],
        warm_up=training.warm_up_head,
        frozen_batch_norm=frozen_batch_norm,
    )
