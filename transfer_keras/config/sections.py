"""The settings of an experiment in four sections, each of which checks itself.

Defaults stand here. What has none depends on the network, the dataset or the number of steps; see
`experiment.make_sections`.
"""

import dataclasses
import math
import re

from transfer_keras.config import choices, tasks
from transfer_keras.config.errors import UserError
from transfer_keras.config.image_folders import FOLDER, without_slash

_SMALLEST, LARGEST = 1e-37, 1e38  # Of float32, rounded.
MOST_SEEDS = 2**31
_MOST_ON_CPU = 64  # Devices that the CPU plays.


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which pictures, as which tasks.

    Attributes:
        dataset: "dataset", "dataset/config" or "folder:PATH".
        data_dir: where it is (see `dataset_names.check`).
        split: see `tasks.split_classes`.
        examples_per_class: the first so many of each class are trained on; None: all.
        preprocessing: "paper" or "modern", see `datasets.Preprocessing`.
        mean: "source" or "target": of which task the mean is that a network takes off its
            pictures, that of its donor or its own.
        augment: random crop and mirror in training.
        bad_images: "error" or "skip": whether pictures that cannot be decoded are refused or left
            out.
        leave_out: path of a list of a folder's pictures that are not used; None: all are.
        exif: "turn" or "ignore": whether a folder's pictures are turned as the orientation in their
            files says.
        validation_split, validation_seed: the part of a folder's pictures that is tested on, where
            it has no `val/`, and what draws them.
        folds: into how many parts all pictures of a folder are divided, those of `train/` and
            `val/` together; an experiment is tested on the part of number seed modulo folds.
        group_by: a regular expression, searched in the names of a folder's pictures; those in
            which it matches the same stay on one side.

    Raises:
        UserError: if a setting is out of range.
    """

    dataset: str = "formula_images"
    data_dir: str | None = None
    split: str = "0"
    examples_per_class: int | None = None
    preprocessing: str
    mean: str = "source"
    augment: bool
    views: int | None = None
    bad_images: str = "error"
    leave_out: str | None = None
    exif: str = choices.TURN
    validation_split: float = 0.2
    validation_seed: int = 0
    folds: int | None = None
    group_by: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "dataset", without_slash(self.dataset))
        _check_positive(self, "views", "examples_per_class", "folds")
        _check_most(self, "validation_seed")
        if self.views and not self.augment:
            raise UserError(
                f"--views={self.views}: without augmentation all views of a picture are the same. "
                "Give --augment, or leave --views out."
            )
        if not 0 < self.validation_split < 1:
            raise UserError(
                f"--validation_split={self.validation_split}: expected more than 0, less than 1."
            )
        if self.folds is not None and self.folds < 2:
            raise UserError(f"--folds={self.folds}: expected 2 or more.")
        for name in ("folds", "group_by", "leave_out"):
            if getattr(self, name) is not None and not self.dataset.startswith(FOLDER):
                raise UserError(
                    f"--{name}={getattr(self, name)}: is for a folder of pictures, and the dataset "
                    f"is {self.dataset}. Leave it out, or give --dataset={FOLDER}PATH."
                )
        if self.group_by is not None and (why := why_no_pattern(self.group_by)):
            raise UserError(f"--group_by={self.group_by}: expected a regular expression ({why}).")
        tasks.check_split(self.split)

    @property
    def turns_pictures(self) -> bool:
        """Tells whether pictures are turned as their files say, which those of TFDS are not."""
        return self.dataset.startswith(FOLDER) and self.exif == choices.TURN


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Which network, and how it is trained.

    Attributes:
        network: a key of `architectures.ARCHITECTURES`, the name of a donor, or what
            `NetworkSettings` opens.
        image_size: side of the network's input in pixels; None: what it was made for.
        steps, batch_size, learning_rate, optimizer, schedule, weight_decay, learning_rate_warm_up:
            see `training.Recipe`.
        fit_head: whether a last unit on frozen ones is fitted by penalised logistic regression, in
            place of being trained step by step; see `experiments.fit_heads`.
        seed: all that is random follows from it.
        validations: how often each network is tested while it is trained.
        transferred_learning_rate: the highest of transferred units that are fine-tuned; None:
            `learning_rate`.
        scratch_learning_rate: with a donor, the highest of what is trained from scratch; None:
            `learning_rate`.
        head_first: whether a network that is fine-tuned begins with the upper units of the frozen
            network of the same n, which is trained first (Kumar et al. 2022, "Fine-Tuning can
            Distort Pretrained Features and Underperform Out-of-Distribution").
        warm_up_head: steps for which what came from a donor is not trained yet, where it is
            fine-tuned.
        layerwise_decay: the learning rate of each transferred unit that is fine-tuned is so many
            times that of the one above it.
        early_stopping: a network is done when so many tests in a row have not lowered its loss,
            and is then taken as it was at its best test; None: all steps are done.
        early_stopping_split: the part of each class's training pictures by whose loss that is
            decided, in place of the test pictures; it is not trained on.
        class_weights: "balanced": in training each class counts the same, however many examples
            it has.
        precision: a dtype policy of Keras.
        jit_compile: whether XLA compiles the training; its dropout draws other masks.

    Raises:
        UserError: if a setting is out of range or two do not go together.
    """

    network: str
    image_size: int | None = None
    steps: int
    batch_size: int
    learning_rate: float
    optimizer: str
    schedule: str
    weight_decay: float
    learning_rate_warm_up: int = 0
    fit_head: bool = False
    seed: int = 0
    validations: int = 20
    transferred_learning_rate: float | None = None
    scratch_learning_rate: float | None = None
    head_first: bool = False
    warm_up_head: int = 0
    layerwise_decay: float = 1.0
    early_stopping: int | None = None
    early_stopping_split: float | None = None
    class_weights: str = "none"
    precision: str = "float32"
    jit_compile: bool = False

    def __post_init__(self):
        _check_positive(
            self,
            *("image_size", "steps", "batch_size", "learning_rate", "validations"),
            *("layerwise_decay", "early_stopping", "transferred_learning_rate"),
            "scratch_learning_rate",
        )
        for name in ("learning_rate", "transferred_learning_rate", "scratch_learning_rate"):
            value = getattr(self, name)
            if value is not None and not _SMALLEST <= value <= LARGEST:
                raise UserError(
                    f"--{name}={value}: is none that float32 has. Expected {_SMALLEST} to "
                    f"{LARGEST}."
                )
        if not 0 <= self.weight_decay <= LARGEST:
            raise UserError(
                f"--weight_decay={self.weight_decay}: expected 0 or more, up to {LARGEST}."
            )
        for name in ("warm_up_head", "learning_rate_warm_up"):
            _check_most(self, name)
            if not 0 <= getattr(self, name) < self.steps:
                raise UserError(
                    f"--{name}={getattr(self, name)}: expected 0 or more, and less than the "
                    f"{self.steps} steps."
                )
        if (part := self.early_stopping_split) is not None:
            if not 0 < part < 1:
                raise UserError(
                    f"--early_stopping_split={part}: expected more than 0, less than 1."
                )
            if self.early_stopping is None:
                raise UserError(
                    f"--early_stopping_split={part}: needs --early_stopping, the tests that a "
                    "network waits for a lower loss."
                )
        if not 0 <= self.seed < MOST_SEEDS:
            raise UserError(f"--seed={self.seed}: expected 0 to {MOST_SEEDS - 1}.")
        check_choice("precision", self.precision, choices.PRECISIONS)
        check_choice("class_weights", self.class_weights, choices.CLASS_WEIGHTS)

    def check_lowest_rate(self, n: int) -> None:
        """Checks that the rate of the lowest of n units is one that float32 has; 0 is one.

        Raises:
            UserError: if it is not.
        """
        rate = self.transferred_learning_rate or self.learning_rate
        if math.log(rate) + n * math.log(self.layerwise_decay) > math.log(LARGEST):
            raise UserError(
                f"--layerwise_decay={self.layerwise_decay}: the lowest of {n} units would be "
                f"trained at a rate above {LARGEST}. Expected 1 or less."
            )

    @property
    def validate_every(self) -> int:
        """Steps from one test to the next."""
        return math.ceil(self.steps / self.validations)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionSettings:
    """Where it runs and what is shown: nothing that any number depends on.

    Attributes:
        metrics_every: steps from one measurement of every unit to the next; 0: none.
        probes: whether linear probes are trained on the units of each finished network.
        scratch: whether, with a donor, a network is also trained from scratch to compare with.
        group_size: the most treatments that are trained together; None: as many as the memory
            holds.
        group_memory: GiB that a group may take; None: half of a GPU's, or else the machine's.
        keep_features: whether what frozen units make of a picture is computed once and kept, where
            pictures repeat: "auto", where that saves time.
        features_memory: GiB that kept features may take in memory, beyond which they are kept in
            files; None: a quarter of the machine's.
        checkpoint_every: seconds from one checkpoint to the next.
        strategy: "one" device; "mirrored", all of this machine; "multi_worker", those of all
            machines that TF_CONFIG names; "auto": as many as there are.
        devices: the GPUs' numbers, as "0,2"; or "cpu:4", for so many devices that the CPU plays;
            None: all GPUs, or the CPU.
        memory_growth: whether a GPU's memory is taken as it is needed, and not all at once.

    Raises:
        UserError: if a setting is out of range or two do not go together.
    """

    metrics_every: int
    probes: bool = False
    scratch: bool = True
    group_size: int | None = None
    group_memory: float | None = None
    keep_features: str = "auto"
    features_memory: float | None = None
    checkpoint_every: float = 60.0
    strategy: str = "auto"
    devices: str | None = None
    memory_growth: bool = False

    def __post_init__(self):
        _check_positive(self, "group_memory", "features_memory", "group_size")
        _check_most(self, "metrics_every", "checkpoint_every")
        check_choice("keep_features", self.keep_features, choices.KEEP_FEATURES)
        if self.metrics_every < 0:
            raise UserError(f"--metrics_every={self.metrics_every}: expected 0 or more.")
        if not self.checkpoint_every >= 0:
            raise UserError(f"--checkpoint_every={self.checkpoint_every}: expected 0 or more.")
        check_choice("strategy", self.strategy, choices.STRATEGIES)
        if self.devices:
            self._check_devices()
        if self.strategy == "multi_worker" and self.on_logical_cpu:
            raise UserError(f"--devices={self.devices}: is of one machine; see --strategy.")

    def _check_devices(self) -> None:
        on_cpu = re.escape(choices.LOGICAL_CPU)
        if not re.fullmatch(rf"{on_cpu}[0-9]{{1,9}}|[0-9]{{1,9}}(,[0-9]{{1,9}})*", self.devices):
            raise UserError(
                f"--devices={self.devices}: expected numbers of GPUs, as 0 or 0,2, or "
                f"{choices.LOGICAL_CPU}2."
            )
        numbers = [int(number) for number in re.findall(r"\d+", self.devices)]
        if self.on_logical_cpu and not 1 <= numbers[0] <= _MOST_ON_CPU:
            raise UserError(
                f"--devices={self.devices}: each device of the CPU holds the networks once more. "
                f"Expected {choices.LOGICAL_CPU}1 to {choices.LOGICAL_CPU}{_MOST_ON_CPU}."
            )
        if len(set(numbers)) < len(numbers):
            raise UserError(f"--devices={self.devices}: names a GPU twice.")

    @property
    def on_logical_cpu(self) -> bool:
        """Tells whether the CPU plays all devices, and no GPU is used."""
        return bool(self.devices) and self.devices.startswith(choices.LOGICAL_CPU)


def flags_of(section: type) -> dict[str, str]:
    """Maps the flag of each setting of a section to the name of its field."""
    renamed = getattr(section, "FLAGS", {})
    return {
        renamed.get(field.name, field.name): field.name for field in dataclasses.fields(section)
    }


def _check_positive(section, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name}={value}: must be positive and finite.")
    _check_most(section, *(name for name in names if not name.endswith("rate")))


def _check_most(section, *names: str) -> None:
    """Checks that numbers are none that counters of 32 bits do not hold."""
    for name in names:
        if (value := getattr(section, name)) is not None and not value < 2**31:
            raise UserError(f"--{name}={value}: expected at most {2**31 - 1}.")


def why_no_pattern(text: str) -> str | None:
    """Says why a text is no regular expression; None where it is one."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


def check_choice(name: str, value: str | None, allowed: tuple) -> None:
    """Checks the value of a setting that is one of a few."""
    if value not in allowed:
        known = ", ".join(filter(None, allowed))
        raise UserError(f"--{name}={value}: expected one of {known}.")
