"""Opens the models that are nested in a network, so that their layers are layers of it."""

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
    """The same network with every functional model or `Sequential` inside it opened.

    `units` sees a nested model as one layer; here its layers become layers of the network, at
    any depth. The result shares them with the given model, weights and flags included. Only a
    layer whose name another layer has, one further out or before it, cannot be shared, since
    names are unique in a network: it is a copy with weights of its own, named
    "<nested model>_<layer>", with "_2", "_3" and so on at the end if that is taken too.

    The flag of a layer counts, not that of the model around it (Keras 3.15), so what was trained
    still is. `training` of the call of a nested model is handed on to the calls of its layers,
    which is what Keras does when it runs one: `base(x, training=False)` means as little as before,
    since `fit` overrides it, and a BatchNorm keeps its statistics only if it is frozen. A nested
    model stays closed if it is no graph (subclassed), or is called with a mask or with tensors
    whose structure or rank is not that of its inputs.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        inputs: a `KerasTensor` to build upon in place of the model's single input, with all that
            it was made by: layers below the network, or a size for inputs of shape
            (None, None, None, channels). None: the model's own inputs.

    Returns:
        An uncompiled model of the same name and outputs.

    Raises:
        NotRebuildable: if the model has no graph, or a layer that needs a copy cannot be made
            again from its config, is tied to another, or has LoRA or quantised weights.
        ShapeMismatch: if the model cannot take `inputs`.
    """
    trainable = model.trainable
    model = graph.functional(model)
    below = None if inputs is None else _below(model, inputs)
    parts = [model] if below is None else [below, model]
    flat = _Flat(parts)
    begin, tensors = (model.input, model.inputs) if below is None else (below.input, below.inputs)
    try:
        with fresh.random_state("flatten"):  # Keras draws seeds; the caller's state stays.
            for part in parts:
                tensors = flat.run(part, tensors)
    except errors.SurgeryError:
        raise
    except ValueError as error:
        if below is None:
            raise
        raise errors.ShapeMismatch(
            f"'{model.name}' cannot be built on inputs of shape {tuple(inputs.shape)}: "
            f"{' '.join(str(error).split())}. Give a tensor that all its layers can take."
        ) from error
    flat.fill()
    outputs = keras.tree.pack_sequence_as(model.output, tensors)
    return keras.Model(begin, outputs, name=model.name, trainable=trainable)


def _below(model: keras.Model, inputs) -> keras.Model:
    """The graph that makes `inputs`, as a model."""
    origins = graph.origins(inputs)
    if not origins:
        raise errors.ShapeMismatch(
            f"inputs: expected a tensor that `keras.Input` or a call of a layer on one gives. "
            f"Received: {inputs!r}"
        )
    expected = [tuple(tensor.shape) for tensor in model.inputs]
    found = tuple(inputs.shape)
    if len(expected) != 1 or not _fits(found, expected[0]):
        raise errors.ShapeMismatch(
            f"inputs: '{model.name}' takes {' and '.join(map(str, expected))}. Received: {found}. "
            "Expected a network of one input, and a tensor of the same rank, with the same size "
            "wherever the network's is fixed."
        )
    return keras.Model(origins if len(origins) > 1 else origins[0], inputs, name=model.name)


def _fits(found: tuple, expected: tuple) -> bool:
    """Sizes must be equal where one is expected; the batch may be open."""
    return len(found) == len(expected) and all(
        b in (None, a) or (a is None and axis == 0)
        for axis, (a, b) in enumerate(zip(found, expected, strict=True))
    )


class _Flat:
    """The layers of the flat network, and what became of those that could not be shared."""

    def __init__(self, parts: Sequence[keras.Model]):
        self._placed: dict[int, tuple] = {}  # old layer or operation, and the one in its place
        self._names: dict[str, tuple[int, str]] = {}  # -> identity, name of the model it is from
        for part in parts:
            inputs = [graph.maker(tensor) for tensor in part.inputs if part is parts[0]]
            calls = [node for node in graph.nodes(part) if _inside(node) is None]
            for operation in inputs + [node.operation for node in calls]:
                self._names.setdefault(operation.name, (id(operation), part.name))

    def run(self, model: keras.Model, tensors: list, training: bool | None = None) -> list:
        """The outputs of a model on other tensors, without any model left in between."""
        made = {}
        for own, given in zip(model.inputs, tensors, strict=True):
            if given.dtype != own.dtype:  # Keras casts so where a nested model begins.
                cast = graph.maker(keras.ops.cast(given, own.dtype))
                given = self._place(cast, model.name)(given)
            made[id(own)] = given
        for node in graph.nodes(model):
            args, kwargs = node.arguments.fill_in(made)
            if training is not None and isinstance(node.operation, keras.Layer):
                kwargs["training"] = training
            inner = _inside(node)
            if inner is None:
                results = self._place(node.operation, model.name)(*args, **kwargs)
            else:
                given = keras.tree.flatten((args, kwargs.get("inputs")))
                given = [tensor for tensor in given if tensor is not None]
                results = self.run(inner, given, kwargs.get("training"))
            flat = keras.tree.flatten(results)
            made.update(zip(map(id, node.output_tensors), flat, strict=True))
        return [made[id(tensor)] for tensor in model.outputs]

    def _place(self, operation, owner: str):
        """The layer or operation itself, or a copy under another name if its own is taken."""
        if id(operation) not in self._placed:
            holder, first = self._names.setdefault(operation.name, (id(operation), owner))
            new = operation
            if holder != id(operation):
                new = _copy(operation, self._free_name(operation, owner), owner, first)
            self._placed[id(operation)] = operation, new
        return self._placed[id(operation)][1]

    def _free_name(self, operation, owner: str) -> str:
        name = f"{owner}_{operation.name}"
        names = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(2)))
        name = next(name for name in names if name not in self._names)
        self._names[name] = id(operation), owner
        return name

    def fill(self) -> None:
        """Gives the copies what the originals hold; they are built by now."""
        layers = [pair for pair in self._placed.values() if isinstance(pair[0], keras.Layer)]
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
    if isinstance(operation, keras.Layer):
        check_layer(operation, owner)
    try:
        return fresh.renamed(operation, name)
    except errors.NotRebuildable as error:
        raise errors.NotRebuildable(
            f"Layer '{operation.name}' ({type(operation).__name__}) of '{owner}' has the name of a "
            f"layer of '{holder}', and cannot be made again as '{name}': "
            f"{' '.join(str(error.__cause__).split())}. Give one of them another name, or the "
            "class a `get_config` that returns all arguments of its `__init__`."
        ) from error


def _inside(node) -> keras.Model | None:
    """The graph of a nested model; None for all else, and for one that must stay closed."""
    model = node.operation
    if not isinstance(model, keras.Model) or type(model).call.__qualname__ not in _GRAPH_CALLS:
        return None
    try:
        model = graph.functional(model)
    except errors.NotRebuildable:
        return None
    args, kwargs = node.arguments.args, node.arguments.kwargs
    first = args[0] if args else kwargs.get("inputs")
    others = [v for k, v in kwargs.items() if k not in ("inputs", "training")]
    if len(args) > 1 or any(x is not None for x in keras.tree.flatten(others)):
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
