"""Finds the heads of a network, and gives it others."""

from collections.abc import Sequence

import keras

from transfer_keras.surgery import errors, freezing, graph
from transfer_keras.surgery.activation_kinds import kind_of_activation
from transfer_keras.surgery.endings import (
    CONVOLUTIONS,
    GLOBAL_POOLING,
    RESHAPING_OPERATIONS,
    Ending,
    Probabilities,
    core,
    endings,
    find_probabilities,
    only_reshapes,
)
from transfer_keras.surgery.head_names import Classes, wanted_heads
from transfer_keras.surgery.new_heads import (
    ACTIVATION_LAYERS,
    Activation,
    Head,
    head_changes,
    rebuild_with_heads,
)
from transfer_keras.surgery.new_layers import (
    adapted_layers,
    copy_weights,
    layer_maker,
)
from transfer_keras.surgery.rebuild import check_rebuildable, flat_pairs
from transfer_keras.surgery.units import has_kernel

_LAYERS = keras.layers
# They may follow a head, since they keep its outputs apart.
_FOLLOWERS = (
    *ACTIVATION_LAYERS,
    _LAYERS.Rescaling,
    _LAYERS.SpatialDropout1D,
    _LAYERS.SpatialDropout2D,
    _LAYERS.SpatialDropout3D,
    _LAYERS.GaussianDropout,
    _LAYERS.GaussianNoise,
    # A map of classes is often brought to the size of the image.
    _LAYERS.UpSampling1D,
    _LAYERS.UpSampling2D,
    _LAYERS.UpSampling3D,
    _LAYERS.Resizing,
    _LAYERS.Cropping1D,
    _LAYERS.Cropping2D,
    _LAYERS.Cropping3D,
    _LAYERS.ZeroPadding1D,
    _LAYERS.ZeroPadding2D,
    _LAYERS.ZeroPadding3D,
)

# What gives features and no scores, unless probabilities are made of it.
_OF_FEATURES = ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish")
_FUNCTIONS_OF_FEATURES = {
    vars(module).get(name) for module in (keras.activations, keras.ops) for name in _OF_FEATURES
} - {None}
_OPERATIONS_OF_FEATURES = {name.replace("_", "") for name in _OF_FEATURES}
_LAYERS_OF_FEATURES = (_LAYERS.ReLU, _LAYERS.LeakyReLU, _LAYERS.PReLU, _LAYERS.ELU)


def swap_head(
    model: keras.Model,
    classes: Classes,
    *,
    activation: Activation | None = None,
    seed: int,
    name: str | None = None,
) -> keras.Model:
    """Copies a network with new heads; all else, flags included, stays the same.

    A head is the last weighted layer before an output, if

    - it is dense (`Dense`, `EinsumDense`) or a convolution, inside a `TimeDistributed` too, and
      does not end in ReLU or its like, as hidden layers do,
    - all paths to that output go through it, and it feeds nothing else, and
    - only activations, reshaping, dropout, constant factors and changes of a map's size follow;
      after a dense layer without an activation also BatchNorm, if no activation but softmax or
      sigmoid follows that; and global pooling, if softmax or sigmoid follows it.

    A network that gives features, such as one of `keras.applications` with `include_top=False`, has
    no head. Where features and scores look alike (a convolution and global pooling at the end, or a
    ReLU), the layer is taken for a head only if `classes` names it.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        classes: number of outputs of the new heads; or, if only some outputs get new heads, a
            mapping from names of outputs or of heads to numbers.
        activation: of the new heads, such as "softmax" or "sigmoid", in the place of the old ones',
            which may be layers of their own; "linear" for none; None: as it is.
        seed: decides on the new heads' initial values.
        name: of the new model; None: the old name.

    Returns:
        An uncompiled model that shares nothing with the given one. A layer after a head that
        reshapes to its size gets the new size; weights after a head, of BatchNorm, are fresh.

    Raises:
        NotRebuildable: if there is no head, several layers make an output together, softmax would
            be taken over one value, a new head does not fit what follows it, or a layer cannot be
            made from its config.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, "softmax", name="two"),
        ... ])
        >>> surgery.swap_head(network, 7, seed=0).output.shape
        (None, 7)
        >>> model = surgery.swap_head(network, 1, activation="sigmoid", seed=0)
        >>> model.output.shape, model.get_layer("two").activation is keras.activations.sigmoid
        ((None, 1), True)

        A network without a head gets one in plain Keras:

        >>> trunk = keras.applications.MobileNet(
        ...     include_top=False, pooling="avg", weights=None, input_shape=(32, 32, 3)
        ... )
        >>> keras.Model(trunk.input, keras.layers.Dense(5)(trunk.output)).output.shape
        (None, 5)
    """
    kind, model = graph.class_of(model), graph.functional(model)
    check_rebuildable(model)
    heads = find_heads(model, classes, activation)
    make = layer_maker(None, head_changes(heads, activation))
    new_model, pairs = rebuild_with_heads(
        model, make, heads, activation, seed, name=name, kind=kind
    )
    layers = {id(head.layer) for head in heads}
    fresh = layers | {id(node.operation) for head in heads for node in head.nodes}
    inner_pairs = flat_pairs(pairs)
    below_heads = flat_pairs([(old, new) for old, new in pairs if id(old) not in fresh])
    copied = {id(old) for old, _ in below_heads} | adapted_layers(inner_pairs)

    def again():
        return flat_pairs(rebuild_with_heads(model, make, heads, activation, seed + 1)[1])

    copy_weights(inner_pairs, copied, again)
    freezing.copy_flags(inner_pairs)
    freezing.set_trainable([new for old, new in pairs if id(old) in layers], True)
    graph.let_flags_spread(new_model)
    return new_model


def find_heads(
    model: keras.Model, classes: Classes, activation: Activation | None = None
) -> list[Head]:
    """Finds the heads that get other numbers of outputs; see `swap_head`.

    Args:
        model: functional.
        classes: a number for all, or a mapping from names to numbers.
        activation: of the new heads.

    Raises:
        ValueError: if a number is no whole one, or the activation is none.
        NotRebuildable: if there is no head, or softmax would be taken over one value.
    """
    if activation is not None:
        try:
            keras.activations.get(activation)
        except ValueError as error:
            raise ValueError(
                "activation: expected the name of a function of `keras.activations`, or a "
                f"function. Received: {activation!r}"
            ) from error
    ends = [_last_ending(model, output) for output in model.outputs]
    heads: dict[int, Head] = {}
    for index, (count, is_named) in wanted_heads(model, ends, classes).items():
        layer = graph.maker(ends[index].starts[0])
        known = heads.get(id(layer))
        if known and known.classes != count:
            raise errors.NotRebuildable(
                f"'{layer.name}' of '{model.name}' makes several outputs, so it needs one number. "
                f"Received: {known.classes} and {count}."
            )
        head = _head(model, ends[index], count, is_named)
        heads.setdefault(id(layer), _with_all_endings(model, head, ends, activation))
    for head in heads.values():
        _check_softmax_of_one(head, activation)
    return list(heads.values())


def _head(model: keras.Model, ending: Ending, count: int, is_named: bool) -> Head:
    """Makes a `Head` of what lies before an output, if it is one; this is what a head is.

    Args:
        model: functional.
        ending: all that follows the last weighted layers before the output.
        count: new number of outputs.
        is_named: whether the person says that the layer is a head. Then it may be of any class
            that tells its number of outputs, and anything may follow that takes another number.

    Raises:
        NotRebuildable: if it is none.
    """
    layer = graph.maker(ending.starts[0])
    if len(ending.starts) > 1:
        advice = " If they are the head together, make it anew by hand on `lower(model, n)`."
        raise _no_head(model, _joined(ending), advice)
    if isinstance(layer, keras.Model):
        raise errors.NotRebuildable(
            f"'{model.name}' ends in '{layer.name}', a model. Expected a layer, to give it another "
            "number of outputs. Open the network first: `flatten(model)`."
        )
    key, outputs = _outputs(layer, is_named)
    if isinstance(layer, _LAYERS.InputLayer):
        raise _no_head(model, "no weighted layer comes before it")
    if not key:
        what = f"'{layer.name}' ({_kind(layer)})"
        raise _no_head(model, f"its last weighted layer is {what}, no dense one or convolution")
    probabilities = find_probabilities(model, ending.output)
    head = Head(layer, key, outputs, count, (ending,), probabilities)
    advice = f" If '{layer.name}' is the head, name it: {{'{layer.name}': {count}}}."
    follower = None if is_named else _stranger(head)
    if follower is not None:
        what = f"after '{layer.name}' comes '{follower.name}' ({_kind(follower)})"
        raise _no_head(model, what, advice)
    if not is_named and not probabilities and (end := _end_of_features(head)):
        raise _no_head(model, f"'{end.name}' ({_kind(end)}) gives features, as a ReLU does", advice)
    shape = ending.output.shape[1:]
    if not is_named and shape and outputs not in {count, *shape} and None not in shape:
        raise errors.NotRebuildable(
            f"The new head {head.changes()} does not fit what follows it in '{model.name}': an "
            f"output of the shape {ending.output.shape} has no axis of {outputs}. Make the new "
            "head by hand on `lower(model, n)`."
        )
    return head


def _stranger(head: Head):
    """Finds the first layer or operation after a head that does not follow heads; or gives None."""
    made = {id(node) for node in head.probabilities.nodes} if head.probabilities else set()
    nodes = head.endings[0].nodes
    for place, node in enumerate(nodes):
        operation = core(node.operation)
        if id(node) in made or only_reshapes(operation) or isinstance(operation, _FOLLOWERS):
            continue
        if _pools(node):
            # Else it may as well be the pooling of features.
            follows = bool(made)
        elif isinstance(operation, _LAYERS.BatchNormalization):
            rest = [x.operation for x in nodes[place + 1 :] if id(x) not in made]
            follows = _is_linear_dense(head.layer) and not any(
                isinstance(x, ACTIVATION_LAYERS) and not only_reshapes(x) for x in rest
            )
        else:
            follows = not isinstance(operation, keras.Layer)
        if not follows:
            return operation
    return None


def _end_of_features(head: Head):
    """Finds the layer or operation at the end that is a ReLU or its like; or gives None."""
    for operation in (head.layer, *(node.operation for node in head.endings[0].nodes)):
        function = getattr(core(operation), "activation", core(operation))
        known = isinstance(function, _LAYERS_OF_FEATURES) or function in _FUNCTIONS_OF_FEATURES
        # An operation of `keras.ops` is an object, of a class that is named after the function.
        if known or type(function).__name__.lower() in _OPERATIONS_OF_FEATURES:
            return operation
    return None


def _pools(node) -> bool:
    """Tells whether a node changes other axes than the last, as global pooling does."""
    if isinstance(node.operation, keras.Layer):
        return isinstance(core(node.operation), GLOBAL_POOLING)
    if type(node.operation).__name__ in RESHAPING_OPERATIONS:
        return False
    shape = max((tensor.shape for tensor in node.input_tensors), key=len)
    return any(output.shape[:-1] != shape[:-1] for output in node.output_tensors)


def _is_linear_dense(layer: keras.Layer) -> bool:
    dense = isinstance(core(layer), _LAYERS.Dense | _LAYERS.EinsumDense)
    return dense and core(layer).activation is keras.activations.linear


def _outputs(layer, is_named: bool) -> tuple[str | None, int]:
    """Gives the entry of a layer's config that has its number of outputs, and that number."""
    inner = core(layer)
    keys = {"units": _LAYERS.Dense, "filters": CONVOLUTIONS}
    key = next((key for key, classes in keys.items() if isinstance(inner, classes)), None)
    config = inner.get_config() if key or is_named else {}
    if is_named and key is None and not isinstance(inner, _LAYERS.EinsumDense):
        key = next((key for key in keys if key in config), None)
    if key:
        return key, config[key]
    if isinstance(inner, _LAYERS.EinsumDense):
        inputs, kernel, outputs = inner.equation.replace("->", ",").split(",")
        size = inner.get_config()["output_shape"][-1]
        if size and outputs[-1] in kernel and outputs[-1] not in inputs:
            return "output_shape", size
    return None, 0


def _last_ending(model: keras.Model, output) -> Ending:
    """Gives all that follows the last weighted layers before an output."""
    *_, last = endings(model, output, lambda operation: not _is_weighted(operation))
    return last


def _is_weighted(operation) -> bool:
    """Tells whether an operation is a layer that holds a weight of rank 2 or more."""
    return isinstance(operation, keras.Layer) and has_kernel(operation)


def _with_all_endings(
    model: keras.Model, head: Head, ends: Sequence[Ending], activation: Activation | None
) -> Head:
    """Gives a head with all outputs that it makes, and checks that it feeds nothing else."""
    own = [end for end in ends if len(end.starts) == 1 and graph.maker(end.starts[0]) is head.layer]
    inside = {id(node) for end in own for node in end.nodes}
    tensors = {id(end.starts[0]) for end in own}
    tensors |= {id(tensor) for end in own for node in end.nodes for tensor in node.output_tensors}
    others = [node for node in graph.nodes(model) if id(node) not in inside]
    users = [node for node in others if any(id(x) in tensors for x in node.input_tensors)]
    calls = [node for node in others if node.operation is head.layer]
    calls = [node for node in calls if id(node.output_tensors[0]) not in tensors]
    if users or calls:
        where = f"feeds '{users[0].operation.name}'" if users else "is called before"
        raise _no_head(model, f"'{head.layer.name}' makes an output and {where} too")
    if activation is not None and len(own) > 1:
        raise errors.NotRebuildable(
            f"activation: '{head.layer.name}' of '{model.name}' makes {len(own)} outputs. Expected "
            "one. Leave `activation` out."
        )
    return Head(head.layer, head.key, head.outputs, head.classes, tuple(own), head.probabilities)


def _check_softmax_of_one(head: Head, activation: Activation | None) -> None:
    """Refuses a softmax over a single value, and what may be one."""
    if head.classes > 1:
        return
    probabilities = head.probabilities
    if activation is None and probabilities and probabilities.kind.name == "unknown":
        raise errors.NotRebuildable(
            f"'{probabilities.name}' {probabilities.kind.reason}, so it cannot be told whether a "
            f"new head '{head.layer.name}' of one output would be the constant 1. Give two outputs."
        )
    rank = len(head.endings[0].output.shape)
    if activation is not None:
        constant = "softmax" in kind_of_activation(keras.activations.get(activation), rank).name
    else:
        constant = probabilities is not None and _is_over(probabilities, head.outputs)
    if constant:
        raise errors.NotRebuildable(
            f"The new head '{head.layer.name}' of one output would end in softmax, which is the "
            "constant 1 over one value. Give activation='sigmoid', or two outputs."
        )


def _is_over(probabilities: Probabilities, size: int) -> bool:
    """Tells whether these are a softmax over an axis of this size."""
    if "softmax" not in probabilities.kind.name:
        return False
    axis = probabilities.kind.axis
    shape = probabilities.tensor.shape
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return any(shape[axis] == size for axis in (range(len(shape)) if axis is None else axes))


def _no_head(model: keras.Model, found: str, advice: str = "") -> errors.NotRebuildable:
    """Makes the error of a network without a head."""
    return errors.NotRebuildable(
        f"'{model.name}' has no head that could get another number of outputs: {found}. Expected a "
        "dense layer or a convolution that makes the output alone, and only activations and "
        "reshaping after it. Add a head: `keras.layers.Dense(classes)(model.output)`, after "
        f"`keras.layers.GlobalAveragePooling2D()` where the output is a map.{advice}"
    )


def _joined(ending: Ending) -> str:
    """Says which layers make an output together."""
    makers = list(dict.fromkeys(graph.maker(tensor) for tensor in ending.starts))
    names = [
        f"the input '{x.name}'" if isinstance(x, _LAYERS.InputLayer) else f"'{x.name}'"
        for x in makers
    ]
    join = next(
        node.operation
        for node in reversed(ending.nodes)
        if len({id(tensor) for tensor in node.input_tensors}) > 1
    )
    which = " and ".join(names) if len(names) == 2 else errors.first_few(names)
    calls = "calls of " if len(names) == 1 else ""
    return f"{calls}{which} are joined by '{join.name}' ({_kind(join)})"


def _kind(operation) -> str:
    return type(operation).__name__
