"""A classifier in one file: a Keras network, and what is needed to use it, in the same archive."""

import dataclasses
import json
import pathlib
import zipfile
import zlib
from typing import Annotated, TypeVar

import keras
import msgspec

from transfer_keras import surgery
from transfer_keras.config import UserError, choices, one_line
from transfer_keras.datasets import Preprocessing
from transfer_keras.files import DamagedFile, check_json, open_regular, write_whole
from transfer_keras.networks import pretrained

_MEMBER = "transfer_keras.json"  # Keras ignores it.
_VERSION = 1
_OUTPUT = "probabilities"
_MOST_PIXELS = 2**16
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=_MOST_PIXELS)]
_Kind = TypeVar("_Kind")


@dataclasses.dataclass(frozen=True)
class NetworkFacts:
    """What is known of a classifier besides its weights.

    Attributes:
        classes: names, in the order of its outputs.
        image_size, resize, pad: in pixels; see `datasets.Preprocessing`. What was a border in
            training decides to which size large pictures are shrunk first.
        preprocessing: "paper" or "modern".
        upright: whether pictures are turned as the orientation in their files says.
        temperature: what its logits are divided by.
        certainty: the highest probability of each validation picture, in 0..1.
        right: 1 for each of them whose most probable class is its own, else 0.
    """

    classes: tuple[str, ...]
    image_size: _Pixels
    resize: _Pixels
    pad: Annotated[int, msgspec.Meta(ge=0, le=_MOST_PIXELS)] = 0
    preprocessing: str = choices.MODERN
    upright: bool = True
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    certainty: tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...] = ()
    right: tuple[Annotated[int, msgspec.Meta(ge=0, le=1)], ...] = ()

    def make_preprocessing(self) -> Preprocessing:
        """Says how pictures become what the network takes."""
        return Preprocessing(
            self.image_size,
            self.resize,
            self.pad,
            kind=self.preprocessing,
            upright=self.upright,
        )


def save_classifier(path: pathlib.Path, model: keras.Model, facts: NetworkFacts) -> None:
    """Writes a network whose outputs are probabilities, and what is known of it.

    Args:
        path: that ends in .keras; written whole or not at all.
        model: that gives logits.
        facts: of it; its temperature becomes part of the network.
    """
    taken = {layer.name for layer in model.layers}
    names = [
        f"{name}_of_best" if name in taken else name for name in (pretrained.TEMPERATURE, _OUTPUT)
    ]
    scaling = keras.layers.Rescaling(1 / facts.temperature, dtype="float32", name=names[0])
    softmax = keras.layers.Softmax(dtype="float32", name=names[1])
    probabilities = softmax(scaling(model.output))
    with write_whole(path) as partial:
        best = keras.Model(model.input, probabilities, name=f"{model.name}_best")
        surgery.save(best, partial)
        with zipfile.ZipFile(partial, "a") as archive:
            content = {"version": _VERSION} | dataclasses.asdict(facts)
            archive.writestr(_MEMBER, json.dumps(content, ensure_ascii=False))


def read_facts(path: pathlib.Path) -> NetworkFacts:
    """Reads what is known of a network that `save_classifier` wrote.

    Raises:
        UserError: if it is none, or is damaged.
    """
    expected = "Expected the best.keras of advise"
    try:
        # A pipe would block.
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            content = surgery.read_member(archive, _MEMBER)
    except DamagedFile as error:
        raise UserError(f"--network={path}: {error.found}. {expected}.") from error
    except OSError as error:
        raise UserError(
            f"--network={path}: cannot be read ({error.strerror}). {expected}."
        ) from error
    except KeyError as error:
        raise UserError(
            f"--network={path}: has no names of classes in it. {expected}; one of an older version "
            "is made anew by the same command of advise."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--network={path}: is no Keras network, or damaged ({one_line(error, 200)}). "
            f"{expected}."
        ) from error
    version = _check(content, _Versioned, path, expected).version
    if version != _VERSION:
        raise UserError(
            f"--network={path}: was written by another version of transfer_keras (format "
            f"{version}, expected {_VERSION}). Use that version."
        )
    facts = _check(content, NetworkFacts, path, expected)
    try:
        facts.make_preprocessing()
    except ValueError as error:
        raise UserError(_damaged(path, error, expected)) from error
    return facts


@dataclasses.dataclass(frozen=True)
class _Versioned:
    version: int


def _check(content: bytes, kind: type[_Kind], path: pathlib.Path, expected: str) -> _Kind:
    try:
        return check_json(content, kind, path)
    except DamagedFile as error:
        raise UserError(_damaged(path, error.__cause__, expected)) from error


def _damaged(path: pathlib.Path, error: BaseException, expected: str) -> str:
    return f"--network={path}: what is known of it is damaged ({one_line(error, 200)}). {expected}."
