"""The private names of Keras on which training leans.

This is the only module of the package that uses them: each function gives the reason.
"""

import keras


def disable_gradient_sum(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer take gradients that are summed over the replicas already.

    Keras's own sum is a custom gradient, which TensorFlow registers for good: with it the graph,
    and the weights of every group that the process has trained, would stay in memory.
    """
    optimizer._all_reduce_sum_gradients = list


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Lists the model and all layers inside it, those of nested layers too.

    `model.layers` does not show the layers inside a layer.
    """
    return list(model._flatten_layers())


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the variables of a layer itself, without those of the layers inside it.

    `layer.variables` includes the layers inside, which may be frozen where this layer is not.
    """
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Finds the place of a variable among those that the optimizer was built with.

    Keras passes the variable alone to `update_step`.
    """
    return optimizer._get_variable_index(variable)
