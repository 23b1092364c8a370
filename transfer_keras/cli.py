"""The flags of a training.

Everything here runs before TensorFlow is imported (that takes seconds), so that `--help` and
every error in a flag come at once.
"""

import pathlib
import re
from collections.abc import Sequence

from absl import flags

from transfer_keras import results, treatments
from transfer_keras.datasets import catalogue
from transfer_keras.errors import UserError
from transfer_keras.networks.tables import ARCHITECTURES
from transfer_keras.settings import Experiment

FLAGS = flags.FLAGS
_OPTIMIZERS = ("sgd", "adam")
_SCHEDULES = ("step", "cosine")
_MOST_UNITS = 999


class _UnitsParser(flags.ArgumentParser):
    """ "1,3,5-7" -> (1, 3, 5, 6, 7)."""

    syntactic_help = "units and ranges, as 3 or 1,3,5-7"

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        found: list[int] = []
        for part in argument.split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
            if not match:
                raise ValueError(f"expected units and ranges, as 3 or 1,3,5-7, found {part!r}")
            first, last = int(match[1]), int(match[2] or match[1])
            if first < 1 or last < first or last > _MOST_UNITS:
                raise ValueError(
                    f"a range begins at 1 or above, ascends and ends at {_MOST_UNITS} or below, "
                    f"found {part!r}"
                )
            found += range(first, last + 1)
        return tuple(dict.fromkeys(found))


class _ChoicesParser(flags.ArgumentParser):
    """ "frozen,random" -> ("frozen", "random")."""

    def __init__(self, choices: Sequence[str]):
        super().__init__()
        self._choices = choices
        self.syntactic_help = f"one or several of {', '.join(choices)}"

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        found = tuple(dict.fromkeys(part.strip() for part in argument.split(",")))
        for choice in found:
            if choice not in self._choices:
                raise ValueError(
                    f"expected one or several of {', '.join(self._choices)}, found {choice!r}"
                )
        return found


class _TreatmentsParser(flags.ArgumentParser):
    """ "A3B,B3B+" -> two `Treatment`s."""

    syntactic_help = "names as A3B, B3B+, R2B, baseA, separated by commas"

    def parse(self, argument):
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(dict.fromkeys(map(treatments.parse, argument.split(","))))


class _CommaSerializer(flags.ArgumentSerializer):
    def serialize(self, value):
        return ",".join(map(str, value))


def _define(parser, name, default, help_text):
    return flags.DEFINE(parser, name, default, help_text, serializer=_CommaSerializer())


_DATASET = flags.DEFINE_string(
    "dataset",
    "formula_images",
    "formula_images (drawn here, no download), tiny_imagenet, or any image-classification "
    "dataset of TFDS, as cifar10 or imagenet_resized/32x32.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Where TFDS keeps prepared datasets (default: its own); for tiny_imagenet the zip or folder.",
)
_SPLIT = flags.DEFINE_string(
    "split",
    "0",
    "How classes become tasks A and B: 0 to 3 (the paper's random halves; any number works), "
    "natural (natural against man-made), or a file that lists A's classes, one a line.",
)
_NETWORK = flags.DEFINE_enum(
    "network", "alexnet_small", sorted(ARCHITECTURES), "The network, eight units each."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels (default: 32 for alexnet_small, 227 for alexnet).", 1
)
_STEPS = flags.DEFINE_integer("steps", None, "Updates a network (default: by network).", 1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images an update (by network).", 1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", None, "The highest (by network).", 0)
_OPTIMIZER = flags.DEFINE_enum("optimizer", None, _OPTIMIZERS, "By network.")
_SCHEDULE = flags.DEFINE_enum(
    "schedule", None, _SCHEDULES, "How the learning rate falls (by network)."
)
_WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay", None, "L2 of kernels, inside the gradient (by network).", 0
)
_AUGMENT = flags.DEFINE_bool(
    "augment", None, "Random crops and mirrors in training (default: but for formula_images)."
)
_BAD_IMAGES = flags.DEFINE_enum(
    "bad_images",
    "error",
    ("error", "skip"),
    "Whether pictures that cannot be decoded are refused, or left out and counted.",
)
_SEED = flags.DEFINE_integer("seed", 0, "All that is random follows from it.", 0)
_VALIDATIONS = flags.DEFINE_integer(
    "validations", 20, "How often each network is tested while it trains.", 1
)
_METRICS_EVERY = flags.DEFINE_integer(
    "metrics_every",
    None,
    "Steps between two looks at every unit, for TensorBoard (default: 20 times, together with the "
    "tests, as one pass over the images serves both; 0: none). Changes no number.",
    0,
)
_PROBES = flags.DEFINE_bool(
    "probes",
    False,
    "Train a linear classifier on each unit of each finished network, and tell how far it gets.",
)
_GROUP_SIZE = flags.DEFINE_integer(
    "group_size",
    None,
    "The most treatments trained together, which changes time and memory and no number "
    "(default: as many as fit --group_memory, by an estimate that --dry_run prints).",
    1,
)
_GROUP_MEMORY = flags.DEFINE_float(
    "group_memory", None, "GiB that a group may take (default: half of the machine's).", 0
)
_CHECKPOINT_EVERY = flags.DEFINE_float(
    "checkpoint_every", 60, "Seconds from one checkpoint to the next.", 0
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the results (default: runs/<dataset>-split<s>-seed<s>)."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan and train nothing.")

_N = _define(_UnitsParser(), "n", "3", "How many lower units are transferred.")
_MODE = _define(
    _ChoicesParser(treatments.MODES), "mode", "frozen", "What becomes of the lower units."
)
_SOURCE = _define(
    _ChoicesParser(treatments.SOURCES),
    "source",
    "other",
    "Where they come from: the other task (transfer), or the target itself (selffer).",
)
_TARGET = _define(_ChoicesParser(treatments.TARGETS), "target", "B", "The task trained on.")
_TREATMENTS = _define(
    _TreatmentsParser(),
    "treatments",
    None,
    "The paper's names, in place of --n, --mode, --source and --target: A3B,B3B+,R2B,baseA.",
)


def experiment_from_flags() -> Experiment:
    """One translation of the flags, checked against each other and the disk.

    Raises:
        UserError: naming the flag and what to do.
    """
    chosen = [name for name in ("n", "mode", "source", "target") if FLAGS[name].present]
    if _TREATMENTS.value and chosen:
        raise UserError(
            f"--treatments and --{chosen[0]} both say what to train. Give one or the other."
        )
    units = len(ARCHITECTURES[_NETWORK.value].units)
    if not _TREATMENTS.value and max(_N.value) >= units:
        raise UserError(
            f"--n={max(_N.value)}: {_NETWORK.value} has {units} units, and at least one must be "
            f"left to train. Expected 1 to {units - 1}."
        )
    experiment = Experiment(
        treatments=_TREATMENTS.value
        or treatments.combine(_N.value, _MODE.value, _SOURCE.value, _TARGET.value),
        dataset=_DATASET.value,
        data_dir=_DATA_DIR.value,
        split=_SPLIT.value,
        network=_NETWORK.value,
        image_size=_IMAGE_SIZE.value,
        steps=_STEPS.value,
        batch_size=_BATCH_SIZE.value,
        learning_rate=_LEARNING_RATE.value,
        optimizer=_OPTIMIZER.value,
        schedule=_SCHEDULE.value,
        weight_decay=_WEIGHT_DECAY.value,
        augment=_AUGMENT.value,
        bad_images=_BAD_IMAGES.value,
        seed=_SEED.value,
        validations=_VALIDATIONS.value,
        metrics_every=_METRICS_EVERY.value,
        probes=_PROBES.value,
        group_size=_GROUP_SIZE.value,
        group_memory=_GROUP_MEMORY.value,
        checkpoint_every=_CHECKPOINT_EVERY.value,
    )
    catalogue.check(experiment.dataset, experiment.data_dir)
    return experiment


def workdir_from_flags(experiment: Experiment) -> pathlib.Path:
    """The folder of the results, which may not belong to another experiment."""
    chosen = _WORKDIR.value
    workdir = pathlib.Path(chosen).expanduser() if chosen else experiment.default_workdir
    results.check_workdir(workdir, experiment.identity)
    return workdir


def is_dry_run() -> bool:
    """Whether `--dry_run` was given."""
    return _DRY_RUN.value


def flags_as_text() -> str:
    """The flags that were given, as a flagfile that repeats the run."""
    ours = [flag for flag in FLAGS.get_flags_for_module(__name__) if flag.present]
    return "".join(f"{flag.serialize()}\n" for flag in ours if flag.name != "dry_run")
