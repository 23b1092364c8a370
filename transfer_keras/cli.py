"""The flags of a training, and of a study of several.

Everything here runs before TensorFlow is imported (that takes seconds), so that `--help` and
every error in a flag come at once.
"""

import itertools
import pathlib
from collections.abc import Sequence

from absl import flags

from transfer_keras import parsers, results, study, treatments
from transfer_keras.datasets import catalogue
from transfer_keras.errors import UserError
from transfer_keras.networks.tables import ARCHITECTURES
from transfer_keras.settings import MEANS, PRECISIONS, STRATEGIES, Experiment, exists
from transfer_keras.treatments import Treatment

FLAGS = flags.FLAGS
_OPTIMIZERS = ("sgd", "adam")
_SCHEDULES = ("step", "cosine")
_MOST_UNITS = 999
# What `flags_as_text` spells out for one experiment.
_OWN = ("n", "mode", "source", "target", "treatments", "split", "examples_per_class", "seed")
# What a sweep trains where nothing is said.
WHOLE_CURVE = {
    "n": "1-7",
    "mode": "frozen,fine_tune",
    "source": "other,self",
    "target": "A,B",
}


def _define(parser, name, default, help_text):
    return flags.DEFINE(parser, name, default, help_text, serializer=parsers.CommaSerializer())


_DATASET = flags.DEFINE_string(
    "dataset",
    "formula_images",
    "formula_images (drawn here, no download), tiny_imagenet, or any image-classification "
    "dataset of TFDS, as cifar10 or imagenet_resized/32x32; or folder:PATH, where pictures are in "
    "train/CLASS/ and val/CLASS/.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Where TFDS keeps prepared datasets (default: its own); for tiny_imagenet the zip or folder.",
)
_SPLIT = _define(
    parsers.Splits(),
    "split",
    "0",
    "How classes become tasks A and B: 0 to 3 (the paper's random halves; any number works), "
    "natural (natural against man-made), whole (all are A, there is no B), or a file that lists "
    "A's classes, one a line. A sweep takes several, as 0-3,natural.",
)
_EXAMPLES_PER_CLASS = _define(
    parsers.Amounts(),
    "examples_per_class",
    "all",
    "Train on the first so many of each class; tests keep all. A sweep takes several, as 5,25,all.",
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
_PREPROCESSING = flags.DEFINE_enum(
    "preprocessing",
    None,
    catalogue.PREPROCESSING,
    "paper: each picture whole to a square, minus the mean image; modern: its short side to the "
    "size, minus each channel's mean (by network).",
)
_MEAN = flags.DEFINE_enum(
    "mean",
    "source",
    MEANS,
    "Whose mean is taken off: of the task that the units come from, as the paper's networks have "
    "it, or of the task trained on.",
)
_AUGMENT = flags.DEFINE_bool(
    "augment", None, "Random crops and mirrors in training (default: but for formula_images)."
)
_BAD_IMAGES = flags.DEFINE_enum(
    "bad_images",
    "error",
    catalogue.POLICIES,
    "Whether pictures that cannot be decoded are refused, or left out and counted.",
)
_SEED = _define(
    parsers.Numbers(0, 2**31 - 1),
    "seed",
    "0",
    "All that is random follows from it. A sweep takes several, as 0-2.",
)
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
    "group_memory",
    None,
    "GiB that a group may take (default: half of a GPU's, or else of the machine's).",
    0,
)
_CHECKPOINT_EVERY = flags.DEFINE_float(
    "checkpoint_every", 60, "Seconds from one checkpoint to the next.", 0
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    STRATEGIES,
    "one device; mirrored: all of this machine; multi_worker: those of all machines that TF_CONFIG "
    "names; auto: as many as there are. --batch_size is that of all devices together.",
)
_DEVICES = flags.DEFINE_string(
    "devices", None, "Numbers of GPUs, as 0,2; or cpu:2, to try two devices on the CPU."
)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", PRECISIONS, "What is computed in; weights are always float32."
)
_JIT_COMPILE = flags.DEFINE_bool(
    "jit_compile", False, "Compile the training by XLA, whose dropout draws other masks."
)
_MEMORY_GROWTH = flags.DEFINE_bool(
    "memory_growth", False, "Take a GPU's memory as it is needed, not all at once."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the results (default: runs/<dataset>-split<s>-seed<s>; of a sweep "
    "runs/<dataset>-study).",
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan and train nothing.")

_N = _define(
    parsers.Numbers(1, _MOST_UNITS),
    "n",
    "3",
    "How many lower units are transferred, as 3 or 1,4-7.",
)
_MODE = _define(
    parsers.Choices(treatments.MODES), "mode", "frozen", "What becomes of the lower units."
)
_SOURCE = _define(
    parsers.Choices(treatments.SOURCES),
    "source",
    "other",
    "Where they come from: the other task (transfer), or the target itself (selffer).",
)
_TARGET = _define(parsers.Choices(treatments.TARGETS), "target", "B", "The task trained on.")
_TREATMENTS = _define(
    parsers.Treatments(),
    "treatments",
    None,
    "The paper's names, in place of --n, --mode, --source and --target: A3B,B3B+,R2B,baseA.",
)


def experiment_from_flags() -> Experiment:
    """One translation of the flags, checked against each other and the disk.

    Raises:
        UserError: naming the flag and what to do.
    """
    for name in ("split", "examples_per_class", "seed"):
        if len(FLAGS[name].value) > 1:
            raise UserError(
                f"{FLAGS[name].serialize()}: a training takes one. Several are a study: "
                "python -m transfer_keras.sweep takes the same flags."
            )
    wanted = _treatments_from_flags()
    return _experiment(wanted, _SPLIT.value[0], _EXAMPLES_PER_CLASS.value[0], _SEED.value[0])


def experiments_from_flags() -> tuple[Experiment, ...]:
    """Those of a study: every split, number of examples and seed that is asked for.

    Of the split "whole", which has no task B, only the treatments that need none.

    Raises:
        UserError: as `experiment_from_flags`.
    """
    wanted, experiments = _treatments_from_flags(), []
    for seed, amount, split in itertools.product(
        _SEED.value, _EXAMPLES_PER_CLASS.value, _SPLIT.value
    ):
        there = tuple(t for t in wanted if exists(t, split))
        if not there:
            raise UserError(
                f"--split={split}: there is no task B, which all of "
                f"{', '.join(t.name for t in wanted)} need. Add treatments such as baseA or R3A."
            )
        experiments.append(_experiment(there, split, amount, seed))
    return tuple(experiments)


def _treatments_from_flags() -> tuple[Treatment, ...]:
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
    return _TREATMENTS.value or treatments.combine(
        _N.value, _MODE.value, _SOURCE.value, _TARGET.value
    )


def _experiment(
    wanted: Sequence[Treatment], split: str, examples_per_class: int | None, seed: int
) -> Experiment:
    experiment = Experiment(
        treatments=wanted,
        dataset=_DATASET.value,
        data_dir=_DATA_DIR.value,
        split=split,
        examples_per_class=examples_per_class,
        network=_NETWORK.value,
        image_size=_IMAGE_SIZE.value,
        steps=_STEPS.value,
        batch_size=_BATCH_SIZE.value,
        learning_rate=_LEARNING_RATE.value,
        optimizer=_OPTIMIZER.value,
        schedule=_SCHEDULE.value,
        weight_decay=_WEIGHT_DECAY.value,
        preprocessing=_PREPROCESSING.value,
        mean=_MEAN.value,
        augment=_AUGMENT.value,
        bad_images=_BAD_IMAGES.value,
        seed=seed,
        validations=_VALIDATIONS.value,
        metrics_every=_METRICS_EVERY.value,
        probes=_PROBES.value,
        group_size=_GROUP_SIZE.value,
        group_memory=_GROUP_MEMORY.value,
        checkpoint_every=_CHECKPOINT_EVERY.value,
        strategy=_STRATEGY.value,
        devices=_DEVICES.value,
        precision=_PRECISION.value,
        jit_compile=_JIT_COMPILE.value,
        memory_growth=_MEMORY_GROWTH.value,
    )
    catalogue.check(experiment.dataset, experiment.data_dir)
    return experiment


def workdir_from_flags(experiment: Experiment) -> pathlib.Path:
    """The folder of the results, which may not belong to another experiment."""
    workdir = _workdir(experiment.default_workdir)
    results.check_workdir(workdir, experiment.identity)
    return workdir


def study_folder_from_flags(experiments: Sequence[Experiment]) -> pathlib.Path:
    """The folder of the experiments' workdirs, which may not belong to another study."""
    folder = _workdir(pathlib.Path("runs") / f"{experiments[0].subject}-study")
    wanted: dict[str, Experiment] = {}
    for experiment in experiments:
        other = wanted.setdefault(experiment.variant_name, experiment)
        if other is not experiment:
            raise UserError(
                f"--split={other.split},{experiment.split}: both would go to "
                f"{experiment.variant_name}. Give one of the files another name."
            )
    study.check(folder, {name: one.identity for name, one in wanted.items()})
    for name, experiment in wanted.items():
        results.check_workdir(folder / name, experiment.identity)
    return folder


def _workdir(default: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(_WORKDIR.value).expanduser() if _WORKDIR.value else default


def is_dry_run() -> bool:
    """Whether `--dry_run` was given."""
    return _DRY_RUN.value


def groups_are_sized() -> bool:
    """Whether a flag says how large groups are, not this machine."""
    return bool(_GROUP_MEMORY.value or _GROUP_SIZE.value)


def study_flags() -> list[str]:
    """The flags that make a study, as arguments of the program."""
    given = [flag for flag in FLAGS.get_flags_for_module(__name__) if flag.present]
    return [flag.serialize() for flag in given if flag.name != _DRY_RUN.name]


def flags_as_text(experiment: Experiment, workdir: pathlib.Path) -> str:
    """The flags that were given, as a flagfile that trains this experiment again."""
    given = [flag for flag in FLAGS.get_flags_for_module(__name__) if flag.present]
    lines = [f.serialize() for f in given if f.name not in (*_OWN, "workdir", "dry_run")]
    own = {
        "treatments": ",".join(t.name for t in experiment.treatments),
        "split": experiment.split,
        "examples_per_class": experiment.examples_per_class or parsers.ALL,
        "seed": experiment.seed,
        "workdir": workdir,
    }
    lines += [f"--{name}={value}" for name, value in own.items()]
    return "".join(f"{line}\n" for line in lines)
