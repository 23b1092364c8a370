"""Lists the weights that layers themselves hold, and pairs them with those of copies."""

import keras

from transfer_keras.surgery import errors, graph


def own_weights(layer: keras.Layer) -> list:
    """Lists the weights of a layer that belong to no layer inside it."""
    inside = {id(w) for child in graph.flat_layers(layer)[1:] for w in child.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def own_weight_pairs(old: keras.Layer, new: keras.Layer) -> list[tuple]:
    """Pairs the weights of a layer and its copy, without those of layers inside them.

    They are paired by their names, since a layer that was quantised has them in another order than
    one that was made so; by their places if a name is there twice.

    Raises:
        ShapeMismatch: if there are not the same number of them.
    """
    weights, others = own_weights(old), own_weights(new)
    by_name = {weight.name: weight for weight in others}
    names = [weight.name for weight in weights]
    if len(weights) == len(others) == len(by_name) and set(names) == set(by_name):
        others = [by_name[name] for name in names]
    if len(weights) != len(others):
        raise errors.ShapeMismatch(
            f"'{old.name}' has {len(weights)} weights ({errors.first_few(names)}), and came out of "
            f"its config with {len(others)} ({errors.first_few(list(by_name))}). Its config does "
            "not say all that made it."
        )
    return list(zip(weights, others, strict=True))
