"""What an experiment is: one frozen dataclass that checks itself.

Imports neither Keras nor TensorFlow, so that every error in a flag comes at once.
"""

import dataclasses
import math
import pathlib
import re

from transfer_keras import machine, tasks
from transfer_keras.errors import UserError
from transfer_keras.networks.tables import ARCHITECTURES, Architecture
from transfer_keras.treatments import Treatment

# How each network is trained unless a flag says otherwise. For `alexnet` as Yosinski et al.
# (2014) did; for `alexnet_small` what converges in about a minute on two cores.
DEFAULTS = {
    "alexnet": {
        "steps": 450_000,
        "batch_size": 256,
        "learning_rate": 0.01,
        "optimizer": "sgd",
        "schedule": "step",
        "weight_decay": 5e-4,
        "preprocessing": "paper",
    },
    "alexnet_small": {
        "steps": 2200,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "optimizer": "adam",
        "schedule": "cosine",
        "weight_decay": 0.0,
        "preprocessing": "modern",
    },
}

MEANS = ("source", "target")
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
PRECISIONS = ("float32", "mixed_bfloat16")
CLUSTER = "TF_CONFIG"  # TensorFlow's variable that names all machines.
LOGICAL = "cpu:"  # Before a number of devices that the CPU plays.
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
            `training.optimizers.Recipe`; None: from `DEFAULTS`.
        preprocessing: "paper" or "modern", see `datasets.preprocessing`; None: from `DEFAULTS`.
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

    def __post_init__(self):
        if self.network not in ARCHITECTURES:
            raise UserError(
                f"--network={self.network}: expected one of {', '.join(ARCHITECTURES)}."
            )
        defaults = {
            "image_size": self.architecture.image_size,
            "augment": self.dataset.partition("/")[0] != "formula_images",
            **DEFAULTS[self.network],
        }
        if self.group_memory is None:
            on_cpu = self.devices and self.devices.startswith(LOGICAL)
            memory = (None if on_cpu else machine.gpu_memory()) or machine.memory()
            object.__setattr__(self, "group_memory", memory / 2**31)
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        positive = ("image_size", "steps", "batch_size", "learning_rate", "validations")
        for name in (*positive, "group_memory"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name}={getattr(self, name)}: must be positive and finite.")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"--weight_decay={self.weight_decay}: expected 0 or more.")
        if self.metrics_every is None:
            object.__setattr__(self, "metrics_every", math.ceil(self.steps / _LOOKS))
        if self.metrics_every < 0:
            raise UserError(f"--metrics_every={self.metrics_every}: expected 0 or more.")
        smallest = self.architecture.smallest_image
        if self.image_size < smallest:
            raise UserError(
                f"--image_size={self.image_size}: {self.network} needs at least {smallest} pixels."
            )
        if not self.checkpoint_every >= 0:
            raise UserError(f"--checkpoint_every={self.checkpoint_every}: expected 0 or more.")
        if self.group_size is not None and self.group_size < 1:
            raise UserError(f"--group_size={self.group_size}: expected 1 or more.")
        if self.examples_per_class is not None and self.examples_per_class < 1:
            raise UserError(f"--examples_per_class={self.examples_per_class}: expected 1 or more.")
        for name, allowed in (("strategy", STRATEGIES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"--{name}={getattr(self, name)}: expected one of {', '.join(allowed)}."
                )
        if self.devices and not re.fullmatch(rf"{LOGICAL}[1-9]\d*|\d+(,\d+)*", self.devices):
            raise UserError(
                f"--devices={self.devices}: expected numbers of GPUs, as 0 or 0,2, or {LOGICAL}2."
            )
        numbers = (self.devices or "").split(",")
        if len(set(numbers)) < len(numbers):
            raise UserError(f"--devices={self.devices}: names a GPU twice.")
        if self.strategy == "multi_worker" and numbers[0].startswith(LOGICAL):
            raise UserError(f"--devices={self.devices}: is of one machine; see --strategy.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed={self.seed}: expected 0 to 2147483647.")
        if not self.treatments:
            raise UserError("--treatments: none given. Expected names such as A3B or baseB.")
        units = len(self.architecture.units)
        for treatment in self.treatments:
            if treatment.n >= units:
                raise UserError(
                    f"--treatments={treatment}: {self.network} has {units} units, so 1 to "
                    f"{units - 1} can be transferred."
                )
        tasks.check_split(self.split)
        if missing := [t.name for t in self.treatments if not exists(t, self.split)]:
            raise UserError(
                f"--split={self.split}: there is no task B, which {missing[0]} needs. Expected "
                "baseA and treatments such as A3A, A3A+ and R3A (--target=A --source=self)."
            )

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.network]

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
        for name in (
            "treatments",
            "data_dir",
            "validations",
            "metrics_every",
            "probes",
            "group_size",
            "group_memory",
            "checkpoint_every",
            "strategy",
            "devices",
            "memory_growth",
        ):
            fields.pop(name)
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
        return f"split {self.split}{amount}, seed {self.seed}"

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


def exists(treatment: Treatment, split: str) -> bool:
    """Whether the tasks of a split suffice for a treatment: the whole has no B."""
    return split != tasks.WHOLE or "B" not in (treatment.target, treatment.donor)
