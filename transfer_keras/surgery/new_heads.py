"""Rebuilds a network with new heads: their sizes, their activations, and what follows them."""

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.endings import (
    Ending,
    Probabilities,
    core,
    core_changes,
    only_reshapes,
)
from transfer_keras.surgery.logits import pass_on
from transfer_keras.surgery.rebuild import Pairs, rebuild

_LAYERS = keras.layers
Activation = str | Callable
ACTIVATION_LAYERS = (
    _LAYERS.Activation,
    _LAYERS.Softmax,
    _LAYERS.ReLU,
    _LAYERS.LeakyReLU,
    _LAYERS.PReLU,
    _LAYERS.ELU,
)
# As the classes of Keras's operations are named, in lower case.
_ACTIVATION_NAMES = {name.replace("_", "") for name in vars(keras.activations)}


@dataclasses.dataclass(frozen=True)
class Head:
    """A layer to be replaced by one with another number of outputs.

    Attributes:
        layer: the layer, or the wrapper that it is in.
        key: entry of the layer's config that has its number of outputs.
        outputs: that number.
        classes: the new number.
        endings: what lies between it and each output of the network that it makes.
        probabilities: the softmax or sigmoid at the first of these outputs.
    """

    layer: keras.Layer
    key: str
    outputs: int
    classes: int
    endings: tuple[Ending, ...]
    probabilities: Probabilities | None

    @property
    def nodes(self) -> list:
        """Lists the nodes that follow."""
        return [node for ending in self.endings for node in ending.nodes]

    def changes(self) -> dict:
        """Gives the entries of the layer's config for the new number."""
        if self.key != "output_shape":
            return {self.key: self.classes}
        return {self.key: (*core(self.layer).get_config()[self.key][:-1], self.classes)}


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the activation of a new head goes; with neither of both, into the head's own config.

    Attributes:
        replaced: the nodes that it replaces.
        after: the layer or operation after which it is put.
    """

    replaced: Sequence = ()
    after: object = None


def head_changes(heads: Sequence[Head], activation: Activation | None) -> dict[int, dict]:
    """Gives the changes of the configs of heads: identity of a layer -> entries to replace."""
    changes = {}
    for head in heads:
        entries = head.changes() if head.classes != head.outputs else {}
        if activation is not None:
            place = _place(head)
            if place == _Place():
                _check_activation(head)
                entries["activation"] = keras.activations.get(activation)
            elif head.probabilities and head.probabilities.layer:
                entries["activation"] = "linear"
        if entries:
            changes[id(head.layer)] = fresh.without_seeds(core_changes(head.layer, **entries))
    return changes


def rebuild_with_heads(
    donor: keras.Model,
    make: Callable,
    heads: Sequence[Head],
    activation: Activation | None,
    seed: int,
    **options,
) -> tuple[keras.Model, Pairs]:
    """Rebuilds a network with new heads; what follows them gets their size.

    Args:
        donor: functional.
        make: function from a layer or operation to the new one, heads included.
        heads: from `find_heads`.
        activation: of the new heads; None: as it is.
        seed: decides on initial values.
        **options: further arguments of `rebuild`.

    Returns:
        (new model, [(old layer, new layer)]), without the layers that an activation replaces.

    Raises:
        NotRebuildable: if a new head does not fit what follows it.
    """
    seed = operator.index(seed)
    if not heads:
        return rebuild(donor, make, seed=seed, **options)
    change = _Change(donor, make, heads, activation)
    what = " and ".join(str(head.changes()) for head in heads)
    misfit = f"The new head {what} does not fit what follows it in '{donor.name}': "
    advice = ". Make the new head by hand on `lower(model, n)`."
    try:
        model, pairs = rebuild(donor, change.make, seed=seed, call=change.call, **options)
    except errors.SurgeryError:
        raise
    except (TypeError, ValueError) as error:
        raise errors.NotRebuildable(misfit + errors.one_line(error) + advice) from error
    for old, new in zip(donor.outputs, model.outputs, strict=True):
        own = [head for head in heads for ending in head.endings if ending.output is old]
        if not _corresponds(old.shape, new.shape, own[0] if own else None):
            raise errors.NotRebuildable(
                f"{misfit}an output of the shape {old.shape} came out as {new.shape}{advice}"
            )
    return model, pairs


def _check_activation(head: Head) -> None:
    """Refuses to replace an activation that has weights."""
    old = core(head.layer).activation
    if isinstance(old, keras.Layer) and old.variables:
        raise errors.NotRebuildable(
            f"activation: '{head.layer.name}' has '{old.name}' ({type(old).__name__}) as its "
            "activation, which has weights. Expected one without. Leave `activation` out."
        )


class _Change:
    """Makes and calls the layers of a network with new heads.

    Args:
        donor, make, heads, activation: see `rebuild_with_heads`.
    """

    def __init__(self, donor, make, heads, activation):
        self._make = make
        self._activation = None if activation is None else keras.activations.get(activation)
        self._olds: dict[int, object] = {}
        self._heads = {id(node.operation): (head, node) for head in heads for node in head.nodes}
        # Identity of a layer or operation -> the node of which the new activation takes the place.
        self._replaced: dict[int, object] = {}
        self._followed: set[int] = set()
        self._names = {operation.name for operation in donor.operations}
        if activation is not None:
            for head in heads:
                place = _place(head)
                for node in place.replaced:
                    self._replaced[id(node.operation)] = None
                if place.replaced:
                    self._replaced[id(place.replaced[-1].operation)] = place.replaced[-1]
                if place.after is not None:
                    self._followed.add(id(place.after))
            self._check_calls(donor)

    def _check_calls(self, donor) -> None:
        """Refuses to replace an activation that is called inside the network too."""
        inside = {id(node) for _, node in self._heads.values()}
        for node in graph.nodes(donor):
            if id(node.operation) in self._replaced and id(node) not in inside:
                raise errors.NotRebuildable(
                    f"activation: '{node.operation.name}' of '{donor.name}' is called more than "
                    "once, so another activation cannot take its place. Expected one that is the "
                    "head's alone. Leave `activation` out."
                )

    def make(self, operation):
        """Makes a new layer or operation."""
        if id(operation) in self._replaced:
            new = _LAYERS.Identity(name=operation.name)  # It is never called.
        else:
            new = self._make(operation)
        self._olds[id(new)] = operation
        return new

    def call(self, new, *args, **kwargs):
        """Calls a new layer or operation, or what takes its place."""
        old = self._olds[id(new)]
        if id(old) in self._replaced:
            node = self._replaced[id(old)]
            if node is None:
                return pass_on(args, kwargs, None)
            tensor = pass_on(args, kwargs, node.output_tensors[0].dtype)
            return self._activate(tensor, old.name)
        if id(old) in self._heads:
            new = self._fitted(new, old, pass_on(args, kwargs, None))
        result = new(*args, **kwargs)
        if id(old) in self._followed:
            result = self._activate(result, self._free_name(f"{old.name}_activation"))
        return result

    def _activate(self, tensor, name: str):
        if self._activation is keras.activations.linear:
            return tensor
        return _LAYERS.Activation(self._activation, name=name, dtype=tensor.dtype)(tensor)

    def _free_name(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _fitted(self, new, old, tensor):
        """Gives a layer or operation that reshapes the target that the new size needs."""
        is_layer = isinstance(old, _LAYERS.Reshape)
        if not is_layer and type(old).__name__ != "Reshape":
            return new
        head, node = self._heads[id(old)]
        before = node.input_tensors[0].shape
        if is_layer:
            new.target_shape = _fitted_target(old.target_shape, before, tensor.shape, head)
            return new
        batch, *target = old.newshape
        target = (batch, *_fitted_target(tuple(target), before, tensor.shape, head))
        # The config of an operation holds what it was made with.
        return fresh.renamed(new, new.name, newshape=target)


def _place(head: Head) -> _Place:
    """Finds where the activation of a new head goes."""
    if head.probabilities and head.probabilities.nodes:
        return _Place(tuple(head.probabilities.nodes))
    nodes = [node for node in head.endings[0].nodes if not only_reshapes(node.operation)]
    if not nodes or head.probabilities:
        is_own = "activation" in core(head.layer).get_config()
        return _Place() if is_own else _Place(after=head.layer)
    last = nodes[-1].operation
    if isinstance(last, ACTIVATION_LAYERS) or type(last).__name__.lower() in _ACTIVATION_NAMES:
        return _Place((nodes[-1],))
    return _Place(after=last)


def _fitted_target(target: tuple, before: tuple, now: tuple, head: Head) -> tuple:
    """Gives the target of a reshaping for inputs of another size.

    The axis that changed is the first or the last one, so in the order of the values its factor
    lies in the first or the last entry of the target. If it is the only axis of more than one
    value, it can be any entry.

    Args:
        target: the sizes asked for, without the batch.
        before: shape of the old inputs.
        now: shape of the new ones.
        head: from which the size comes.
    """
    changed = [axis for axis in range(1, len(before)) if before[axis] != now[axis]]
    if len(changed) != 1 or len(before) != len(now):
        return target
    others = [size for axis, size in enumerate(before) if axis not in (0, changed[0])]
    if all(size == 1 for size in others) and list(target).count(head.outputs) == 1:
        place = list(target).index(head.outputs)
    elif changed[0] == len(before) - 1:
        place = len(target) - 1
    elif changed[0] == 1:
        place = 0
    else:
        return target
    size = target[place]
    if not isinstance(size, int) or size < 1 or size % head.outputs:
        return target
    return (*target[:place], size // head.outputs * head.classes, *target[place + 1 :])


def _corresponds(old: tuple, new: tuple, head: Head | None) -> bool:
    """Tells whether an output has the shape that its new head should give it."""
    if head is None:
        return old == new
    sizes = [math.prod(size for size in shape[1:] if size) for shape in (old, new)]
    has_new_size = sizes[1] * head.outputs == sizes[0] * head.classes
    # The size can lie in an axis that is open.
    return len(old) == len(new) and (has_new_size or (None in old[1:] and old == new))
