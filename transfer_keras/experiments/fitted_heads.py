"""Heads on frozen units that are fitted, in place of being trained step by step.

The last unit on what is frozen is a linear classifier of features that do not change. Gradient
descent on features of very different sizes is slow and knows no penalty; a penalised fit to
standardised features has neither fault. Kumar et al. (2022), "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution", begin fine-tuning with such a head.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from scipy import special

from transfer_keras import surgery
from transfer_keras.config import (
    Experiment,
    Interrupted,
    Treatment,
    UserError,
    choices,
    parse_treatment,
)
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.logistic import choose_pictures, fit_logistic
from transfer_keras.networks import pretrained
from transfer_keras.training import Predictions, Progress, Scores, as_input


def may_fit_head(experiment: Experiment) -> bool:
    """Tells whether the last unit of a donor can be fitted, on units that stay as they are."""
    model = pretrained.open_pretrained(experiment.donor, experiment.training.image_size).model
    top = len(experiment.architecture.units) - 1
    if top not in experiment.architecture.cut_points:
        return False
    if experiment.architecture.why_not(top, "frozen"):
        return False
    norms = any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    if norms and experiment.donor.batch_norm not in (None, choices.FROZEN):
        return False
    alone = experiment.trains_head_alone(parse_treatment(f"A{top}B"))
    return alone and _dense_of(surgery.units(model)[-1]) is not None


def fit_heads(run: Run, treatments: Sequence[Treatment], fused: keras.Model) -> dict[str, Scores]:
    """Fits the heads of networks to the centre crops of the training pictures, in place.

    Of more than 20,000 pictures so many are drawn, the same ones each time.

    Args:
        run: what they belong to.
        treatments: of one target, all but their last units frozen.
        fused: their networks.

    Returns:
        Name of a network -> its scores on the pictures that it was fitted to.

    Raises:
        Interrupted: if a stop was requested.
        UserError: if a last unit is no Dense layer on features, or a feature is no number.
    """
    (target,) = {treatment.target for treatment in treatments}
    examples, heads = run.data.train[target], {}
    for treatment in treatments:
        units = surgery.fused_units(fused, treatment.name)
        head = _dense_of(units[-1])
        if head is None or any(x.trainable_variables for unit in units[:-1] for x in unit.layers):
            raise UserError(
                f"--fit_head: the last unit of {treatment} is not one Dense layer with a bias, on "
                "one vector a picture from frozen layers. Give --nofit_head."
            )
        heads[treatment.name] = head
    model = keras.Model(fused.input, [head.input for head in heads.values()])

    @tf.function(reduce_retracing=True)
    def compute(images):
        return tf.nest.flatten(model(as_input(images), training=False))

    batches, labels, size = [], [], run.source.test_batch
    title = f"{', '.join(heads)}: the features of the head"
    with Progress(title, -(-len(examples) // size)) as bar:
        for step, (images, of_batch) in enumerate(examples.evaluation(batch_size=size), 1):
            real = of_batch.numpy() >= 0
            batches.append([values.numpy()[real] for values in compute(images)])
            labels.append(of_batch.numpy()[real])
            bar.advance(step)
            if run.stop.requested:
                raise Interrupted(title)
    balanced = run.experiment.training.class_weights == choices.BALANCED
    labels, scores = np.concatenate(labels), {}
    some = choose_pictures(len(labels), 0)  # The same with each seed.
    for (name, head), features in zip(heads.items(), zip(*batches, strict=True), strict=True):
        features = np.concatenate(features)
        fitted = fit_logistic(features[some], labels[some], head.units, balanced=balanced)
        if fitted is None:
            raise UserError(
                f"--fit_head: a feature that {head.name} takes is no number. Give --nofit_head."
            )
        head.kernel.assign(fitted.kernel)
        head.bias.assign(fitted.bias)
        logs = special.log_softmax(fitted.logits(features), axis=1)
        losses = -logs[np.arange(len(labels)), labels]
        scores[name] = Predictions(labels, logs.argmax(axis=1), losses).scores
    return scores


def _dense_of(unit: surgery.Unit) -> keras.layers.Dense | None:
    """Finds the only layer of a unit that has weights, where it can be fitted."""
    weighted = [layer for layer in unit.layers if layer.weights]
    if len(weighted) != 1 or type(weighted[0]) is not keras.layers.Dense:
        return None
    (dense,) = weighted
    return dense if dense.use_bias and len(dense.input.shape) == 2 else None
