"""Makes classes known to Keras that are not its own: those of KerasHub, or of a person's module."""

import importlib
import importlib.util
import lzma
import pathlib
import sys
import zipfile
import zlib

import keras

from transfer_keras import surgery
from transfer_keras.config import UserError, one_line

# What comes of a file that is no zip, or a damaged one.
NO_ARCHIVE = (
    *(OSError, EOFError, KeyError, RuntimeError, ValueError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def import_hub_of(path: pathlib.Path) -> None:
    """Imports KerasHub if a file has layers of it, so that Keras knows them.

    Raises:
        UserError: if it is needed and not installed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            needed = b"keras_hub" in surgery.read_member(archive, "config.json")
    except NO_ARCHIVE:
        return  # `surgery.load` says what is wrong with it.
    if needed:
        try:
            import keras_hub  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"{path} has layers of KerasHub, which cannot be imported ({one_line(error)}): "
                "pip install 'transfer_keras[hub]'."
            ) from error


def import_custom_objects(module: str) -> None:
    """Imports a module whose classes files may name, and makes them known to Keras.

    Args:
        module: its name, or the path of a .py file.

    Raises:
        UserError: if there is no such module, or it cannot be imported.
    """
    what = f"--custom_objects={module}"
    path = pathlib.Path(module).expanduser()
    if module.endswith(".py") and not path.is_file():
        raise UserError(f"{what}: no such file.")
    try:
        imported = _import_file(path) if module.endswith(".py") else importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{what}: {one_line(error)}. Expected a module that Python finds, or the path of a "
            ".py file."
        ) from error
    except Exception as error:  # The code is the person's own.
        reason = f"{type(error).__name__}: {one_line(error, 300)}"
        raise UserError(f"{what}: cannot be imported ({reason}).") from error
    registered = set(map(id, keras.saving.get_custom_objects().values()))
    own = {
        name: value
        for name, value in vars(imported).items()
        if getattr(value, "__module__", None) == imported.__name__ and id(value) not in registered
    }
    keras.saving.get_custom_objects().update(own)


def _import_file(path: pathlib.Path):
    """Imports a Python file, once, under its own name."""
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
