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
        config = without_seeds(layer.get_config())
        if "seed" in config and graph.is_leaf(layer):
            # Dropout without a seed of its own follows PyTorch's global state on that backend.
            config["seed"] = random.randint(1, 10**9)
        return (kind or type(layer)).from_config({**config, **changes})


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
        return type(layer).from_config({**layer.get_config(), "name": name, **changes})


@contextlib.contextmanager
def _named_error(layer: keras.Layer, also: str = ""):
    """Turns an error of its block into a `NotRebuildable` that names the layer and what to do."""
    try:
        yield
    except (NotImplementedError, TypeError, ValueError) as error:
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
