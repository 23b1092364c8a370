"""Makes networks that Keras loads without this package."""

import keras

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.batch_norm import FixedStatisticsBatchNormalization
from transfer_keras.surgery.rebuild import check_rebuildable, duplicate


def without_fixed_statistics(model: keras.Model) -> keras.Model:
    """Copies a network with plain BatchNormalization for each that keeps its statistics.

    The plain layers are not trained, so that they keep their statistics too: the copy computes the
    same in inference and in training, but its scale and shift stay as they are.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.

    Returns:
        A copy; the model itself if there is nothing to replace.

    Raises:
        NotRebuildable: if such a layer lies inside another one, or the model has no graph.
    """
    fixed = [x for x in graph.flat_layers(model) if _is_fixed(x)]
    if not fixed:
        return model
    model = graph.functional(model)
    check_rebuildable(model)
    inside = [x.name for x in fixed if all(x is not layer for layer in model.layers)]
    if inside:
        raise errors.NotRebuildable(
            f"plain=True: {errors.first_few(inside)} lies inside another layer of '{model.name}'. "
            "Open nested models first: `surgery.flatten(model)`."
        )

    def make(operation):
        if _is_fixed(operation):
            return keras.layers.BatchNormalization.from_config(operation.get_config())
        return fresh.renamed(operation, operation.name)

    copy = duplicate(model, make)
    freezing.set_trainable([copy.get_layer(layer.name) for layer in fixed], False)
    return copy


def _is_fixed(operation) -> bool:
    return isinstance(operation, FixedStatisticsBatchNormalization)
