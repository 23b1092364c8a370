"""Networks on disk, which others take their lower units from: loaded, and checked."""

import itertools
import pathlib
import re
import zipfile

import keras

from transfer_keras import surgery
from transfer_keras.config import UserError, memory, one_line
from transfer_keras.networks.custom_classes import NO_ARCHIVE, import_hub_of

# How `surgery.load` names what it does not know.
_UNKNOWN = re.compile(
    r"\w+ '(\S+)' is neither Keras's own|is of class '(\S+)', which Keras does not"
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
    donor = open_trained(path)
    layers, expected_layers = _describe_layers(donor), _describe_layers(blueprint)
    if layers != expected_layers:
        differing = next(
            f"{layer or 'nothing'}, expected {expected or 'nothing'}"
            for layer, expected in itertools.zip_longest(layers, expected_layers)
            if layer != expected
        )
        raise UserError(
            f"{path} is another network than {blueprint.name}: it has {differing}. {_advice(path)}."
        )
    return donor


def check_whole(path: pathlib.Path) -> None:
    """Checks a network's file by the sizes and checksums in it; opens no network.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        surgery.check_weights_file(path, memory.most_memory())
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (surgery.UnreadableFile, *NO_ARCHIVE) as error:
        damaged = one_line(error).rstrip(".")
    if damaged:
        raise UserError(f"{path} cannot be used: it is damaged ({damaged}). {_advice(path)}.")


def open_trained(path: pathlib.Path) -> keras.Model:
    """Opens a network of a workdir, of whatever architecture; no code in the file is run.

    Raises:
        UserError: if the file is damaged or holds code.
    """
    return open_file(path, _advice(path))


def _advice(path: pathlib.Path) -> str:
    return f"Remove the folder {path.parent} to have it trained again"


def open_file(path: pathlib.Path, advice: str, *, custom_objects: str | None = None) -> keras.Model:
    """Opens any network from the disk; no code in the file is run.

    Args:
        path: a `.keras` file, or a `.h5` file of a whole network.
        advice: what to do about one that cannot be used.
        custom_objects: the module with classes of its own that was imported, for the message.

    Raises:
        UserError: if the file is damaged or holds code, or a class is not known.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # A pipe would block.
        raise UserError(f"{path} cannot be used: it is no regular file. {advice}.")
    import_hub_of(path)
    try:
        return surgery.load(path, most_bytes=memory.most_memory())
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be used: it is missing. {advice}.") from error
    except surgery.TooLarge as error:
        raise UserError(
            f"{path} cannot be used: {error.finding}. {memory.describe_limit()}."
        ) from error
    except surgery.UnreadableFile as error:
        reason = one_line(error).removeprefix(f"{path}: ")
        unknown = _UNKNOWN.search(reason)
        if unknown:
            name = unknown[1] or unknown[2]
            reason = f"the class '{name}' is not one of Keras's own"
            advice = "Give --custom_objects=MODULE, the Python module or .py file that defines it"
            if custom_objects:
                advice = f"--custom_objects={custom_objects} does not define it"
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
