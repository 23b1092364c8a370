"""Writes and loads `.keras` files that also keep the flags of layers inside composite layers."""

import contextlib
import json
import pathlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping

import h5py
import keras

from transfer_keras.surgery import containers, errors, graph, keras2
from transfer_keras.surgery.configs import config_of, is_of_keras
from transfer_keras.surgery.freezing import set_flag
from transfer_keras.surgery.fresh import UNREADABLE
from transfer_keras.surgery.keras2_layers import refuse_lambda
from transfer_keras.surgery.plain import without_fixed_statistics

# Name of the file inside the `.keras` archive; it lists the flag of each layer.
_MEMBER = "surgery_flags.json"
_METADATA, _CONFIG = "metadata.json", "config.json"
_HDF5_NAMES = (".h5", ".hdf5")
_HDF5 = b"\x89HDF\r\n\x1a\n"


def save(model: keras.Model, path: str | pathlib.Path, *, plain: bool = False) -> None:
    """Writes a `.keras` file that Keras can load, with the flag of every inner layer in it.

    Keras's own files keep the flags of the network's layers but not those inside a composite
    layer, which `transplant` with `expand` sets. Some classes write a config that they cannot read
    back, as layers of KerasHub's ViT do; the file has one that they can.

    Two things in such files are of this package, so that `import transfer_keras.surgery` has to
    come before Keras loads them: `FixedStatisticsBatchNormalization`, which `transplant` with
    `batch_norm="statistics_frozen"` makes, and the `hard_sigmoid` of networks that Keras 2 saved.
    All else any Keras 3 loads.

    Args:
        model: any built model that Keras can save; it is not changed.
        path: a file name that ends in `.keras`.
        plain: whether each `FixedStatisticsBatchNormalization` becomes a plain BatchNormalization
            that is not trained, in the file. It computes the same, and needs no import; but
            training it further no longer trains its scale and shift.

    Raises:
        ValueError: if the path does not end in `.keras`.
        NotRebuildable: if the model is no model, or not built, or the config of a layer cannot be
            written; with `plain`, also if it has no graph, or such a BatchNorm lies inside another
            layer.

    Example:
        >>> import pathlib, tempfile
        >>> network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     surgery.save(network, pathlib.Path(folder) / "network.keras")
        ...     surgery.load(pathlib.Path(folder) / "network.keras").output_shape
        (None, 3)
    """
    graph.check_model(model)
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"path: expected a file name that ends in .keras. Received: {path}")
    model = without_fixed_statistics(model) if plain else model
    with _readable_configs(model):
        try:
            model.save(path)
        except UNREADABLE as error:
            raise errors.NotRebuildable(
                f"'{model.name}' cannot be written: {errors.one_line(error)[:300]}. Give the class "
                "of the layer a `get_config` of plain values."
            ) from error
    flags = [layer.trainable for layer in graph.flat_layers(model)]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_MEMBER, json.dumps(flags))


@contextlib.contextmanager
def _readable_configs(model: keras.Model) -> Iterator[None]:
    """Lets layers give a config that their class can read back, while its block runs.

    Layers that are not Keras's own do not say either what they were built on. They are built when
    they are called, as the network is read; some fail if they are built before, on a list.
    """
    mended: list[tuple[dict, str]] = []
    own_build = keras.Layer.get_build_config
    try:
        for layer in graph.flat_layers(model):
            config = _mended_config(layer)
            methods = {} if config is None else {"get_config": lambda config=config: dict(config)}
            if not is_of_keras(type(layer)) and type(layer).get_build_config is own_build:
                methods["get_build_config"] = lambda: None
            for name, method in methods.items():
                vars(layer)[name] = method
                mended.append((vars(layer), name))
        yield
    finally:
        for attributes, name in mended:
            del attributes[name]


def _mended_config(layer: keras.Layer) -> dict | None:
    """Gives the config of a layer if it is another than its class gives; None if it is the same."""
    try:
        config = config_of(layer)
    except UNREADABLE:
        # A layer inside another may never be asked.
        return None
    try:
        return config if config.keys() != layer.get_config().keys() else None
    except UNREADABLE:
        return config


def load(
    path: str | pathlib.Path,
    *,
    custom_objects: Mapping | None = None,
    most_bytes: int = containers.MOST_BYTES,
) -> keras.Model:
    """Loads a network, uncompiled, with the flags of all layers if `save` wrote it.

    It reads `.keras` files, and HDF5 files (`.h5`) of whole networks; of Keras 2 too, whose
    configs are brought up to date. Code in a file is never run: there is no `safe_mode=False`.
    Nor does a file fill the memory, or have another one read: what it says of sizes is checked.

    Args:
        path: the file.
        custom_objects: name -> class or function, for those that are not registered.
        most_bytes: what its weights may take, or one of its inputs; 8 GiB.

    Raises:
        FileNotFoundError: if there is no such file.
        TooLarge: if it would take more than `most_bytes`.
        UnreadableFile: if it is damaged or holds no network, or what Keras 3 does not have, or
            code (a Lambda); the message says in which layer, and what to do.
    """
    path = pathlib.Path(path)
    try:
        model = _load(path, custom_objects or {}, most_bytes)
    except (FileNotFoundError, errors.UnreadableFile):
        raise
    except Exception as error:
        # Anything may come of a config that was edited: what Keras, h5py, zipfile and the backend
        # raise, and what is no error of theirs, such as a number that no float can hold.
        raise errors.UnreadableFile(f"{path}: {_reason(error)}") from error
    if not isinstance(model, keras.Model):
        kind = type(model).__name__
        raise errors.UnreadableFile(f"{path}: It holds a {kind}. Expected a model.")
    return model


def _reason(error: Exception) -> str:
    """Says in one line why Keras could not load a file."""
    reason = errors.reason(error)
    if unknown := re.search(
        r"(?:Could not locate|Unknown) (class|function|layer):? '(.+?)'", reason
    ):
        kind, name = unknown.groups()
        return (
            f"The {kind} '{name}' is neither Keras's own nor registered. Give it: "
            f"custom_objects={{'{name}': {name}}}, or import the module that registers it."
        )
    quoted = "Exception encountered: " in str(error)
    if quoted or isinstance(error, OSError | ImportError | zipfile.BadZipFile | zlib.error):
        return reason
    return f"It is damaged, or was changed by hand ({type(error).__name__}: {reason.rstrip('.')})."


def _load(path: pathlib.Path, custom_objects: Mapping, most_bytes: int) -> keras.Model:
    if path.is_dir():
        raise errors.UnreadableFile(
            f"{path}: is a folder. Expected a .keras or .h5 file; a SavedModel has no layers that "
            "Keras 3 could make."
        )
    with path.open("rb") as file:
        is_hdf5 = file.read(len(_HDF5)) == _HDF5
    try:
        return (_load_h5 if is_hdf5 else _load_keras)(path, custom_objects, most_bytes)
    except errors.TooLarge as error:
        error.args = (f"{path}: {error}",)
        raise
    except errors.UnreadableFile as error:
        raise errors.UnreadableFile(f"{path}: {error}") from error.__cause__


def _load_h5(path: pathlib.Path, custom_objects: Mapping, most_bytes: int) -> keras.Model:
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise errors.UnreadableFile(
                "It holds weights and no network. Build the network, and call "
                "`model.load_weights(path)`."
            )
        stored = containers.check_weights(file, most_bytes)
        of_keras2 = keras2.is_keras2(file.attrs.get("keras_version"))
        text = file.attrs["model_config"]
    config = _config(text, most_bytes)
    with containers.limited_weights(most_bytes, stored):
        if of_keras2:
            return keras2.load_h5(path, custom_objects)
        _refuse_code(config)
        if path.suffix not in _HDF5_NAMES:
            raise errors.UnreadableFile(
                f"It is an HDF5 file, which Keras reads by its name. Rename it to {path.stem}.h5."
            )
        return keras.saving.load_model(path, custom_objects=dict(custom_objects), compile=False)


def _load_keras(path: pathlib.Path, custom_objects: Mapping, most_bytes: int) -> keras.Model:
    if not zipfile.is_zipfile(path):
        raise errors.UnreadableFile("It is neither a .keras nor a .h5 file, or one cut short.")
    with zipfile.ZipFile(path) as archive:
        if missing := {_METADATA, _CONFIG} - set(archive.namelist()):
            raise errors.UnreadableFile(
                f"It is no .keras file: it holds no {' and no '.join(sorted(missing))}."
            )
        containers.check_archive(archive, most_bytes)
        metadata = _document(containers.read_member(archive, _METADATA), _METADATA)
        of_keras2 = keras2.is_keras2(metadata.get("keras_version"))
        config = _config(containers.read_member(archive, _CONFIG), most_bytes)
        stored = containers.check_member(archive, most_bytes)
        flags = None
        if _MEMBER in archive.namelist():
            flags = json.loads(containers.read_member(archive, _MEMBER))
    with containers.limited_weights(most_bytes, stored):
        if of_keras2:
            return keras2.load_keras(path, custom_objects)
        _refuse_code(config)
        model = keras.saving.load_model(path, custom_objects=dict(custom_objects), compile=False)
    if flags is not None:
        for layer, flag in zip(graph.flat_layers(model), flags, strict=True):
            set_flag(layer, flag)
        graph.let_flags_spread(model)
    return model


def check_config(text: str | bytes, most_bytes: int) -> dict:
    """Reads the config of a network, in which code and sizes that no memory holds are refused.

    Args:
        text: JSON.
        most_bytes: what one of its inputs may take.

    Raises:
        TooLarge: if one would take more.
        UnreadableFile: if it holds code, is no object, or is too long.
        RecursionError, ValueError: if it is no JSON.
    """
    config = _config(text, most_bytes)
    _refuse_code(config)
    return config


def _config(text: str | bytes, most_bytes: int) -> dict:
    """Reads the config of a network, in which sizes that no memory holds are refused."""
    containers.check_text(text, _CONFIG)
    config = _document(text, _CONFIG)
    containers.check_inputs(config, most_bytes)
    return config


def _document(text: str | bytes, name: str) -> dict:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise errors.UnreadableFile(
            f"It is damaged, or was changed by hand ('{name}' is no JSON object)."
        )
    return document


def _refuse_code(config, layer: str = "", kind: str = "") -> None:
    """Refuses a config in which a function is code, and names the layer that has it.

    Raises:
        UnreadableFile: in this case.
    """
    if isinstance(config, dict):
        own = config.get("config")
        # Keras writes an activation without its class: [code, defaults, closure] alone.
        value = config.get("value")
        is_code = config.get("class_name") == "__lambda__" or (
            config.keys() == {"value"} and isinstance(value, list) and len(value) == 3
        )
        if is_code and kind == "Lambda":
            raise refuse_lambda(layer)
        if is_code:
            raise errors.UnreadableFile(
                f"Layer '{layer}' ({kind}) has a function that is code inside the file, which is "
                "not run. Build the network again in the program that made it, with a named "
                "function of Keras in its place, and save it with the weights."
            )
        if isinstance(own, dict) and "name" in own and "class_name" in config:
            layer, kind = str(own["name"]), str(config["class_name"])
        config = list(config.values())
    for item in config if isinstance(config, list) else ():
        _refuse_code(item, layer, kind)
