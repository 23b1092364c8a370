"""Removes the softmax or sigmoid at the end of a network, or the logarithm of one."""

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.flatten import flatten
from transfer_keras.surgery.rebuild import duplicate

_LAYERS = keras.layers
# These layers apply their `activation` last. In other layers, such as recurrent ones, it means
# something else.
_ACTIVATED = (
    _LAYERS.Dense,
    _LAYERS.EinsumDense,
    _LAYERS.Conv1D,
    _LAYERS.Conv2D,
    _LAYERS.Conv3D,
    _LAYERS.Conv1DTranspose,
    _LAYERS.Conv2DTranspose,
    _LAYERS.Conv3DTranspose,
    _LAYERS.DepthwiseConv1D,
    _LAYERS.DepthwiseConv2D,
    _LAYERS.SeparableConv1D,
    _LAYERS.SeparableConv2D,
)
_FUNCTIONS = (
    keras.activations.softmax,
    keras.activations.log_softmax,
    keras.activations.sigmoid,
    keras.activations.log_sigmoid,
)
_RESHAPING = (_LAYERS.Flatten, _LAYERS.Reshape, _LAYERS.Permute, _LAYERS.Identity)
_RESHAPING_OPERATIONS = ("Reshape", "Squeeze", "ExpandDims", "Cast")


def logits(model: keras.Model) -> keras.Model:
    """Copies a network without the softmax or sigmoid that makes its outputs probabilities.

    A `Softmax`, an `Activation` of softmax or sigmoid, or such a `keras.ops` at the end is removed,
    and so is the logarithm of either. A last dense layer or convolution that applies it itself
    becomes linear. Layers that only reshape may follow it, and stay. Of several outputs each loses
    its own; of two such layers in a row the last is removed. If the last layer is a nested model,
    the network is opened first (see `flatten`).

    Args:
        model: a functional model or a built `Sequential`; it is not changed.

    Returns:
        An uncompiled model that shares nothing with the given one. It takes the same inputs and
        gives logits of the same shape and dtype. A network that ends in neither softmax nor
        sigmoid comes back as an equal copy.

    Raises:
        NotRebuildable: if a layer cannot be made again from its config, or the probabilities
            are used inside the network too.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(3, name="head"),
        ...     keras.layers.Softmax(name="probabilities"),
        ... ])
        >>> [layer.name for layer in surgery.logits(network).layers[1:]]
        ['head']
    """
    kind, model = graph.class_of(model), graph.functional(model)
    ends = [_end(model, output) for output in model.outputs]
    if any(isinstance(end, keras.Model) for end in ends):
        opened = flatten(model)
        if any(end not in opened.layers for end in ends if isinstance(end, keras.Model)):
            return logits(opened)
    linear = {id(end) for end in ends if isinstance(end, _ACTIVATED) and _is_activation(end)}
    removed = {id(end) for end in ends if _is_activation(end)} - linear
    # Identity of the copy of what is removed -> dtype of its output.
    dtypes = {}

    def make(operation):
        changes = {"activation": "linear"} if id(operation) in linear else {}
        new = fresh.renamed(operation, operation.name, **changes)
        if id(operation) in removed:
            dtypes[id(new)] = operation.output.dtype
        return new

    def call(new, *args, **kwargs):
        if id(new) not in dtypes:
            return new(*args, **kwargs)
        tensor = keras.tree.flatten((args, kwargs))[0]
        # In mixed precision it is often the softmax that changes to float32.
        dtype = dtypes[id(new)]
        return tensor if tensor.dtype == dtype else keras.ops.cast(tensor, dtype)

    return duplicate(model, make, call=call, kind=kind)


def _end(model: keras.Model, output):
    """Finds the last layer or operation before an output that does more than reshape."""
    makers = {id(tensor): node for node in graph.nodes(model) for tensor in node.output_tensors}
    uses = [id(tensor) for node in graph.nodes(model) for tensor in node.input_tensors]
    uses += [id(tensor) for tensor in model.outputs]
    shared = False
    while id(output) in makers:
        node = makers[id(output)]
        shared |= uses.count(id(output)) > 1
        if not _only_reshapes(node.operation):
            calls = [x for x in graph.nodes(model) if x.operation is node.operation]
            if _is_activation(node.operation) and (shared or len(calls) > 1):
                raise errors.NotRebuildable(
                    f"The probabilities of '{node.operation.name}' are used more than once in "
                    f"'{model.name}', so they cannot be left off. Build a model up to its logits "
                    "by hand."
                )
            return node.operation
        output = node.input_tensors[0]
    return None


def _is_activation(operation) -> bool:
    """Tells whether an operation ends in softmax or sigmoid, or in the logarithm of either."""
    if isinstance(operation, (*_ACTIVATED, _LAYERS.Activation)):
        return any(operation.activation is function for function in _FUNCTIONS)
    if isinstance(operation, keras.Layer):
        return isinstance(operation, _LAYERS.Softmax)
    return type(operation).__name__ in ("Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid")


def _only_reshapes(operation) -> bool:
    """Tells whether an operation changes the shape or the dtype at most."""
    if isinstance(operation, keras.Layer):
        linear = isinstance(operation, _LAYERS.Activation) and (
            operation.activation is keras.activations.linear
        )
        return linear or isinstance(operation, _RESHAPING)
    return type(operation).__name__ in _RESHAPING_OPERATIONS
