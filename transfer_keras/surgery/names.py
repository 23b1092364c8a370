"""Gives layers names that a backend takes in a graph."""

import re
import unicodedata
from collections.abc import Iterable

import keras

from transfer_keras.surgery import errors, fresh, graph
from transfer_keras.surgery.rebuild import duplicate

# TensorFlow's rule for scopes of a graph, without "/", "\\" and ">".
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_ODD = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 100


def with_plain_names(model: keras.Model) -> keras.Model:
    """Gives a network whose layers have names that a graph takes, as they are but for odd letters.

    TensorFlow runs layers of any name, but builds no training step of those with other than ASCII
    letters, digits and `_.-`. Such names become others: `conv 1` becomes `conv_1`, and a letter
    with an accent the one without.

    Args:
        model: functional.

    Returns:
        The model itself if there is nothing to do; else a copy, with weights of its own.

    Raises:
        NotRebuildable: if a layer with such a name lies inside another layer, or cannot be made
            again.
    """
    model = graph.functional(model)
    own = {id(operation) for operation in model.operations}
    for layer in graph.flat_layers(model)[1:]:
        if id(layer) not in own and not _is_plain(layer.name):
            raise errors.NotRebuildable(
                f"The layer {layer.name!r} inside another one has a name that no training step "
                "can be built of. Give it one of ASCII letters, digits and `_.-`."
            )
    names = [operation.name for operation in model.operations]
    if all(map(_is_plain, (*names, model.name))):
        return model
    plain = plain_names(names)
    return duplicate(
        model,
        lambda operation: fresh.renamed(operation, plain[operation.name]),
        name=plain_names([model.name])[model.name],
    )


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Maps names to plain ones, each to another; those that are plain stay."""
    names = list(dict.fromkeys(names))
    plain = {name: name for name in names if _is_plain(name)}
    taken = set(plain)
    for name in names:
        if name not in plain:
            bare = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
            bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
            short = stem = _ODD.sub("_", bare)[:_LONGEST].lstrip("-") or "layer"
            number = 1
            while short in taken:
                number += 1
                short = f"{stem}_{number}"
            taken.add(short)
            plain[name] = short
    return plain


def _is_plain(name: str) -> bool:
    return len(name) <= _LONGEST and bool(_PLAIN.fullmatch(name))
