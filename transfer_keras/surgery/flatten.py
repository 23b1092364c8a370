"""Opens the models that are nested in a network, so that their layers become layers of it."""

import itertools
from collections.abc import Sequence

import keras

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.rebuild import (
    check_layer,
    copy_own_state,
    copy_seed_states,
    flat_pairs,
)

_GRAPH_CALLS = ("Functional.call", "Sequential.call")


def flatten(model: keras.Model, *, inputs: keras.KerasTensor | None = None) -> keras.Model:
    """Opens every functional model or `Sequential` inside a network.

    `units` takes a nested model for one layer. In the result the layers of nested models, at any
    depth, are layers of the network. They are shared with the given model, weights and flags
    included. Names are unique in a network, so a layer whose name is taken by a layer further out
    or before it cannot be shared: it is a copy with weights of its own, named
    "<nested model>_<layer>", with "_2", "_3" and so on at the end if that is taken too.

    What was trained is trained in the result, since the flag of a layer counts and not that of the
    model around it (Keras 3.15). `training` of the call of a nested model is handed on to the calls
    of its layers, as Keras does when it runs one. So `base(x, training=False)` has as little effect
    as before: `fit` overrides it, and a BatchNorm keeps its statistics only if it is frozen. A
    nested model stays closed if it is no graph (subclassed), or is called with a mask or with
    tensors whose structure or rank is not that of its inputs.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        inputs: a `KerasTensor` to build upon in place of the model's single input. The layers that
            made it become layers of the result: such as layers below the network, or an input
            with a size for a network of shape (None, None, None, channels). None: the model's own
            inputs.

    Returns:
        An uncompiled model of the same name and outputs.

    Raises:
        NotRebuildable: if the model has no graph, or a layer that needs a copy cannot be made
            again from its config, is tied to another, or has LoRA or quantised weights.
        ShapeMismatch: if the model cannot take `inputs`.

    Example:
        >>> trunk = keras.Sequential(
        ...     [keras.Input((8,)), keras.layers.Dense(6, name="one")], name="trunk"
        ... )
        >>> network = keras.Sequential(
        ...     [keras.Input((8,)), trunk, keras.layers.Dense(3, name="two")]
        ... )
        >>> [unit.name for unit in surgery.units(network)]
        ['trunk', 'two']
        >>> [unit.name for unit in surgery.units(surgery.flatten(network))]
        ['one', 'two']
    """
    kind = graph.class_of(model)
    trainable = model.trainable
    model = graph.functional(model)
    below = None if inputs is None else _model_below(model, inputs)
    stages = [model] if below is None else [below, model]
    flat = _FlatNetwork(stages)
    begin, tensors = (model.input, model.inputs) if below is None else (below.input, below.inputs)
    try:
        # Keras draws seeds of layers that are made again; the caller's random state must stay.
        with fresh.random_state("flatten"):
            for stage in stages:
                tensors = flat.run(stage, tensors)
    except errors.SurgeryError:
        raise
    except ValueError as error:
        if below is None:
            raise
        raise errors.ShapeMismatch(
            f"'{model.name}' cannot be built on inputs of shape {tuple(inputs.shape)}: "
            f"{errors.one_line(error)}. Give a tensor that all its layers can take."
        ) from error
    flat.copy_state()
    outputs = keras.tree.pack_sequence_as(model.output, tensors)
    # The flags of the layers are as they were; that of the model would say nothing if it were True.
    options = {} if trainable else {"trainable": False}
    return kind(begin, outputs, name=model.name, **options)


def _model_below(model: keras.Model, inputs) -> keras.Model:
    """Makes a model of the graph that `inputs` come from, and checks that `model` can follow."""
    origins = graph.origins(inputs)
    if not origins:
        raise errors.ShapeMismatch(
            f"inputs: expected a tensor that `keras.Input` or a call of a layer on one gives. "
            f"Received: {inputs!r}"
        )
    expected = [tuple(tensor.shape) for tensor in model.inputs]
    shape = tuple(inputs.shape)
    if len(expected) != 1 or not _fits(shape, expected[0]):
        raise errors.ShapeMismatch(
            f"inputs: '{model.name}' takes {' and '.join(map(str, expected))}. Received: {shape}. "
            "Expected a network of one input, and a tensor of the same rank, with the same size "
            "wherever the network's is fixed."
        )
    return keras.Model(origins if len(origins) > 1 else origins[0], inputs, name=model.name)


def _fits(shape: tuple, expected: tuple) -> bool:
    """Tells whether sizes are equal wherever one is expected; the batch may be open."""
    return len(shape) == len(expected) and all(
        b in (None, a) or (a is None and axis == 0)
        for axis, (a, b) in enumerate(zip(shape, expected, strict=True))
    )


class _FlatNetwork:
    """The layers of the flat network, and the copies of those that could not be shared.

    Args:
        stages: the models that are run one after the other. Layers that are not nested in any of
            them keep their names.
    """

    def __init__(self, stages: Sequence[keras.Model]):
        # Identity of an old layer or operation -> itself, and the one used in the flat network.
        self._replacements: dict[int, tuple] = {}
        # Name -> identity of the layer or operation that has it, and the name of its model.
        self._names: dict[str, tuple[int, str]] = {}
        for stage in stages:
            inputs = [graph.maker(tensor) for tensor in stage.inputs if stage is stages[0]]
            calls = [node for node in graph.nodes(stage) if _nested_model(node) is None]
            for operation in inputs + [node.operation for node in calls]:
                self._names.setdefault(operation.name, (id(operation), stage.name))

    def run(self, model: keras.Model, tensors: list, training: bool | None = None) -> list:
        """Calls the layers of a model on other tensors, nested models opened.

        Args:
            model: functional.
            tensors: one for each of its inputs.
            training: the argument of the call of a nested model; None: it was not given.

        Returns:
            One tensor for each of the model's outputs.
        """
        # Identity of a tensor of the old graph -> the tensor of the new one.
        new_tensors = {}
        for own, given in zip(model.inputs, tensors, strict=True):
            # Keras casts in this way where a nested model begins.
            if given.dtype != own.dtype:
                cast = graph.maker(keras.ops.cast(given, own.dtype))
                given = self._replacement(cast, model.name)(given)
            new_tensors[id(own)] = given
        for node in graph.nodes(model):
            args, kwargs = node.arguments.fill_in(new_tensors)
            if training is not None and isinstance(node.operation, keras.Layer):
                kwargs["training"] = training
            nested = _nested_model(node)
            if nested is None:
                results = self._replacement(node.operation, model.name)(*args, **kwargs)
            else:
                given = keras.tree.flatten((args, kwargs.get("inputs")))
                given = [tensor for tensor in given if tensor is not None]
                results = self.run(nested, given, kwargs.get("training"))
            flat = keras.tree.flatten(results)
            new_tensors.update(zip(map(id, node.output_tensors), flat, strict=True))
        return [new_tensors[id(tensor)] for tensor in model.outputs]

    def _replacement(self, operation, owner: str):
        """Gives the layer or operation itself, or a copy under another name if its own is taken."""
        if id(operation) not in self._replacements:
            holder, first = self._names.setdefault(operation.name, (id(operation), owner))
            new = operation
            if holder != id(operation):
                new = _copy(operation, self._free_name(operation, owner), owner, first)
            self._replacements[id(operation)] = operation, new
        return self._replacements[id(operation)][1]

    def _free_name(self, operation, owner: str) -> str:
        """Reserves a name for the copy of a layer or operation."""
        name = f"{owner}_{operation.name}"
        names = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(2)))
        name = next(name for name in names if name not in self._names)
        self._names[name] = id(operation), owner
        return name

    def copy_state(self) -> None:
        """Copies weights, flags and seed states to the copies, which are built by now."""
        layers = [pair for pair in self._replacements.values() if isinstance(pair[0], keras.Layer)]
        holders: dict[int, tuple] = {}
        for old, new in layers:
            for weight in old.weights:
                other, other_new = holders.setdefault(id(weight), (old, new))
                if other is not old and (old is not new or other is not other_new):
                    raise errors.NotRebuildable(
                        f"Layers '{other.name}' and '{old.name}' are tied: both hold "
                        f"{weight.path}. One of them has the name of another layer, so it needs a "
                        "copy, which would not be tied. Give both names that no other layer has."
                    )
        for old, new in layers:
            if old is new:
                continue
            pieces = flat_pairs([(old, new)])
            for source, target in pieces:
                copy_own_state(source, target)
            copy_seed_states(old, new)
            freezing.copy_flags(pieces)


def _copy(operation, name: str, owner: str, holder: str):
    """Makes a layer or operation again under another name."""
    if isinstance(operation, keras.Layer):
        check_layer(operation, owner)
    try:
        return fresh.renamed(operation, name)
    except errors.NotRebuildable as error:
        raise errors.NotRebuildable(
            f"Layer '{operation.name}' ({type(operation).__name__}) of '{owner}' has the name of a "
            f"layer of '{holder}', and cannot be made again as '{name}': "
            f"{errors.one_line(error.__cause__)}. Give one of them another name, or the "
            "class a `get_config` that returns all arguments of its `__init__`."
        ) from error


def _nested_model(node) -> keras.Model | None:
    """Gives the nested model that a node calls; None for other nodes, and if it stays closed."""
    model = node.operation
    if not isinstance(model, keras.Model) or type(model).call.__qualname__ not in _GRAPH_CALLS:
        return None
    try:
        model = graph.functional(model)
    except errors.NotRebuildable:
        return None
    args, kwargs = node.arguments.args, node.arguments.kwargs
    first = args[0] if args else kwargs.get("inputs")
    further = [v for k, v in kwargs.items() if k not in ("inputs", "training")]
    if len(args) > 1 or any(x is not None for x in keras.tree.flatten(further)):
        return None
    given = keras.tree.flatten(first)
    if not all(isinstance(tensor, keras.KerasTensor) for tensor in given):
        return None
    if len(given) > 1:
        try:
            keras.tree.assert_same_structure(first, model.input)
        except ValueError:
            return None
    ranks = [len(tensor.shape) for tensor in given]
    return model if ranks == [len(tensor.shape) for tensor in model.inputs] else None
