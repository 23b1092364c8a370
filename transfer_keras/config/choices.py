"""The values that a setting may have, and other names with a meaning, each in one place."""

BAD_IMAGES = ("error", "skip")
TURN, IGNORE = EXIF = ("turn", "ignore")
FROZEN = "frozen"
BATCH_NORM = (FROZEN, "statistics_frozen", "train")
UNWEIGHTED, BALANCED = CLASS_WEIGHTS = ("none", "balanced")
MEANS = ("source", "target")
SGD, ADAM, ADAMW = OPTIMIZERS = ("sgd", "adam", "adamw")
PIXELS = ("0..255", "0..1", "-1..1")  # What a network takes of a picture.
PRECISIONS = ("float32", "mixed_bfloat16")
PAPER, MODERN = PREPROCESSING = ("paper", "modern")
_, COSINE = SCHEDULES = ("step", "cosine")
SAVED_MODEL, LITERT, ONNX = EXPORTS = ("saved_model", "litert", "onnx")
AUTO, ONE, MIRRORED, MULTI_WORKER = STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
_, ALWAYS, NEVER = KEEP_FEATURES = (AUTO, "always", "never")
UNIT, BLOCK = UNITS = ("unit", "block")

APPLICATIONS = "keras.applications."  # Before the name of a network there.
HUB = "keras_hub:"  # Before the name of a preset or class of KerasHub, or the folder of a preset.
IMAGENET, NO_WEIGHTS = "imagenet", "none"  # Of such a network, beside the path of a file.
LOGICAL_CPU = "cpu:"  # Before a number of devices that the CPU plays.
TF_CONFIG = "TF_CONFIG"  # TensorFlow's variable that names all machines.

# How the training of a network can end; see `training.outcome`.
TRAINED, DIVERGED, AT_CHANCE = "trained", "diverged", "at chance"
# Of `report --analyses`: what is computed of trained networks to explain a gap.
ANALYSES = ("interpolation", "reinitialisation", "classes", "probes")
