"""Networks on disk, which others take their lower units from: loaded, and checked."""

import itertools
import pathlib
import re
import struct
import zipfile
import zlib

import keras

from transfer_keras import surgery
from transfer_keras.config import UserError, one_line

# What Keras, h5py and zipfile raise for a file that is damaged or holds code.
UNUSABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    EOFError,
    RuntimeError,
    IndexError,
    ImportError,
    struct.error,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_trained(path: pathlib.Path, blueprint: keras.Model) -> keras.Model:
    """Loads a network; no code in the file is run.

    Args:
        path: a `.keras` file.
        blueprint: a network of the architecture that is expected; the last unit may have
            another number of outputs.

    Raises:
        UserError: if the file is damaged, holds code, or is of another architecture.
    """
    advice = f"Remove the folder {path.parent} to have it trained again"
    donor = open_file(path, advice)
    layers, expected_layers = _describe_layers(donor), _describe_layers(blueprint)
    if layers != expected_layers:
        differing = next(
            f"{layer or 'nothing'}, expected {expected or 'nothing'}"
            for layer, expected in itertools.zip_longest(layers, expected_layers)
            if layer != expected
        )
        raise UserError(
            f"{path} is another network than {blueprint.name}: it has {differing}. {advice}."
        )
    return donor


def open_file(path: pathlib.Path, advice: str) -> keras.Model:
    """Opens any network from the disk; no code in the file is run.

    Args:
        path: a `.keras` file.
        advice: what to do about one that cannot be used.

    Raises:
        UserError: if the file is damaged or holds code.
    """
    if not zipfile.is_zipfile(path):
        reason = "is missing" if not path.exists() else "is no .keras file, or one cut short"
        raise UserError(f"{path} cannot be used: it {reason}. {advice}.")
    try:
        return surgery.load(path)
    except UNUSABLE as error:
        reason = one_line(error)
        if unknown := re.search(r"Could not locate (class|function) '[^']+'", reason):
            reason = f"{unknown[0]}: it must be made of Keras's own layers"
        reason = reason[:300]
        raise UserError(f"{path} cannot be used: {reason.rstrip('.')}. {advice}.") from error


def _describe_layers(model: keras.Model) -> list[str]:
    """Writes a line a weighted layer: its kind, name and shapes; of the last without outputs."""
    weighted = [layer for layer in model.layers if layer.weights]
    lines = [
        f"{_kind(layer)} '{layer.name}' {[tuple(w.shape) for w in layer.weights]}"
        for layer in weighted[:-1]
    ]
    lines += [f"{_kind(last)} '{last.name}' {last.weights[0].shape[:-1]}" for last in weighted[-1:]]
    return [f"input {getattr(model, 'input_shape', None)}", *lines]


def _kind(layer: keras.Layer) -> str:
    """Names the class of a layer; BatchNorm that keeps its statistics is BatchNorm too."""
    norm = keras.layers.BatchNormalization
    return norm.__name__ if isinstance(layer, norm) else type(layer).__name__
