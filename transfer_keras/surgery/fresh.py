"""Makes a layer again, with initial values that depend on a seed and the layer's place only.

Keras draws every seed that was not given from Python's `random`, when an initialiser or a
dropout layer is made, which for composite layers is when they are built. So all seeds are
taken out of a layer's config, and the layer is made and built while `random` is in a state
of our choosing. This holds for composite layers and on every backend; calling an initialiser
again does not: it returns the values that it returned before.
"""

import contextlib
import copy
import hashlib
import random

import keras

from transfer_keras.surgery import errors, graph


@contextlib.contextmanager
def random_state(*identity):
    """Python's `random` in a state made of `identity` alone; the caller's state comes back."""
    digest = hashlib.sha256(repr(identity).encode()).digest()
    before = random.getstate()
    random.seed(int.from_bytes(digest, "big"))
    try:
        yield
    finally:
        random.setstate(before)


def remake(layer: keras.Layer, *, kind: type | None = None, **changes) -> keras.Layer:
    """A new layer of the same config with other seeds; call within `random_state`.

    The seeds of initialisers are removed, so that composite layers, which hand theirs on to
    several layers inside, do not give these the same values.

    Args:
        layer: any layer that can be rebuilt from its config.
        kind: class to make; None: the layer's own.
        **changes: entries of the config to replace.

    Raises:
        NotRebuildable: if the config cannot be read or the class not be made from it.
    """
    with _named_error(layer):
        config = without_seeds(copy.deepcopy(layer.get_config()))
        if "seed" in config and graph.is_leaf(layer):
            # Dropout without a seed of its own follows PyTorch's global state on that backend.
            config["seed"] = random.randint(1, 10**9)
        return (kind or type(layer)).from_config({**config, **changes})


def renamed(layer: keras.Layer, name: str, **changes) -> keras.Layer:
    """A new layer of the very same config, seeds included, under another name.

    Args:
        layer: any layer or operation that can be rebuilt from its config.
        name: the new name; it may be the old.
        **changes: other entries of the config to replace.

    Raises:
        NotRebuildable: see `remake`.
    """
    with _named_error(layer):
        return type(layer).from_config({**layer.get_config(), "name": name, **changes})


@contextlib.contextmanager
def _named_error(layer: keras.Layer):
    try:
        yield
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise errors.NotRebuildable(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be made again from its "
            f"config: {reason}. Give the class a `get_config` that returns all arguments of its "
            "`__init__`, register classes and functions that it names with "
            "`keras.saving.register_keras_serializable`, or share the layer: "
            f"`share=['{layer.name}']`."
        ) from error


def without_seeds(config):
    """The same config, every entry named "seed" at any depth None."""
    if isinstance(config, dict):
        return {k: None if k == "seed" else without_seeds(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(without_seeds(item) for item in config)
    return config
