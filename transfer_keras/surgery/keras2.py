"""Reads the networks that Keras 2 saved, in HDF5 (.h5) and in .keras files."""

import json
import pathlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping

import h5py
import keras
import numpy as np

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.keras2_graph import Part, build

# Names of weights of one shape that must not be mixed up; others differ in shape or layer.
_STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
_WEIGHTS = "model.weights.h5"


def load_h5(path: pathlib.Path, custom_objects: Mapping) -> keras.Model:
    """Makes the network of an HDF5 file of Keras 2, with its weights and flags.

    The weights of each layer are taken in the order of the file, which is that of Keras 2: the
    trained ones of all layers inside, then the others.

    Raises:
        UnreadableFile: if a layer or function is unknown or is code, or if the weights in the file
            are not those of the layers.
    """
    with h5py.File(path) as file:
        part = build(json.loads(_text(file.attrs["model_config"])), custom_objects)
        _check_model(part)
        group = _member(file, "model_weights")
        if "top_level_model_weights" in group and _names(
            _member(group, "top_level_model_weights"), "weight_names"
        ):
            raise errors.UnreadableFile(
                f"'{part.name}' has weights of its own, outside its layers. Expected none."
            )
        stored = {name: _member(group, name) for name in _names(group, "layer_names")}
        for inner in part.inside or ():
            if inner.name not in stored:
                raise errors.UnreadableFile(f"The weights of layer '{inner.name}' are missing.")
            _assign(inner, stored[inner.name])
    return part.layer


def load_keras(path: pathlib.Path, custom_objects: Mapping) -> keras.Model:
    """Makes the network of a `.keras` file of Keras 2, with its weights and flags.

    Raises:
        UnreadableFile: see `load_h5`.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        part = build(json.loads(archive.read("config.json")), custom_objects)
        _check_model(part)
        _check_order(part)
        weights = pathlib.Path(archive.extract(_WEIGHTS, folder))
        # Keras finds the weights by the kinds of the layers and their order, as Keras 2 did.
        try:
            part.layer.load_weights(weights)
        except (KeyError, TypeError, ValueError) as error:
            raise errors.UnreadableFile(
                f"The weights do not fit the layers: {errors.one_line(error)[:300]}"
            ) from error
        with h5py.File(weights) as file:
            stored = sum(1 for _ in _datasets(file))
        expected = len({id(weight) for weight in part.layer.weights})
        if stored != expected:
            raise errors.UnreadableFile(
                f"{stored} weights are in the file. Expected {expected}, of the layers it tells of."
            )
    return part.layer


def is_keras2(version: str | bytes | None) -> bool:
    """Tells whether a file's version of Keras is below 3; one without a version is of Keras 1."""
    return not version or int(_text(version).partition(".")[0]) < 3


def _check_model(part: Part) -> None:
    if part.inside is None:
        raise errors.UnreadableFile(
            f"The file holds a {type(part.layer).__name__}. Expected a functional model or a "
            "Sequential."
        )


def _check_order(part: Part) -> None:
    """Checks that a model has its layers in the order of the file, by which weights are found."""
    if part.inside is None:
        return
    expected = [inner.layer.name for inner in part.inside]
    found = [x.name for x in part.layer.layers if not isinstance(x, keras.layers.InputLayer)]
    if expected != found:
        raise errors.UnreadableFile(
            f"The layers of '{part.name}' are in another order with this Keras, so that the file "
            "does not tell whose weights are whose. Save it with Keras 2 as .h5."
        )
    for inner in part.inside:
        _check_order(inner)


def _assign(part: Part, group: h5py.Group) -> None:
    """Sets the weights of one layer of the network to those of its group in the file."""
    trained, others = _weights(part)
    weights = trained + others
    names = _names(group, "weight_names")
    if len(names) != len(weights):
        raise errors.UnreadableFile(
            f"Layer '{part.name}': {len(names)} weights are in the file. Expected {len(weights)}: "
            f"{errors.first_few([w.path for w in weights])}."
        )
    for name, weight in zip(names, weights, strict=True):
        value = np.asarray(_member(group, name))
        kind = name.rpartition("/")[2].partition(":")[0]
        mixed_up = kind in _STATISTICS and weight.name in _STATISTICS and kind != weight.name
        if value.shape != tuple(weight.shape) or mixed_up:
            raise errors.UnreadableFile(
                f"Layer '{part.name}': '{name}' {value.shape} is in the file where {weight.path} "
                f"{tuple(weight.shape)} was expected."
            )
        weight.assign(value)
    for inner in graph.flat_layers(part.layer):
        # A Normalization computes with constants that it derives from its weights.
        if hasattr(inner, "finalize_state") and inner.weights:
            inner.finalize_state()


def _weights(part: Part) -> tuple[list, list]:
    """Lists the weights in the order of Keras 2: the trained ones, and the others."""
    if part.inside is None:
        return part.layer.trainable_weights, part.layer.non_trainable_weights
    trained, others = [], []
    for inner in part.inside:
        trained_inside, others_inside = _weights(inner)
        trained += trained_inside
        others += others_inside
    return trained, others


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Reads a list of names, which HDF5 keeps in several pieces if it is long."""
    pieces = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(pieces)}" in group.attrs:
        pieces.append(f"{attribute}{len(pieces)}")
    return [_text(name) for piece in pieces for name in group.attrs[piece]]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _member(group: h5py.Group, path: str):
    """Gives what lies at a path, and refuses links, which can lead to other files."""
    for name in path.split("/"):
        if group.get(name, getlink=True, getclass=True) is not h5py.HardLink:
            raise errors.UnreadableFile(f"'{path}' is missing in the file, or is a link.")
        group = group[name]
    return group


def _datasets(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """Finds all arrays of weights."""
    for name in group:
        member = _member(group, name)
        if isinstance(member, h5py.Group):
            yield from _datasets(member)
        else:
            yield member
