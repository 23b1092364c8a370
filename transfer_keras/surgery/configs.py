"""Reads the configs of layers, with what classes leave out of theirs."""

import inspect

import keras

from transfer_keras.surgery import graph

_PLAIN = (str, int, float, bool, type(None))
# What every layer takes.
_BASE = ("name", "trainable", "dtype", "activity_regularizer", "autocast")


def config_of(layer) -> dict:
    """Gives the config from which a layer or operation can be made again.

    For Keras's own classes it is `get_config()`. Other classes may leave out arguments of their
    `__init__`, or give entries that it does not take: the former are taken from the arguments that
    Keras recorded when the layer was made, or from the attribute of the same name, and the latter
    are left out.

    Raises:
        AttributeError, NotImplementedError, TypeError, ValueError: from the class, if it cannot
            say its config.
    """
    kind = type(layer)
    if not isinstance(layer, keras.Layer) or is_of_keras(kind) or not _is_made_of_arguments(kind):
        return layer.get_config()
    own = _parameters(kind)
    known = {**graph.recorded_arguments(layer)}
    try:
        config = layer.get_config()
    except (AttributeError, TypeError, ValueError):
        # Something in it cannot be written. The arguments may be known all the same.
        config = keras.Layer.get_config(layer)
        if any(name not in known and not hasattr(layer, name) for name in own):
            raise
    for name, parameter in own.items():
        if name in config or name in _BASE:
            continue
        value = known.get(name, getattr(layer, name, parameter.default))
        if _is_argument(value) and value != parameter.default:
            config[name] = value
    accepted = _accepted(kind)
    return config if accepted is None else {k: v for k, v in config.items() if k in accepted}


def is_of_keras(kind: type) -> bool:
    """Tells whether a class is Keras's own."""
    return kind.__module__.partition(".")[0] == "keras"


def _is_made_of_arguments(kind: type) -> bool:
    """Tells whether a class is made from its config as from the arguments of its `__init__`."""
    own = getattr(kind.from_config, "__func__", None)
    return own is keras.Layer.from_config.__func__


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Gives the named parameters of a class's `__init__`."""
    odd = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(kind.__init__).parameters
    return {name: p for name, p in list(parameters.items())[1:] if p.kind not in odd}


def _accepted(kind: type) -> set[str] | None:
    """Names all entries of a config that a class takes; None if that cannot be told."""
    accepted = set(_BASE)
    for base in kind.__mro__:
        if base is keras.Layer:
            return accepted
        if is_of_keras(base):
            return None
        if "__init__" in vars(base):
            accepted |= _parameters(base).keys()
    return None


def _is_argument(value) -> bool:
    """Tells whether a value can be handed to a class as it is: plain, or a class of layers."""
    if isinstance(value, list | tuple):
        return all(map(_is_argument, value))
    if isinstance(value, type):
        return issubclass(value, keras.Layer)
    return isinstance(value, _PLAIN)
