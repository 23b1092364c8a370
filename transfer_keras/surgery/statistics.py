"""Draws weights anew that keep only the mean and the deviation of each tensor."""

import keras
import numpy as np

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.transplant import transplant
from transfer_keras.surgery.units import units


def draw_like(model: keras.Model, *, seed: int) -> keras.Model:
    """Makes a copy of a network whose weights are drawn, with the statistics of the network's.

    Each value of a weight tensor is drawn independently from the normal distribution with the mean
    and the standard deviation of that tensor's values. So the copy has the scale of a trained
    network and none of its features (Matsoukas et al. 2022, "What Makes Transfer Learning Work for
    Medical Images: Feature Reuse & Other Factors", stats transfer). With `transplant`, its lower
    units can be taken.

    What no training changes by gradients stays as it is: the moving mean and variance of BatchNorm,
    which may not be negative, and what layers have learnt of the data, as `Normalization` has. A
    tensor of one value, or of equal values, keeps them: its deviation is 0.

    Args:
        model: a functional model or a built `Sequential`; it is not changed. What it has frozen
            is drawn, too.
        seed: all that is drawn is a function of this and of the place of each weight, the same on
            all backends.

    Returns:
        An uncompiled model with the same layers, all of which are trained.

    Raises:
        NotRebuildable: if it is no model, or a layer cannot be made again (see `transplant`) or has
            weights that are whole numbers, since it was quantised.

    Example:
        >>> import numpy as np
        >>> donor = keras.Sequential([keras.Input((64,)), keras.layers.Dense(100, name="dense")])
        >>> drawn = surgery.draw_like(donor, seed=0)
        >>> old, new = (np.array(x.get_layer("dense").kernel) for x in (donor, drawn))
        >>> bool(np.isclose(old.std(), new.std(), rtol=0.05)), bool((old == new).any())
        (True, False)
    """
    graph.check_model(model)
    for layer in graph.flat_layers(model):
        if getattr(layer, "quantization_mode", None):
            raise errors.NotRebuildable(
                f"Layer '{layer.name}' of '{model.name}' has weights of {layer.quantization_mode}, "
                "of which none can be drawn. Expected a network that is not quantised."
            )
    every = len(units(model))
    copy, _ = transplant(
        model, every, mode="fine_tune", batch_norm="train", unfreeze=True, seed=seed
    )
    for place, weight in enumerate(copy.trainable_weights):
        values = keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")).astype(float)
        generator = np.random.default_rng([seed, place])
        weight.assign(generator.normal(values.mean(), values.std(), values.shape))
    return copy
