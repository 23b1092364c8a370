"""The settings of a donor: a trained network in the place of base A."""

import dataclasses
import functools
import hashlib
import importlib.util
import pathlib
from typing import ClassVar

from transfer_keras.config import choices
from transfer_keras.config.errors import UserError
from transfer_keras.config.sections import check_choice, flags_of

_DATED = "metadata.json"  # File of a preset that holds the time at which it was saved.


@dataclasses.dataclass(frozen=True, kw_only=True)
class DonorSettings:
    """A trained network in the place of base A; then all classes of the dataset are B.

    Attributes:
        path: of a `.keras` or `.h5` file, or "keras.applications.NAME", or "keras_hub:PRESET",
            where PRESET may be a class of KerasHub or a folder.
        weights: of a network of keras.applications: "imagenet", "none", or a file's path; of a
            preset "none", or its own.
        pixels: what the donor takes: one of `choices.PIXELS`, or the name of a module of
            keras.applications whose preprocessing it needs; None: what it says itself.
        units: what n counts: the "unit"s of the donor, or the "block"s that its layers' names tell.
        batch_norm: see `surgery.transplant`; None: by the mode, as in version 0.1.0.
        frozen_dropout: whether dropout of frozen units acts in training; None: it does, as in
            version 0.1.0, which had no such setting.
        custom_objects: module, or path of a Python file, with classes that are not Keras's own;
            it is imported, and no number depends on it.

    Raises:
        UserError: if there is no such file, KerasHub is not installed, or a setting is not known.
    """

    # Settings whose flag has another name.
    FLAGS: ClassVar = {"path": "donor", "weights": "donor_weights", "pixels": "donor_pixels"}

    path: str
    weights: str = choices.IMAGENET
    pixels: str | None = None
    units: str = "unit"
    batch_norm: str | None = choices.FROZEN
    frozen_dropout: bool | None = False
    custom_objects: str | None = None

    def __post_init__(self):
        prefix = choices.HUB if self.is_hub else ""
        for name, before in (("path", prefix), ("weights", "")):
            given = getattr(self, name).removeprefix(before)
            if given.startswith("~"):
                expanded = before + str(pathlib.Path(given).expanduser())
                object.__setattr__(self, name, expanded)
        if self.is_hub:
            _check_hub(self.path, self.weights)
        elif self.is_application:
            if self.weights not in (choices.IMAGENET, choices.NO_WEIGHTS):
                _check_file(
                    "donor_weights",
                    self.weights,
                    f"{choices.IMAGENET}, {choices.NO_WEIGHTS}, or the path of a file of weights",
                )
        else:
            _check_file(
                "donor",
                self.path,
                f"the path of a .keras or .h5 file, {choices.APPLICATIONS}NAME, as "
                f"{choices.APPLICATIONS}MobileNetV2, or {choices.HUB}PRESET",
            )
            if self.weights != choices.IMAGENET:
                raise UserError(
                    f"--donor_weights={self.weights}: is for networks of keras.applications; "
                    "the file of a --donor holds its own. Leave --donor_weights out."
                )
        check_choice("units", self.units, choices.UNITS)
        check_choice("batch_norm", self.batch_norm, (None, *choices.BATCH_NORM))

    @property
    def is_application(self) -> bool:
        """Tells whether it is a network of keras.applications."""
        return self.path.startswith(choices.APPLICATIONS)

    @property
    def is_hub(self) -> bool:
        """Tells whether it is a network of KerasHub."""
        return self.path.startswith(choices.HUB)

    @property
    def name(self) -> str:
        """Gives the name of the network."""
        if self.is_application:
            return self.path.removeprefix(choices.APPLICATIONS)
        if self.is_hub:
            return pathlib.Path(self.path.removeprefix(choices.HUB)).name
        return pathlib.Path(self.path).stem

    @property
    def identity(self) -> dict[str, str | bool | None]:
        """Gives the flags of the donor -> their values, those of files with a digest of the
        content."""
        flags = {flag: getattr(self, name) for flag, name in flags_of(DonorSettings).items()}
        flags.pop("custom_objects")
        for flag in ("donor", "donor_weights"):
            prefix = choices.HUB if flags[flag].startswith(choices.HUB) else ""
            path = pathlib.Path(flags[flag].removeprefix(prefix))
            files = [path] if path.is_file() else sorted(path.glob("*")) if prefix else []
            files = [file for file in files if file.is_file() and file.name != _DATED]
            digests = [_digest(file, file.stat().st_mtime_ns) for file in files]
            if digests:
                digest = digests[0] if len(digests) == 1 else _combined(digests)
                flags[flag] = f"{prefix}{path.name} {digest}"
        return flags


def _check_file(flag: str, path: str, expected: str) -> None:
    if not pathlib.Path(path).is_file():
        raise UserError(f"--{flag}={path}: no such file. Expected {expected}.")


def _check_hub(path: str, weights: str) -> None:
    """Checks what can be known of a network of KerasHub without importing it."""
    name = path.removeprefix(choices.HUB)
    if not name:
        raise UserError(
            f"--donor={path}: which? Give a preset, as {choices.HUB}resnet_18_imagenet, or the "
            f"folder of one, as {choices.HUB}./folder."
        )
    if importlib.util.find_spec("keras_hub") is None:
        raise UserError(
            f"--donor={path}: needs KerasHub, which is not installed: "
            "pip install 'transfer_keras[hub]'."
        )
    folder = pathlib.Path(name)
    if name.startswith((".", "/")) and not (folder / "config.json").is_file():
        raise UserError(
            f"--donor={path}: {folder} is no folder with config.json. Expected one that "
            "save_to_preset of KerasHub wrote."
        )
    if weights not in (choices.IMAGENET, choices.NO_WEIGHTS):
        raise UserError(
            f"--donor_weights={weights}: a preset of KerasHub has its own. Leave --donor_weights "
            f"out, or give {choices.NO_WEIGHTS}."
        )


def _combined(digests: list[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:12]


@functools.lru_cache(64)
def _digest(path: pathlib.Path, changed: int) -> str:
    """Digests a file as it was when it was changed last."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
