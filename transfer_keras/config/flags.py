"""Defines the flags of a training, and of a study of several; see `from_flags`."""

from absl import flags

from transfer_keras.config import choices, flag_types, image_folders, treatments
from transfer_keras.config.architectures import ARCHITECTURES
from transfer_keras.config.experiment import DEFAULT_NETWORK, default_setting

_MOST_UNITS = 999
# What one experiment has of what a study has several of, and what makes its treatments.
VARIED = ("split", "examples_per_class", "seed")
TREATMENT_FLAGS = ("n", "mode", "source", "target", "treatments")
NO_SETTINGS = ("workdir", "dry_run")  # All others are settings of an experiment.
# Less is measured where time is short.
QUIET = {"metrics_every": 0, "validations": 10}
# What a sweep trains where nothing is said.
WHOLE_CURVE = {
    "n": "1-7",
    "mode": "frozen,fine_tune",
    "source": "other,self",
    "target": "A,B",
}


def _define(parser, name, default, help_text):
    return flags.DEFINE(parser, name, default, help_text, serializer=flag_types.CommaSerializer())


flag_types.define_path(
    "dataset",
    default_setting("dataset"),
    "formula_images (drawn here, no download), tiny_imagenet, or any image-classification "
    "dataset of TFDS, as cifar10 or imagenet_resized/32x32; or folder:PATH, where pictures are in "
    "CLASS/, or in train/CLASS/ and val/CLASS/.",
    prefixes=(image_folders.FOLDER,),
)
flag_types.define_path(
    "data_dir",
    None,
    "Where TFDS keeps prepared datasets (default: its own); for tiny_imagenet the zip or folder.",
)
_define(
    flag_types.Splits(),
    "split",
    [default_setting("split")],
    "How classes become tasks A and B: 0 to 3 (the paper's random halves; any number works), "
    "natural (natural against man-made), whole (all are A, there is no B), or a file that lists "
    "A's classes, one a line. A sweep takes several, as 0-3,natural.",
)
_define(
    flag_types.Amounts(),
    "examples_per_class",
    [default_setting("examples_per_class")],
    "Train on the first so many of each class; tests keep all. A sweep takes several, as 5,25,all.",
)
flag_types.define_path(
    "network",
    DEFAULT_NETWORK,
    f"The network, trained from scratch: {', '.join(sorted(ARCHITECTURES))}; or an architecture "
    "of keras.applications or KerasHub without its weights, as keras.applications.MobileNetV2 or "
    "keras_hub:PRESET. To take from one that is trained, see --donor.",
    prefixes=(choices.HUB,),
    words=tuple(ARCHITECTURES),
    others=(choices.APPLICATIONS,),
)
flags.DEFINE_integer(
    "image_size", None, "Side in pixels (default: what the network was made for).", 1
)
flags.DEFINE_integer("steps", None, "Updates a network (default: by network).", 1)
flags.DEFINE_integer("batch_size", None, "Images an update (by network).", 1)
flags.DEFINE_float("learning_rate", None, "The highest (by network).", 0)
flags.DEFINE_enum("optimizer", None, choices.OPTIMIZERS, "The optimiser (by network).")
flags.DEFINE_enum("schedule", None, choices.SCHEDULES, "How the learning rate falls (by network).")
flags.DEFINE_float(
    "weight_decay",
    None,
    "Of kernels: L2, inside the gradient; with adamw decoupled from it (by network).",
    0,
)
flags.DEFINE_integer(
    "learning_rate_warm_up",
    None,
    "Steps in which the learning rate rises from 0 (default: a share of the steps, by network).",
    0,
)
flags.DEFINE_enum(
    "preprocessing",
    None,
    choices.PREPROCESSING,
    "paper: each picture whole to a square, minus the mean image; modern: its short side to the "
    "size, minus each channel's mean (by network).",
)
flags.DEFINE_enum(
    "mean",
    default_setting("mean"),
    choices.MEANS,
    "Whose mean is taken off: of the task that the units come from, as the paper's networks have "
    "it, or of the task trained on.",
)
flags.DEFINE_bool(
    "augment", None, "Random crops and mirrors in training (default: but for formula_images)."
)
flags.DEFINE_integer(
    "views",
    None,
    "Repeat so many random crops and mirrors of each picture, epoch after epoch (default: new ones "
    "in each), so that what frozen units make of them can be kept.",
    1,
)
flags.DEFINE_enum(
    "bad_images",
    default_setting("bad_images"),
    choices.BAD_IMAGES,
    "Whether pictures that cannot be decoded are refused, or left out and counted.",
)
flag_types.define_path(
    "leave_out",
    None,
    "Text file with the paths of a folder's pictures that are not used, one a line, as "
    "check_pictures --fix=list writes it.",
)
flags.DEFINE_enum(
    "exif",
    default_setting("exif"),
    choices.EXIF,
    "Whether a folder's pictures are turned as the orientation in their files says.",
)
_define(
    flag_types.Numbers(0, 2**31 - 1),
    "seed",
    [default_setting("seed")],
    "All that is random follows from it. A sweep takes several, as 0-2.",
)
flags.DEFINE_integer(
    "validations",
    default_setting("validations"),
    "How often each network is tested while it trains.",
    1,
)
flags.DEFINE_integer(
    "metrics_every",
    None,
    "Steps between two measurements of every unit, for TensorBoard (default: 10 times a "
    "training, with every second test, as one pass over the images serves both; 0: none). Changes "
    "no number.",
    0,
)
flags.DEFINE_bool(
    "probes",
    default_setting("probes"),
    "Train a linear classifier on each unit of each finished network, and show its top-1.",
)
flags.DEFINE_bool(
    "scratch",
    None,
    "With --donor: also train a network from scratch, to compare with (default: yes; advise: where "
    "the budget allows).",
)
flags.DEFINE_integer(
    "group_size",
    None,
    "The most treatments trained together, which changes time and memory and no number "
    "(default: as many as fit --group_memory, by an estimate that --dry_run prints).",
    1,
)
flags.DEFINE_float(
    "group_memory",
    None,
    "GiB that a group may take (default: half of a GPU's, or else of the machine's).",
    0,
)
flags.DEFINE_enum(
    "keep_features",
    default_setting("keep_features"),
    choices.KEEP_FEATURES,
    "Compute what frozen units make of a picture once, and keep it, where pictures repeat (without "
    "augmentation, or with --views); auto: where that saves time.",
)
flags.DEFINE_float(
    "features_memory",
    None,
    "GiB of memory for kept features; beyond it they are files in the workdir (default: a quarter "
    "of the machine's).",
    0,
)
flags.DEFINE_float(
    "checkpoint_every",
    default_setting("checkpoint_every"),
    "Seconds from one checkpoint to the next.",
    0,
)
flags.DEFINE_enum(
    "strategy",
    default_setting("strategy"),
    choices.STRATEGIES,
    "one device; mirrored: all of this machine; multi_worker: those of all machines that TF_CONFIG "
    "names; auto: as many as there are. --batch_size is that of all devices together.",
)
flags.DEFINE_string(
    "devices", None, "Numbers of GPUs, as 0,2; or cpu:2, to try two devices on the CPU."
)
flags.DEFINE_enum(
    "precision",
    default_setting("precision"),
    choices.PRECISIONS,
    "What is computed in; weights are always float32.",
)
flags.DEFINE_bool(
    "jit_compile",
    default_setting("jit_compile"),
    "Compile the training by XLA, whose dropout draws other masks.",
)
flags.DEFINE_bool(
    "memory_growth",
    default_setting("memory_growth"),
    "Take a GPU's memory as it is needed, not all at once.",
)
flags.DEFINE_float(
    "validation_split",
    default_setting("validation_split"),
    "Part of a folder's pictures that is tested on, without val/.",
    0,
    1,
)
flags.DEFINE_integer(
    "validation_seed",
    default_setting("validation_seed"),
    "Which of a folder's pictures are tested on, without val/.",
    0,
)
flags.DEFINE_integer(
    "folds",
    None,
    "Divide all of a folder's pictures into so many parts; each seed is tested on another (advise: "
    "each network is trained so many times, and tested on all pictures).",
    2,
)
flags.DEFINE(
    flag_types.Pattern(),
    "group_by",
    None,
    "Regular expression: pictures in whose names it (or its first group) matches the same text "
    "stay on one side, as those of one patient or one burst.",
    serializer=flags.ArgumentSerializer(),
)
flag_types.define_path(
    "donor",
    None,
    "A trained network in the place of baseA: PATH.keras, PATH.h5 (of Keras 2 too), "
    "keras.applications.MobileNetV2 and its like, or keras_hub:PRESET, as "
    "keras_hub:resnet_18_imagenet. Then all classes of the dataset are B. advise takes several, "
    "with commas.",
    prefixes=(choices.HUB,),
    others=(choices.APPLICATIONS,),
    several=True,
)
flag_types.define_path(
    "donor_weights",
    default_setting("donor_weights"),
    "Weights of a donor of keras.applications: imagenet, none, or a path; of a preset of KerasHub "
    "none, or its own.",
    words=(choices.IMAGENET, choices.NO_WEIGHTS),
)
flag_types.define_path(
    "custom_objects",
    None,
    "Python module, or path of a .py file, with the classes of the donor that are not Keras's own; "
    "it is imported.",
)
flags.DEFINE_string(
    "donor_pixels",
    None,
    "What the donor takes, where it does not scale pixels itself: 0..255, 0..1, -1..1, or a module "
    "of keras.applications, as mobilenet_v2.",
)
flags.DEFINE_enum(
    "units",
    default_setting("units"),
    choices.UNITS,
    "What --n counts in a donor, or in a --network of keras.applications or KerasHub.",
)
flags.DEFINE_enum(
    "batch_norm",
    None,
    choices.BATCH_NORM,
    "BatchNorm of the transferred units: in inference mode; scale and shift trained, statistics "
    "kept; or trained (default: frozen).",
)
flags.DEFINE_bool(
    "frozen_dropout",
    default_setting("frozen_dropout"),
    "With --donor: dropout of frozen units acts in training.",
)
flags.DEFINE_bool(
    "fit_head",
    default_setting("fit_head"),
    "Where all but the last unit is frozen, fit it by penalised logistic regression, in place of "
    "training it step by step.",
)
flags.DEFINE_float(
    "transferred_learning_rate",
    None,
    "The highest of transferred units that are fine-tuned (default: with --donor 1e-4, else "
    "--learning_rate).",
    0,
)
flags.DEFINE_float(
    "scratch_learning_rate",
    None,
    "With --donor: the highest of what is trained from scratch (default: --learning_rate).",
    0,
)
flags.DEFINE_bool(
    "head_first",
    default_setting("head_first"),
    "Begin fine-tuning with the upper units of the frozen network of the same n, which is trained "
    "first.",
)
flags.DEFINE_integer(
    "warm_up_head",
    default_setting("warm_up_head"),
    "Steps before what is transferred is fine-tuned: the new units first.",
    0,
)
flags.DEFINE_float(
    "layerwise_decay",
    default_setting("layerwise_decay"),
    "Fine-tune each transferred unit at so many times the rate of the one above it.",
    0,
)
flags.DEFINE_integer(
    "early_stopping",
    None,
    "End a network when so many tests in a row have not lowered its loss, and take it as it was "
    "at its best one (default: all steps).",
    1,
)
flags.DEFINE_float(
    "early_stopping_split",
    None,
    "Decide that by this part of each class's training pictures, which is then not trained on "
    "(default: by the test pictures).",
)
flags.DEFINE_enum(
    "class_weights",
    default_setting("class_weights"),
    choices.CLASS_WEIGHTS,
    "balanced: classes count the same in training.",
)
flag_types.define_path(
    "workdir",
    None,
    "Folder of the results (default: runs/<dataset>-split<s>-seed<s>; of a sweep "
    "runs/<dataset>-study).",
)
flags.DEFINE_bool("dry_run", False, "Print the plan and train nothing.")

_define(
    flag_types.Numbers(1, _MOST_UNITS),
    "n",
    "3",
    "How many lower units are transferred, as 3 or 1,4-7.",
)
_define(
    flag_types.Choices(treatments.MODES),
    "mode",
    "frozen",
    "What becomes of the lower units; linear: frozen, and a linear classifier is all above them.",
)
_define(
    flag_types.Choices(treatments.SOURCES),
    "source",
    "other",
    "Where they come from: the other task (transfer), or the target itself (selffer); statistics: "
    "they are drawn at random, with mean and deviation of each tensor of the other task's.",
)
_define(flag_types.Choices(treatments.TARGETS), "target", "B", "The task trained on.")
_define(
    flag_types.Treatments(),
    "treatments",
    None,
    "The paper's names, in place of --n, --mode, --source and --target: A3B,B3B+,R2B,S3B,baseA.",
)
