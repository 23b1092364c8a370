"""Inserts a layer, replaces one, and gives the outputs of layers inside a network."""

import inspect
import re
from collections.abc import Iterable

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.changed_copy import copy_changed, refused

_FITTING = "Give a layer whose output has the shape that the layers above it were built for."


def insert(model: keras.Model, *, after: str, layer: keras.Layer) -> keras.Model:
    """Copies a network with one more layer, which takes the output of a given layer.

    All that used the output of the named layer uses that of the new layer: every layer above it,
    and the network's outputs. If the named layer is called several times, the new layer is called
    after each call.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        after: name of the layer, or operation, whose output the new layer takes.
        layer: the new layer; it becomes part of the result as it is, weights and flags included.

    Returns:
        An uncompiled model with copies of all other layers, their weights and flags.

    Raises:
        UnknownLayer: if the network has no layer of that name.
        ShapeMismatch: if the named layer has several outputs, or a layer cannot take what the new
            one gives.
        NotRebuildable: if the name of the new layer is taken, or a layer cannot be made again from
            its config.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> network = surgery.insert(
        ...     network, after="one", layer=keras.layers.Dropout(0.5, name="drop")
        ... )
        >>> [layer.name for layer in network.layers[1:]]
        ['one', 'drop', 'two']
    """
    below = graph.calls(model, after)[0]
    if len(below.output_tensors) != 1:
        raise errors.ShapeMismatch(
            f"after: '{after}' gives {len(below.output_tensors)} tensors. Expected a layer that "
            "gives one."
        )
    _check_layer(model, layer, {operation.name for operation in graph.functional(model).operations})
    copies = set()

    def make(operation):
        new = fresh.renamed(operation, operation.name)
        if operation is below.operation:
            copies.add(id(new))
        return new

    def call(new, *args, **kwargs):
        tensor = new(*args, **kwargs)
        if id(new) not in copies:
            return tensor
        try:
            return layer(tensor)
        except Exception as error:
            raise refused(layer, tensor, error, "Give another layer.") from error

    return copy_changed(model, make, call=call, advice=lambda _: _FITTING)


def replace(model: keras.Model, name: str, layer: keras.Layer) -> keras.Model:
    """Copies a network with another layer in place of one of its layers.

    `replace(model, name, keras.layers.Identity())` removes a layer.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        name: of the layer, or operation, to replace. If it is called several times, so is the new
            layer.
        layer: the new layer; it becomes part of the result as it is, weights and flags included.
            It may have the name of the layer that it replaces.

    Returns:
        An uncompiled model with copies of all other layers, their weights and flags.

    Raises:
        UnknownLayer: if the network has no layer of that name.
        ShapeMismatch: if the new layer cannot take the old one's input, or a layer above cannot
            take what it gives.
        NotRebuildable: if the name of the new layer is taken, or a layer cannot be made again from
            its config.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> network = surgery.replace(network, "two", keras.layers.Dense(5, name="head"))
        >>> network.output.shape
        (None, 5)
    """
    old = graph.calls(model, name)[0].operation
    _check_layer(model, layer, {x.name for x in graph.functional(model).operations if x is not old})

    # Keras notes the mask of an input in the call. It finds that of the new layer by itself.
    noted, masks = graph.noted_masks(model), {}

    def make(operation):
        new = layer if operation is old else fresh.renamed(operation, operation.name)
        masks[id(new)] = noted.get(id(operation), ()) if new is not layer else ()
        return new

    def call(new, *args, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if key not in masks[id(new)]}
        return new(*args, **(_taken(layer, kwargs) if new is layer else kwargs))

    return copy_changed(model, make, call=call, advice=lambda _: _FITTING, own={id(layer)})


def outputs(model: keras.Model, names: Iterable[str], *, as_list: bool = False) -> keras.Model:
    """Makes a model that gives the outputs of layers inside a network, and shares its layers.

    Args:
        model: a functional model or a built `Sequential`.
        names: of layers or operations. Of a layer that is called several times, "name:1" is the
            output of its first call, "name:2" that of its second, and so on.
        as_list: gives a list in the order of the names, in place of a dictionary.

    Returns:
        A model from the given model's inputs to {name: output}. A layer of several outputs gives
        the list of them.

    Raises:
        UnknownLayer: if the network has no layer of a name, or fewer calls of it.
        NotRebuildable: if the model has no graph.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> features = surgery.outputs(network, ["one", "two"])
        >>> {name: x.shape for name, x in features(np.zeros((4, 8))).items()} == {
        ...     "one": (4, 6), "two": (4, 3)
        ... }
        True
    """
    model = graph.functional(model)
    if isinstance(names, str):
        raise errors.UnknownLayer(f"names: expected a list of names. Received: {names!r}")
    found = {name: _output(model, name) for name in names}
    if not found:
        raise errors.UnknownLayer("names: expected one name or more. Received: none")
    tensors = list(found.values()) if as_list else found
    return keras.Model(model.input, tensors, name=f"{model.name}_outputs")


def _output(model: keras.Model, name: str):
    """Gives the output of a layer, or a list of its outputs."""
    known = {node.operation.name for node in graph.nodes(model)}
    numbered = re.fullmatch(r"(.+):(\d+)", str(name)) if name not in known else None
    calls = graph.calls(model, numbered[1] if numbered else name)
    place = int(numbered[2]) if numbered else 1
    if not 1 <= place <= len(calls) or (len(calls) > 1 and not numbered):
        name = numbered[1] if numbered else name
        choices = [f"'{name}:{number}'" for number in range(1, len(calls) + 1)]
        raise errors.UnknownLayer(
            f"'{name}' is called {len(calls)} times in '{model.name}'. Expected "
            f"{' or '.join(choices)}, counted in the order of the graph."
        )
    tensors = list(calls[place - 1].output_tensors)
    return tensors[0] if len(tensors) == 1 else tensors


def _taken(layer: keras.Layer, kwargs: dict) -> dict:
    """Leaves out what Keras noted of the old layer's call and the new layer does not take."""
    takes_mask = "mask" in inspect.signature(layer.call).parameters
    return {
        key: value
        for key, value in kwargs.items()
        if value is not None and (takes_mask or key != "mask")
    }


def _check_layer(model: keras.Model, layer: keras.Layer, taken: set[str]) -> None:
    """Checks that something is a layer, under a name that no layer of the network has."""
    if not isinstance(layer, keras.Layer):
        raise errors.NotRebuildable(
            f"layer: expected a Keras layer. Received: {layer!r} ({type(layer).__name__})"
        )
    if layer.name in taken:
        raise errors.NotRebuildable(
            f"layer: '{model.name}' already has a layer '{layer.name}', and names are unique in a "
            "network. Give the new layer another name."
        )
