"""Finds what a network ends in: its last weighted layers, and the probabilities that they make."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.activation_kinds import (
    Kind,
    kind_of,
    kind_of_activation,
    region_shapes,
)
from transfer_keras.surgery.configs import is_of_keras

_LAYERS = keras.layers
CONVOLUTIONS = (
    _LAYERS.Conv1D,
    _LAYERS.Conv2D,
    _LAYERS.Conv3D,
    _LAYERS.Conv1DTranspose,
    _LAYERS.Conv2DTranspose,
    _LAYERS.Conv3DTranspose,
    _LAYERS.SeparableConv1D,
    _LAYERS.SeparableConv2D,
)
# These layers apply their `activation` last. In other layers, such as recurrent ones, it means
# something else.
_ACTIVATED = (
    _LAYERS.Dense,
    _LAYERS.EinsumDense,
    *CONVOLUTIONS,
    _LAYERS.DepthwiseConv1D,
    _LAYERS.DepthwiseConv2D,
)
WRAPPERS = (_LAYERS.TimeDistributed, _LAYERS.SpectralNormalization)
GLOBAL_POOLING = (
    _LAYERS.GlobalAveragePooling1D,
    _LAYERS.GlobalAveragePooling2D,
    _LAYERS.GlobalAveragePooling3D,
    _LAYERS.GlobalMaxPooling1D,
    _LAYERS.GlobalMaxPooling2D,
    _LAYERS.GlobalMaxPooling3D,
)
_RESHAPING = (
    _LAYERS.Flatten,
    _LAYERS.Reshape,
    _LAYERS.Permute,
    _LAYERS.Identity,
    # These do nothing but in training.
    _LAYERS.Dropout,
    _LAYERS.ActivityRegularization,
)
RESHAPING_OPERATIONS = ("Reshape", "Squeeze", "ExpandDims", "Transpose", "Cast", "Identity")
# Layers without weights of which probabilities can be made, or that can be applied to some.
_WEIGHTLESS = (
    *_RESHAPING,
    *GLOBAL_POOLING,
    _LAYERS.Activation,
    _LAYERS.Softmax,
    _LAYERS.Lambda,
    _LAYERS.Rescaling,
    _LAYERS.Add,
    _LAYERS.Average,
    _LAYERS.Concatenate,
    _LAYERS.Maximum,
    _LAYERS.Minimum,
    _LAYERS.Multiply,
    _LAYERS.Subtract,
)


class Ending(NamedTuple):
    """The part of a graph between some tensors and an output.

    Attributes:
        nodes: of this part, in order.
        starts: the tensors that it is made from, the latest first.
        output: the tensor that it makes.
    """

    nodes: list
    starts: list
    output: object


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """The softmax or sigmoid, or the logarithm of one, that makes an output.

    Attributes:
        kind: what it is.
        tensor: what it gives.
        after: the nodes after it, which only reshape.
        nodes: of the layers and operations that compute it; what they compute it from is `start`.
        layer: the layer that computes it by its own activation, or of which `nodes` make it.
        start: the tensor that `nodes` compute it from.
    """

    kind: Kind
    tensor: object
    after: list
    nodes: list
    layer: keras.Layer | None
    start: object

    @property
    def name(self) -> str:
        """Names the layer or operation that makes it."""
        return (self.layer or self.nodes[0].operation).name


def endings(model: keras.Model, output, passes: Callable) -> Iterator[Ending]:
    """Walks back from an output, a node at a time, as long as layers or operations are passed.

    Args:
        model: functional.
        output: a tensor of its graph.
        passes: function from a layer or operation to whether the walk goes on below it.

    Yields:
        Longer and longer parts of the graph, the first without a node. The last one begins at
        layers that are not passed, and at inputs.
    """
    order = graph.nodes(model)
    makers = {
        id(tensor): place for place, node in enumerate(order) for tensor in node.output_tensors
    }
    starts, nodes = {id(output): output}, []
    while True:
        places = sorted((makers.get(key, -1) for key in starts), reverse=True)
        tensors = sorted(starts.values(), key=lambda tensor: -makers.get(id(tensor), -1))
        yield Ending(list(nodes), tensors, output)
        place = next((x for x in places if x >= 0 and passes(order[x].operation)), None)
        if place is None:
            return
        node = order[place]
        starts = {key: tensor for key, tensor in starts.items() if makers.get(key) != place}
        starts.update((id(tensor), tensor) for tensor in node.input_tensors)
        nodes.insert(0, node)


def find_probabilities(model: keras.Model, output) -> Probabilities | None:
    """Finds the softmax or sigmoid, or the logarithm of one, at the end of a network.

    It may be a layer, an operation, several operations, or the activation of the last weighted
    layer. Of two in a row it is the last.

    Args:
        model: functional.
        output: one of its outputs.

    Returns:
        What was found; its kind is "unknown" if the output looks like probabilities but comes from
        no function that is known. None if the output is nothing of the kind.
    """
    tensor, after = _before_reshaping(model, output)
    unknown = None
    for ending in endings(model, tensor, _may_make_probabilities):
        if len(ending.starts) == 1:
            for kind, layer in _kinds(ending):
                found = Probabilities(kind, tensor, after, ending.nodes, layer, ending.starts[0])
                if kind.name == "unknown":
                    unknown = unknown or found
                elif kind.gives_probabilities:
                    return found
    if unknown is None and len(ending.starts) > 1:
        # Such as the mean of two softmaxes.
        kind = _kind_of_region(ending, [_activation(start) for start in ending.starts])
        if kind.name == "unknown":
            unknown = Probabilities(kind, tensor, after, ending.nodes, None, None)
    return unknown


def gives_probabilities(layer) -> bool:
    """Tells whether a layer is a nested model of which an output is probabilities."""
    if not isinstance(layer, keras.Model):
        return False
    try:
        model = graph.functional(layer)
    except errors.NotRebuildable:
        return False
    return any(
        gives_probabilities(graph.maker(output)) or find_probabilities(model, output)
        for output in model.outputs
    )


def only_reshapes(operation) -> bool:
    """Tells whether an operation changes shape or dtype at most, or acts in training only."""
    if isinstance(operation, _LAYERS.TimeDistributed):
        return only_reshapes(operation.layer)
    if isinstance(operation, keras.Layer):
        linear = isinstance(operation, _LAYERS.Activation) and (
            operation.activation is keras.activations.linear
        )
        return linear or isinstance(operation, _RESHAPING)
    return type(operation).__name__ in RESHAPING_OPERATIONS


def core(layer):
    """Gives the layer inside a wrapper, such as `TimeDistributed`; else the layer itself."""
    return layer.layer if isinstance(layer, WRAPPERS) else layer


def core_changes(layer: keras.Layer, **changes) -> dict:
    """Gives the entries of a layer's config to replace, for changes of the layer that it wraps."""
    if not isinstance(layer, WRAPPERS):
        return changes
    wrapped = layer.get_config()["layer"]
    return {"layer": {**wrapped, "config": {**wrapped["config"], **changes}}}


def _before_reshaping(model: keras.Model, output) -> tuple:
    """Goes back over the nodes before an output that only reshape; gives them with the tensor."""
    makers = {id(tensor): node for node in graph.nodes(model) for tensor in node.output_tensors}
    nodes = []
    while id(output) in makers and only_reshapes(makers[id(output)].operation):
        nodes.insert(0, makers[id(output)])
        output = nodes[0].input_tensors[0]
    return output, nodes


def _may_make_probabilities(operation) -> bool:
    """Tells whether to look below a layer or operation for the function that an output ends in."""
    if not isinstance(operation, keras.Layer):
        return True
    if operation.weights or isinstance(operation, _LAYERS.InputLayer):
        return False
    if isinstance(operation, _LAYERS.TimeDistributed):
        return _may_make_probabilities(operation.layer)
    is_own = not type(operation).__module__.startswith("keras.")
    return is_own or isinstance(operation, _WEIGHTLESS)


def _kinds(ending: Ending) -> Iterator[tuple[Kind, keras.Layer | None]]:
    """Yields what an ending computes without and with the activation of the layer below it."""
    if ending.nodes:
        yield _kind_of_nodes(ending), None
    start = ending.starts[0]
    layer, activation = graph.maker(start), _activation(start)
    if isinstance(layer, WRAPPERS) and gives_probabilities(layer.layer):
        yield Kind("unknown", reason="wraps a model that gives probabilities"), layer
    elif activation is not None and ending.nodes:
        yield _kind_of_region(ending, [activation]), layer
    elif activation is not None:
        yield kind_of_activation(activation, len(start.shape), start.shape), layer
    elif not ending.nodes and _computes_by_itself(layer):
        yield _kind_of_call(layer, graph.making_node(start)), layer


def _computes_by_itself(layer) -> bool:
    """Tells whether a layer with weights has a `call` that is not one of Keras's own."""
    if not isinstance(layer, keras.Layer) or isinstance(layer, keras.Model) or not layer.weights:
        return False
    return not is_of_keras(next(kind for kind in type(layer).__mro__ if "call" in vars(kind)))


def _kind_of_call(layer: keras.Layer, node) -> Kind:
    """Tells whether a layer with code of its own gives what looks like probabilities."""
    shapes = [tensor.shape for tensor in node.input_tensors]
    dtypes = [keras.backend.standardize_dtype(tensor.dtype) for tensor in node.input_tensors]

    def run(*values):
        made = dict(zip(map(id, node.input_tensors), values, strict=True))
        args, kwargs = node.arguments.fill_in(made)
        return keras.tree.flatten(layer(*args, **kwargs))[0]

    kind = kind_of(run, region_shapes(shapes)[-1:], dtypes)
    # One that cannot be applied to such arrays is as before: its activation is all that is known.
    return kind if kind.name == "unknown" and "look like" in kind.reason else Kind("other")


def _kind_of_nodes(ending: Ending) -> Kind:
    last = ending.nodes[-1]
    if len(ending.nodes) > 1:
        return _kind_of_region(ending, [None])
    if type(last.operation) is _LAYERS.Softmax:
        return Kind("softmax", last.operation.axis)
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}.get(type(last.operation).__name__)
    if name and not isinstance(last.operation, keras.Layer):
        return Kind(name, last.operation.axis)
    if type(last.operation) is _LAYERS.Activation:
        shape = last.input_tensors[0].shape
        return kind_of_activation(last.operation.activation, len(shape), shape)
    return _kind_of_region(ending, [None])


def _kind_of_region(ending: Ending, activations: list[Callable | None]) -> Kind:
    """Recognises the function that a part of a graph computes.

    Args:
        ending: the part.
        activations: for each tensor that it begins with, a function that is applied before.
    """
    dtypes = [keras.backend.standardize_dtype(tensor.dtype) for tensor in ending.starts]
    if not all("float" in x or "int" in x or x == "bool" for x in dtypes):
        return Kind("other")

    def run(*values):
        values = [
            value if function is None else function(value)
            for function, value in zip(activations, values, strict=True)
        ]
        made = dict(zip(map(id, ending.starts), values, strict=True))
        for node in ending.nodes:
            args, kwargs = node.arguments.fill_in(made)
            results = keras.tree.flatten(node.operation(*args, **kwargs))
            made.update(zip(map(id, node.output_tensors), results, strict=True))
        return made[id(ending.output)]

    return kind_of(run, region_shapes([tensor.shape for tensor in ending.starts]), dtypes)


def _activation(tensor) -> Callable | None:
    """Gives the activation that the layer which made a tensor applies last; None if it has none."""
    layer = graph.maker(tensor)
    function = getattr(core(layer), "activation", None)
    if not isinstance(core(layer), _ACTIVATED) or function is keras.activations.linear:
        return None
    if not isinstance(layer, _LAYERS.TimeDistributed):
        return function
    return lambda x: keras.ops.stack([function(x[:, t]) for t in range(x.shape[1])], axis=1)
