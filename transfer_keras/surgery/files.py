"""Writes and loads `.keras` files that also keep the flags of layers inside composite layers."""

import json
import pathlib
import zipfile
from collections.abc import Mapping

import keras

from transfer_keras.surgery import graph
from transfer_keras.surgery.freezing import set_flag

# Name of the file inside the `.keras` archive; it lists the flag of each layer.
_MEMBER = "surgery_flags.json"


def save(model: keras.Model, path: str | pathlib.Path) -> None:
    """Writes a `.keras` file that any Keras can load, with the flag of every inner layer in it.

    Keras's own files keep the flags of the network's layers but not those inside a composite
    layer, which `transplant` with `expand` sets.

    Args:
        model: any model that Keras can save.
        path: a file name that ends in `.keras`.
    """
    path = pathlib.Path(path)
    model.save(path)
    flags = [layer.trainable for layer in graph.flat_layers(model)]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_MEMBER, json.dumps(flags))


def load(path: str | pathlib.Path, *, custom_objects: Mapping | None = None) -> keras.Model:
    """Loads a `.keras` file, uncompiled, with the flags of all layers if `save` wrote it.

    Keras refuses a file that holds code (a Lambda); such a file is never loaded with
    `safe_mode=False`.

    Args:
        path: the file.
        custom_objects: name -> class, for classes that are not registered.

    Raises:
        ValueError: from Keras, if it is no such file or holds code.
    """
    path = pathlib.Path(path)
    model = keras.saving.load_model(path, custom_objects=custom_objects, compile=False)
    with zipfile.ZipFile(path) as archive:
        if _MEMBER not in archive.namelist():
            return model
        flags = json.loads(archive.read(_MEMBER))
    for layer, flag in zip(graph.flat_layers(model), flags, strict=True):
        set_flag(layer, flag)
    graph.let_flags_spread(model)
    return model
