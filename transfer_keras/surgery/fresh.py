"""Makes a layer again, with initial values that depend on a seed and the layer's place only.

Keras draws every seed that was not given from Python's `random`, when an initialiser or a
dropout layer is made; for composite layers that is when they are built. So all seeds are
removed from a layer's config, and the layer is made and built while `random` is in a state
of our choosing. This works for composite layers and on every backend. Calling an initialiser
again would not work: it returns the values that it returned before.
"""

import contextlib
import hashlib
import random

import keras

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.configs import config_of

# What classes raise that cannot write their config, or be made from it.
UNREADABLE = (AttributeError, NotImplementedError, TypeError, ValueError)


@contextlib.contextmanager
def random_state(*identity):
    """Sets Python's `random` to a state made of `identity` alone, and restores the caller's."""
    digest = hashlib.sha256(repr(identity).encode()).digest()
    before = random.getstate()
    random.seed(int.from_bytes(digest, "big"))
    try:
        yield
    finally:
        random.setstate(before)


def remake(
    layer: keras.Layer, /, *, kind: type | None = None, may_share: bool = False, **changes
) -> keras.Layer:
    """Makes a new layer of the same config with other seeds; call it within `random_state`.

    The seeds of initialisers are removed. Else composite layers, which hand theirs on to several
    layers inside, would give these the same values.

    Args:
        layer: any layer that can be rebuilt from its config.
        kind: the class of the new layer; None: the layer's own.
        may_share: whether the caller has an argument `share`, which the message then names.
        **changes: entries of the config to replace.

    Raises:
        NotRebuildable: if the config cannot be read, or the layer cannot be made from it.
    """
    with _named_error(
        layer, f"; or share the layer: `share=['{layer.name}']`" if may_share else ""
    ):
        config = without_seeds(config_of(layer))
        if "seed" in config and graph.is_leaf(layer):
            # Dropout without a seed of its own follows PyTorch's global state on that backend.
            config["seed"] = random.randint(1, 10**9)
        new = _made(kind or type(layer), {**config, **changes}, layer)
    return _of_parts(layer, remake) if new is None else new


def renamed(layer: keras.Layer, name: str, /, **changes) -> keras.Layer:
    """Makes a new layer of the very same config, seeds included, under another name.

    Args:
        layer: any layer or operation that can be rebuilt from its config.
        name: the new name; it may be the old.
        **changes: other entries of the config to replace.

    Raises:
        NotRebuildable: if the config cannot be read, or the layer cannot be made from it.
    """
    with _named_error(layer):
        new = _made(type(layer), {**config_of(layer), "name": name, **changes}, layer)
    if new is None:
        return _of_parts(layer, lambda inner: renamed(inner, inner.name), name)
    return new


def _made(kind: type, config: dict, layer: keras.Layer) -> keras.Layer | None:
    """Makes a layer of its config; None for a nested network whose config does not restore it."""
    if not graph.is_graph(layer):
        new = kind.from_config(config)
        if "name" in config:
            # Some classes add to the name that they are given (KerasHub's MobileNet).
            new.name = config["name"]
        return new
    try:
        new = kind.from_config(config)
    except UNREADABLE:
        return None
    shapes = [[tuple(weight.shape) for weight in model.weights] for model in (layer, new)]
    return new if shapes[0] == shapes[1] else None


def _of_parts(model: keras.Model, make, name: str | None = None) -> keras.Model:
    """Makes a nested network again from its layers, as a plain functional model.

    Raises:
        NotRebuildable: if the layers inside would come in another order, by which they are matched.
    """
    copy = keras.models.clone_model(model, clone_function=make)
    copy = keras.Model(copy.input, copy.output, name=name or model.name)
    if _order(model) != _order(copy):
        raise errors.NotRebuildable(
            f"The nested model '{model.name}' ({type(model).__name__}) cannot be made again from "
            "its config. Open it first, so that its layers are made one by one: "
            "`surgery.flatten(model)`."
        )
    return copy


def _order(model: keras.Model) -> list[tuple]:
    """Lists the kinds of the layers inside a model, with the names of those that are its own."""
    inputs = keras.layers.InputLayer
    own = {id(layer): layer.name for layer in model.layers if not isinstance(layer, inputs)}
    return [(type(inner), own.get(id(inner))) for inner in graph.flat_layers(model)[1:]]


@contextlib.contextmanager
def _named_error(layer: keras.Layer, also: str = ""):
    """Turns an error of its block into a `NotRebuildable` that names the layer and what to do."""
    try:
        yield
    except UNREADABLE as error:
        raise errors.NotRebuildable(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be made again from its "
            f"config: {errors.one_line(error)}. Give the class a `get_config` that returns all "
            "arguments of its `__init__`, and register classes and functions that it names with "
            f"`keras.saving.register_keras_serializable`{also}."
        ) from error


def without_seeds(config):
    """Copies a config with every entry named "seed", at any depth, set to None.

    Lists and dictionaries that Keras or TensorFlow tracks become plain ones. What lies in them is
    not copied: layers may have objects in their configs that cannot be.
    """
    if isinstance(config, dict):
        return {k: None if k == "seed" else without_seeds(v) for k, v in config.items()}
    if isinstance(config, list):
        return [without_seeds(item) for item in config]
    if type(config) is tuple:
        return tuple(without_seeds(item) for item in config)
    return config
