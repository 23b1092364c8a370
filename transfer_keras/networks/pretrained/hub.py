"""Networks of KerasHub as donors: presets, their folders, and classes."""

import contextlib
import inspect
import pathlib
import random
from typing import NamedTuple

import keras

from transfer_keras import surgery
from transfer_keras.config import (
    DonorSettings,
    UserError,
    choices,
    first_few,
    memory,
    one_line,
)
from transfer_keras.networks.pretrained.input_scaling import Affine, measure_preprocessing

_MOST_CONFIG = 2**24  # Bytes.
_CLASSES = 2  # Of a head that is put on a preset without one, and replaced by each task's.


class HubNetwork(NamedTuple):
    """A network of KerasHub.

    Attributes:
        model: an image classifier, or a backbone.
        scaling: what its preprocessing does to pixel values; None: unknown.
        image_size: side of the pictures that it was made for; None: unknown.
    """

    model: keras.Model
    scaling: Affine | None
    image_size: int | None


def open_hub(donor: DonorSettings) -> HubNetwork:
    """Makes a network of KerasHub, with the weights of its preset or with random ones.

    A preset that has no classifier gets one of its family, which pools as the family does. What is
    drawn at random is the same each time.

    Raises:
        UserError: if there is no such preset or class, or it could not be downloaded.
    """
    # Keras draws the seeds of initialisers from Python's `random`.
    before = random.getstate()
    random.seed(0)
    try:
        return _open(donor)
    finally:
        random.setstate(before)


def _open(donor: DonorSettings) -> HubNetwork:
    import keras_hub

    name = donor.path.removeprefix(choices.HUB)
    kind = vars(keras_hub.models).get(name)  # Not what every module has, as `__class__`.
    if isinstance(kind, type):
        return _describe(_make(kind, donor))
    backbone = keras_hub.models.Backbone
    known = set(backbone.presets)
    is_local = pathlib.Path(name).is_dir()
    if not (is_local or "://" in name or name in known):
        alike = sorted(preset for preset in known if name.split("_")[0] in preset)
        raise UserError(
            f"{donor.what}: KerasHub has no preset or class of this name. Expected one as "
            f"{first_few(alike or ['resnet_18_imagenet'], 5)}; a folder is given as "
            f"{choices.HUB}./folder."
        )
    if is_local:
        name = str(pathlib.Path(name).resolve())
        _check_folder(pathlib.Path(name), donor.what)
    weights = {"load_weights": donor.weights != choices.NO_WEIGHTS}
    classifier = keras_hub.models.ImageClassifier
    # The preprocessing is read by itself, since a preset may have none.
    alone = {"preprocessor": None, **weights}
    makers = [
        lambda: classifier.from_preset(name, **alone),
        lambda: classifier.from_preset(name, num_classes=_CLASSES, **alone),
        lambda: backbone.from_preset(name, **weights),
    ]
    for make in makers:
        try:
            with surgery.limited_weights(memory.most_memory()):
                return _describe(make(), name)
        except surgery.TooLarge as error:
            raise UserError(f"{donor.what}: {error.finding}. {memory.describe_limit()}.") from error
        except (FileNotFoundError, TypeError, ValueError) as error:
            # It has no classifier, or the family has none.
            reason = error
        except Exception as error:  # Each hub has errors of its own where a download fails.
            reason = error
            break
    raise UserError(
        f"{donor.what}: the preset could not be had: {surgery.reason(reason).rstrip('.')}. "
        f"Fetch it elsewhere and give its folder: {donor.flag}={choices.HUB}./folder."
    ) from reason


def _check_folder(folder: pathlib.Path, what: str) -> None:
    """Checks the files of a preset before KerasHub reads them.

    Raises:
        UserError: if one is damaged, or was made to fill memory.
    """
    for path in sorted(folder.glob("*")):
        try:
            if path.suffix == ".json":
                with path.open("rb") as file:
                    surgery.check_config(file.read(_MOST_CONFIG + 1), memory.most_memory())
            elif path.suffix == ".h5":
                surgery.check_weights_file(path, memory.most_memory())
        except surgery.TooLarge as error:
            raise UserError(
                f"{what}: {path.name}: {error.finding}. {memory.describe_limit()}."
            ) from error
        except Exception as error:  # Anything may lie in the files.
            raise UserError(
                f"{what}: {path.name} cannot be used: "
                f"{surgery.reason(error).rstrip('.')}. Expected a folder that save_to_preset of "
                "KerasHub wrote."
            ) from error


def _make(kind: type, donor: DonorSettings) -> keras.Model:
    """Makes a network of a class with the defaults of its arguments."""
    presets = getattr(kind, "presets", {})
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    try:
        if not (issubclass(kind, keras.Model) and not needed):
            raise TypeError(f"it needs {', '.join(needed) or 'to be a model'}")
        return kind()
    except (TypeError, ValueError) as error:
        listed = first_few([choices.HUB + preset for preset in presets], 5)
        raise UserError(
            f"{donor.what}: cannot be made without arguments: "
            f"{one_line(error, 200).rstrip('.')}. Give a preset"
            + (f", as {listed}." if listed else ".")
        ) from error


def _describe(model: keras.Model, preset: str | None = None) -> HubNetwork:
    """Finds what the preprocessing of a network does, if it has one."""
    import keras_hub

    converter = None
    if preset is not None:
        with contextlib.suppress(FileNotFoundError, TypeError, ValueError):  # It may have none.
            converter = keras_hub.layers.ImageConverter.from_preset(preset)
    if converter is None:
        return HubNetwork(model, None, None)
    size = converter.image_size
    side = size[0] if size and size[0] == size[1] else None
    return HubNetwork(model, measure_preprocessing(converter, side or 1), side)
