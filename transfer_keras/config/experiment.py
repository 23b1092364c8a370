"""What an experiment is: one frozen dataclass that checks itself.

Imports neither Keras nor TensorFlow, so that every error in a flag comes at once.
"""

import dataclasses
import functools
import hashlib
import math
import pathlib
import re

from transfer_keras.config import defaults, memory, tasks
from transfer_keras.config.architectures import ARCHITECTURES, Architecture, PretrainedArchitecture
from transfer_keras.config.errors import UserError
from transfer_keras.config.image_folders import without_slash
from transfer_keras.config.plan import with_bases
from transfer_keras.config.treatments import Treatment

APPLICATIONS = "keras.applications."  # Before the name of a network there.
IMAGENET, NO_WEIGHTS = "imagenet", "none"
UNITS = ("unit", "block")
PIXELS = ("0..255", "0..1", "-1..1")  # What a network takes of a picture.
BATCH_NORM = ("frozen", "statistics_frozen", "train")
CLASS_WEIGHTS = ("none", "balanced")
MEANS = ("source", "target")
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
PRECISIONS = ("float32", "mixed_bfloat16")
TF_CONFIG = "TF_CONFIG"  # TensorFlow's variable that names all machines.
LOGICAL_CPU = "cpu:"  # Before a number of devices that the CPU plays.
_LOOKS = 20


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One split, one seed, and the treatments that are wanted of it.

    Attributes:
        treatments: without the bases that they need, which are trained anyway.
        dataset: "dataset", "dataset/config" or "folder:PATH".
        data_dir: where it is (see `datasets.catalogue.check`).
        split: see `tasks.split_classes`.
        examples_per_class: the first so many of each class are trained on; None: all.
        network: a key of `networks.tables.ARCHITECTURES`.
        image_size: side of the network's input in pixels; None: what it was made for.
        steps, batch_size, learning_rate, optimizer, schedule, weight_decay: see
            `training.optimizers.Recipe`; None: from `defaults`.
        preprocessing: "paper" or "modern", see `datasets.preprocessing`; None: from `defaults`.
        mean: "source" or "target": of which task the mean is that a network takes off its
            pictures, that of its donor or its own.
        augment: random crop and mirror in training; None: yes, but for `formula_images`, whose
            pictures are drawn with every variation that they shall have.
        bad_images: "error" or "skip": whether pictures that cannot be decoded are refused or left
            out.
        seed: all that is random follows from it.
        validations: how often each network is tested while it is trained.
        metrics_every: steps between two looks at every unit; None: 20 times; 0: none.
        probes: whether linear probes are trained on the units of each finished network.
        group_size: the most treatments that are trained together; None: as many as the memory
            holds.
        group_memory: GiB that a group may take; None: half of a GPU's, or else the machine's.
        checkpoint_every: seconds from one checkpoint to the next.
        strategy: "one" device; "mirrored", all of this machine; "multi_worker", those of all
            machines that TF_CONFIG names; "auto": as many as there are.
        devices: the GPUs' numbers, as "0,2"; or "cpu:4", for so many devices that the CPU plays;
            None: all GPUs, or the CPU.
        precision: a dtype policy of Keras.
        jit_compile: whether XLA compiles the training; its dropout draws other masks.
        memory_growth: whether a GPU's memory is taken as it is needed, and not all at once.
        donor: a trained network in the place of baseA: the path of a `.keras` file, or
            "keras.applications.NAME"; then all classes of the dataset are B. None: A is a part of
            the dataset.
        donor_weights: of a network of keras.applications: "imagenet", "none", or a file's path.
        donor_pixels: what the donor takes: one of `PIXELS`, or the name of a module of
            keras.applications whose preprocessing it needs; None: what it says itself.
        units: what n counts: the "unit"s of the donor, or the "block"s that its layers' names tell.
        batch_norm: see `surgery.transplant`.
        warm_up_head: steps for which what came from a donor is not trained yet, where it is
            fine-tuned.
        layerwise_decay: the learning rate of each transferred unit that is fine-tuned is so many
            times that of the one above it.
        early_stopping: a network is done when so many tests in a row have not lowered its loss,
            and is then taken as it was at its best test; None: all steps are done.
        class_weights: "balanced": in training each class counts the same, however many examples
            it has.
        validation_split, validation_seed: the part of a folder's pictures that is tested on, where
            it has no `val/`, and what draws them.
        table: of the donor, once it is known; see `own_donor.resolve`.

    Raises:
        UserError: if a setting is out of range or two do not go together.
    """

    treatments: tuple[Treatment, ...]
    dataset: str = "formula_images"
    data_dir: str | None = None
    split: str = "0"
    examples_per_class: int | None = None
    network: str = "alexnet_small"
    image_size: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    schedule: str | None = None
    weight_decay: float | None = None
    preprocessing: str | None = None
    mean: str = "source"
    augment: bool | None = None
    bad_images: str = "error"
    seed: int = 0
    validations: int = 20
    metrics_every: int | None = None
    probes: bool = False
    group_size: int | None = None
    group_memory: float | None = None
    checkpoint_every: float = 60.0
    strategy: str = "auto"
    devices: str | None = None
    precision: str = "float32"
    jit_compile: bool = False
    memory_growth: bool = False
    donor: str | None = None
    donor_weights: str = IMAGENET
    donor_pixels: str | None = None
    units: str = "unit"
    batch_norm: str | None = None
    warm_up_head: int = 0
    layerwise_decay: float = 1.0
    early_stopping: int | None = None
    class_weights: str = "none"
    validation_split: float = 0.2
    validation_seed: int = 0
    table: PretrainedArchitecture | None = None

    def __post_init__(self):
        object.__setattr__(self, "dataset", without_slash(self.dataset))
        if self.donor:
            self._check_donor()
        elif self.split == tasks.DONOR_SPLIT:
            raise UserError(f"--split={self.split}: is that of a training with --donor.")
        elif given := [n for n, usual in _OF_DONORS.items() if getattr(self, n) != usual]:
            name = given[0]
            raise UserError(
                f"--{name}={getattr(self, name)}: is about a --donor, and none is given. Leave "
                f"--{name} out."
            )
        elif self.network not in ARCHITECTURES:
            raise UserError(
                f"--network={self.network}: expected one of {', '.join(ARCHITECTURES)}."
            )
        missing = {
            "augment": self.dataset.partition("/")[0] != "formula_images",
            **(defaults.DONORS if self.donor else defaults.NETWORKS[self.network]),
        }
        if self.architecture:
            missing["image_size"] = self.architecture.image_size
        if self.group_memory is None:
            on_cpu = self.devices and self.devices.startswith(LOGICAL_CPU)
            available = (None if on_cpu else memory.gpu_memory()) or memory.process_memory()
            object.__setattr__(self, "group_memory", available / 2**31)
        for name, value in missing.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        positive = ["image_size", "steps", "batch_size", "learning_rate", "validations"]
        positive += ["group_memory", "layerwise_decay", "early_stopping"]
        for name in positive:
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name}={getattr(self, name)}: must be positive and finite.")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"--weight_decay={self.weight_decay}: expected 0 or more.")
        if self.metrics_every is None:
            object.__setattr__(self, "metrics_every", math.ceil(self.steps / _LOOKS))
        if self.metrics_every < 0:
            raise UserError(f"--metrics_every={self.metrics_every}: expected 0 or more.")
        if not self.checkpoint_every >= 0:
            raise UserError(f"--checkpoint_every={self.checkpoint_every}: expected 0 or more.")
        if self.group_size is not None and self.group_size < 1:
            raise UserError(f"--group_size={self.group_size}: expected 1 or more.")
        if self.examples_per_class is not None and self.examples_per_class < 1:
            raise UserError(f"--examples_per_class={self.examples_per_class}: expected 1 or more.")
        if not 0 <= self.warm_up_head < self.steps:
            raise UserError(
                f"--warm_up_head={self.warm_up_head}: expected 0 or more, and less than the "
                f"{self.steps} steps."
            )
        if not 0 < self.validation_split < 1:
            raise UserError(
                f"--validation_split={self.validation_split}: expected more than 0, less than 1."
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                known = ", ".join(filter(None, allowed))
                raise UserError(f"--{name}={getattr(self, name)}: expected one of {known}.")
        if self.devices and not re.fullmatch(rf"{LOGICAL_CPU}[1-9]\d*|\d+(,\d+)*", self.devices):
            raise UserError(
                f"--devices={self.devices}: expected numbers of GPUs, as 0 or 0,2, or "
                f"{LOGICAL_CPU}2."
            )
        numbers = (self.devices or "").split(",")
        if len(set(numbers)) < len(numbers):
            raise UserError(f"--devices={self.devices}: names a GPU twice.")
        if self.strategy == "multi_worker" and numbers[0].startswith(LOGICAL_CPU):
            raise UserError(f"--devices={self.devices}: is of one machine; see --strategy.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed={self.seed}: expected 0 to 2147483647.")
        if not self.treatments:
            raise UserError("--treatments: none given. Expected names such as A3B or baseB.")
        tasks.check_split(self.split)
        if missing := [t.name for t in self.treatments if not suits_split(t, self.split)]:
            raise UserError(
                f"--split={self.split}: there is no task B, which {missing[0]} needs. Expected "
                "baseA and treatments such as A3A, A3A+ and R3A (--target=A --source=self)."
                if self.split == tasks.WHOLE_SPLIT
                else f"--treatments={missing[0]}: with --donor, A is what the donor was trained "
                "on, and nothing is trained on it here. Expected --target=B."
            )
        if self.architecture:
            self._check_size()

    def _check_donor(self) -> None:
        """What can be said of a donor before it is opened; the network bears its name."""
        for flag in ("donor", "donor_weights"):
            if getattr(self, flag).startswith("~"):
                path = pathlib.Path(getattr(self, flag)).expanduser()
                object.__setattr__(self, flag, str(path))
        if self.donor.startswith(APPLICATIONS):
            name = self.donor.removeprefix(APPLICATIONS)
            if self.donor_weights not in (IMAGENET, NO_WEIGHTS):
                _check_file("donor_weights", self.donor_weights)
        else:
            _check_file("donor", self.donor)
            if self.donor_weights != IMAGENET:
                raise UserError(
                    f"--donor_weights={self.donor_weights}: is for networks of keras.applications; "
                    "the file of a --donor holds its own. Leave --donor_weights out."
                )
            name = pathlib.Path(self.donor).stem
        if self.split != tasks.DONOR_SPLIT:
            raise UserError(
                f"--split={self.split}: with --donor all classes of the dataset are B. Leave "
                "--split out."
            )
        if self.preprocessing == "paper":
            raise UserError(
                "--preprocessing=paper takes a mean image off the pictures; a donor brings its own "
                "scaling of pixels. Leave --preprocessing out."
            )
        object.__setattr__(self, "network", name)

    def _check_size(self) -> None:
        """That the network can have as many units transferred, and images of this size."""
        smallest = self.architecture.smallest_image
        if self.image_size < smallest:
            raise UserError(
                f"--image_size={self.image_size}: {self.network} needs at least {smallest} pixels."
            )
        units = len(self.architecture.units)
        for treatment in self.treatments:
            if treatment.n >= units:
                raise UserError(
                    f"--treatments={treatment}: {self.network} has {units} {self.units}s, so 1 to "
                    f"{units - 1} can be transferred."
                )
            if self.table and (why := self.table.why_not(treatment.n, treatment.mode)):
                raise UserError(f"--treatments={treatment}: {why}")

    @property
    def architecture(self) -> Architecture | PretrainedArchitecture | None:
        """Its table; None of a donor that was not opened yet."""
        return self.table if self.donor else ARCHITECTURES[self.network]

    @property
    def given(self) -> tuple[str, ...]:
        """The bases that are not trained here."""
        return ("baseA",) if self.donor else ()

    @property
    def wanted(self) -> tuple[Treatment, ...]:
        """All that it trains: its treatments, and the bases that they need; see `with_bases`."""
        return with_bases(self.treatments, self.given)

    def cut(self, treatment: Treatment) -> int:
        """How many of the network's units it takes from its donor."""
        return self.architecture.cuts[treatment.n - 1] if treatment.n else 0

    @property
    def resize(self) -> int:
        """Side to which pictures are brought before `image_size` is cut out, in proportion."""
        made_for = self.architecture.image_size
        return round(self.image_size * (self.architecture.resize or made_for) / made_for)

    def pixels_of(self, treatment: Treatment) -> str:
        """The task whose pictures' mean its network takes off."""
        donor = treatment.needs if self.mean == "source" else None
        return donor.target if donor else treatment.target

    @property
    def validate_every(self) -> int:
        """Steps from one test to the next."""
        return math.ceil(self.steps / self.validations)

    @property
    def identity(self) -> dict:
        """The settings that make its numbers; another value of any is another experiment."""
        fields = dataclasses.asdict(self)
        if self.early_stopping is None:  # Else a network is taken as it was at a test.
            fields.pop("validations")
        for name in (
            "treatments",
            "data_dir",
            "metrics_every",
            "probes",
            "group_size",
            "group_memory",
            "checkpoint_every",
            "strategy",
            "devices",
            "memory_growth",
            "table",
        ):
            fields.pop(name)
        for name in ("donor", "donor_weights"):
            path = pathlib.Path(fields[name] or "")
            if path.is_file():
                fields[name] = f"{path.name} {_digest(path, path.stat().st_mtime_ns)}"
        if tasks.is_file(self.split):
            fields["split"] = tasks.read_class_list(self.split)
        return fields

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.network} on {self.dataset}, {self.variant}"

    @property
    def variant(self) -> str:
        """What sets it apart from others of its study, for people."""
        amount = f", {self.examples_per_class} a class" if self.examples_per_class else ""
        split = "" if self.donor else f"split {self.split}"
        return f"{split}{amount}, seed {self.seed}".removeprefix(", ")

    @property
    def subject(self) -> str:
        """Dataset and network, as part of a folder's name."""
        network = "" if self.network == "alexnet_small" else f"-{self.network}"
        dataset = re.sub(r"^folder:(.*/)?", "folder-", self.dataset.rstrip("/")).replace("/", "-")
        return f"{dataset}{network}"

    @property
    def variant_name(self) -> str:
        """`variant` as part of a folder's name."""
        split = pathlib.Path(self.split).stem if tasks.is_file(self.split) else self.split
        amount = f"-{self.examples_per_class}perclass" if self.examples_per_class else ""
        return f"split{split}{amount}-seed{self.seed}"

    @property
    def default_workdir(self) -> pathlib.Path:
        return pathlib.Path("runs") / f"{self.subject}-{self.variant_name}"


# What has no effect without a donor: the networks that are made here have no BatchNorm.
_OF_DONORS = {"donor_weights": IMAGENET, "donor_pixels": None, "units": "unit", "batch_norm": None}

_CHOICES = {
    "strategy": STRATEGIES,
    "precision": PRECISIONS,
    "units": UNITS,
    "batch_norm": (None, *BATCH_NORM),
    "class_weights": CLASS_WEIGHTS,
}


def _check_file(flag: str, path: str) -> None:
    if not pathlib.Path(path).is_file():
        expected = {
            "donor": f"the path of a .keras file, or {APPLICATIONS}NAME, as "
            f"{APPLICATIONS}MobileNetV2",
            "donor_weights": f"{IMAGENET}, {NO_WEIGHTS}, or the path of a file of weights",
        }
        raise UserError(f"--{flag}={path}: no such file. Expected {expected[flag]}.")


@functools.lru_cache(16)
def _digest(path: pathlib.Path, changed: int) -> str:
    """Of a file as it was when it was changed last."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def suits_split(treatment: Treatment, split: str) -> bool:
    """Whether the tasks of a split suffice for a treatment: the whole has no B, and with a donor
    nothing is trained on A."""
    if split == tasks.DONOR_SPLIT:
        return treatment.target == "B"
    return split != tasks.WHOLE_SPLIT or "B" not in (treatment.target, treatment.donor)
