"""The settings of networks that are opened and not made of a table: donors, and architectures of
Keras and KerasHub that are trained from scratch."""

import dataclasses
import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import ClassVar

from transfer_keras.config import choices, tasks
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
    # What is given to a network of which nothing says what it takes; None: it is refused.
    unknown_pixels: ClassVar[str | None] = None

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
            _check_hub(self)
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
    def what(self) -> str:
        """Names it by the flag that gives it, for messages."""
        return f"{self.flag}={self.path}"

    @property
    def flag(self) -> str:
        """Gives the flag that names it."""
        return f"--{self.FLAGS['path']}"

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
        flags = {flag: getattr(self, name) for flag, name in flags_of(type(self)).items()}
        flags.pop("custom_objects")
        for flag in (self.FLAGS["path"], self.FLAGS["weights"]):
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings(DonorSettings):
    """An architecture of keras.applications or KerasHub, whose bases are trained from scratch.

    Attributes:
        path: "keras.applications.NAME", or "keras_hub:NAME" of a preset, class or folder.
        units: see `DonorSettings`.
        weights, batch_norm, frozen_dropout: as for the networks of tables: none, by the mode, and
            active.

    Raises:
        UserError: see `DonorSettings`.
    """

    FLAGS: ClassVar = {**DonorSettings.FLAGS, "path": "network"}
    unknown_pixels: ClassVar = choices.PIXELS[-1]

    weights: str = choices.NO_WEIGHTS
    batch_norm: str | None = None
    frozen_dropout: bool | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Gives its flags -> their values; of a folder, a digest of the content."""
        return {"network": super().identity["network"], "units": self.units}


# What the flags of a donor are without one. Of these, `units` alone is of a `NetworkSettings` too.
NO_DONOR = {
    flag: DonorSettings.__dataclass_fields__[name].default if name != "path" else None
    for flag, name in flags_of(DonorSettings).items()
}


def make_donor(given: Mapping[str, object]) -> DonorSettings | None:
    """Makes the settings of a donor, checked against what goes with one.

    Args:
        given: flag -> value, of those that are given; see `experiment.make_request`.

    Raises:
        UserError: if two flags do not go together; see also `DonorSettings`.
    """
    if "donor" not in given:
        if given.get("split") == tasks.DONOR_SPLIT:
            raise UserError(f"--split={given['split']}: is that of a training with --donor.")
        for flag, usual in (*NO_DONOR.items(), ("scratch_learning_rate", None)):
            if flag == "units" and _is_opened(given):
                continue
            if given.get(flag, usual) != usual:
                raise UserError(
                    f"--{flag}={given[flag]}: is about a --donor, and none is given. Leave "
                    f"--{flag} out."
                )
        return None
    names = flags_of(DonorSettings)
    donor = DonorSettings(**{names[flag]: given[flag] for flag in names.keys() & given.keys()})
    split = given.get("split", tasks.DONOR_SPLIT)
    if split != tasks.DONOR_SPLIT:
        raise UserError(
            f"--split={split}: with --donor all classes of the dataset are B. Leave --split out."
        )
    _check_pixels(given, "a donor")
    return donor


def make_network(given: Mapping[str, object]) -> NetworkSettings | None:
    """Makes the settings of an architecture that is trained from scratch; None: it is of a table.

    Args:
        given: see `make_donor`.

    Raises:
        UserError: see `make_donor`.
    """
    if "donor" in given or not _is_opened(given):
        return None
    _check_pixels(given, "this network")
    if given.get("mean", "source") != "source":
        raise UserError(
            f"--mean={given['mean']}: this network scales pixels by itself, and takes no task's "
            "mean off. Leave --mean out."
        )
    return NetworkSettings(path=given["network"], units=given.get("units", choices.UNIT))


def _is_opened(given: Mapping[str, object]) -> bool:
    """Tells whether the network is one that Keras or KerasHub has."""
    return given.get("network", "").startswith((choices.APPLICATIONS, choices.HUB))


def _check_pixels(given: Mapping[str, object], who: str) -> None:
    if given.get("preprocessing") == choices.PAPER:
        raise UserError(
            f"--preprocessing=paper takes a mean image off the pictures; {who} brings its own "
            "scaling of pixels. Leave --preprocessing out."
        )


def _check_hub(settings: DonorSettings) -> None:
    """Checks what can be known of a network of KerasHub without importing it."""
    what, weights = settings.what, settings.weights
    name = settings.path.removeprefix(choices.HUB)
    if not name:
        raise UserError(
            f"{what}: which? Give a preset, as {choices.HUB}resnet_18_imagenet, or the "
            f"folder of one, as {choices.HUB}./folder."
        )
    if importlib.util.find_spec("keras_hub") is None:
        raise UserError(
            f"{what}: needs KerasHub, which is not installed: pip install 'transfer_keras[hub]'."
        )
    folder = pathlib.Path(name)
    if name.startswith((".", "/")) and not (folder / "config.json").is_file():
        raise UserError(
            f"{what}: {folder} is no folder with config.json. Expected one that "
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
