"""The classifier head of a donor: its own, up to the logits, or one that is put on it."""

import keras

from transfer_keras import surgery

TEMPERATURE = (
    "temperature"  # Layer of a classifier that `deployment` saved, between logits and softmax.
)
_OUTPUTS = 2  # Of a head that is put on, and replaced by each task's.
_KERNELS = (keras.layers.Dense, keras.layers.Conv2D)
_LINEAR = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Rescaling,
    keras.layers.BatchNormalization,
)
# Of `keras.ops`, with one tensor and else numbers.
_LINEAR_OPERATIONS = (
    *("Reshape", "Squeeze", "ExpandDims", "Cast", "Identity"),
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide"),
)


def with_logits(model: keras.Model) -> tuple[keras.Model, bool]:
    """Gives the same network up to its logits, and whether a classifier was put on its features.

    Args:
        model: flat, of one output of any shape.
    """
    logits = _without_squeeze(_without_temperature(surgery.logits(model)))
    if _has_head(logits):
        return logits, False
    return surgery.logits(_with_head(_without_squeeze(model))), True


def _without_temperature(model: keras.Model) -> keras.Model:
    """Cuts off the last layer if it only calibrates logits: those of another head are others."""
    makers = {id(tensor): node for node in surgery.nodes(model) for tensor in node.output_tensors}
    node = makers[id(model.output)]
    is_one = isinstance(node.operation, keras.layers.Rescaling)
    if not (is_one and node.operation.name == TEMPERATURE):
        return model
    return keras.Model(model.input, node.input_tensors[0], name=model.name)


def _without_squeeze(model: keras.Model) -> keras.Model:
    """Cuts a model where it gives more than one number of each picture, or could."""
    makers = {id(tensor): node for node in surgery.nodes(model) for tensor in node.output_tensors}
    output = model.output
    while len(output.shape) < 2:
        output = makers[id(output)].input_tensors[0]
    return model if output is model.output else keras.Model(model.input, output, name=model.name)


def _with_head(model: keras.Model) -> keras.Model:
    """Puts a classifier on the features that a model gives."""
    x = model.output
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name=_free("head_pool", model))(x)
    elif len(x.shape) > 2:
        x = keras.layers.Flatten(name=_free("head_flatten", model))(x)
    init = keras.initializers.GlorotUniform(seed=0)
    x = keras.layers.Dense(_OUTPUTS, kernel_initializer=init, name=_free("head", model))(x)
    return keras.Model(model.input, x, name=model.name)


def _free(name: str, model: keras.Model) -> str:
    """Gives the name, or one like it that no layer has."""
    taken = {operation.name for operation in model.operations}
    while name in taken:
        name += "_new"
    return name


def _has_head(model: keras.Model) -> bool:
    """Tells whether the last kernel of a model gives scores of classes.

    It does where all that comes after it is linear.
    """
    operations = [node.operation for node in surgery.nodes(model)]
    weighted = [
        x for x in operations if isinstance(x, keras.layers.Layer) and surgery.has_kernel(x)
    ]
    if not weighted or len(model.output.shape) != 2:
        return False
    last = len(operations) - 1 - operations[::-1].index(weighted[-1])
    return (
        isinstance(operations[last], _KERNELS)
        and operations[last].activation is keras.activations.linear
        and all(map(_is_linear, (node for node in surgery.nodes(model)[last + 1 :])))
    )


def _is_linear(node) -> bool:
    """Tells whether a node is an affine function of each of its values, or of their mean."""
    operation = node.operation
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is keras.activations.linear
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, _LINEAR)
    return type(operation).__name__ in _LINEAR_OPERATIONS and len(node.input_tensors) == 1
