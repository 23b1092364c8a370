"""Flags as text, from which a run or a study is repeated."""

import pathlib

from absl import flags

from transfer_keras.config import choices, flag_types
from transfer_keras.config import flags as experiment_flags
from transfer_keras.config.errors import UserError
from transfer_keras.config.experiment import Experiment
from transfer_keras.config.paths import why_no_text
from transfer_keras.config.text import one_line, visible


def flags_as_text(experiment: Experiment, workdir: pathlib.Path) -> str:
    """Writes the flags that were given as a flagfile that trains one experiment again.

    A flagfile has a flag a line, without quotes, and what is around a line is cut off.

    Raises:
        UserError: if a value would not be read as it is.
    """
    spelled_out = (
        *experiment_flags.VARIED,
        *experiment_flags.TREATMENT_FLAGS,
        *experiment_flags.NO_SETTINGS,
        "donor",
    )
    lines = [flag.serialize() for flag in _given() if flag.name not in spelled_out]
    own = {
        "treatments": ",".join(t.name for t in experiment.treatments),
        "split": experiment.data.split,
        "examples_per_class": experiment.data.examples_per_class or flag_types.ALL,
        "seed": experiment.training.seed,
        "workdir": workdir,
    }
    if experiment.donor:  # `advise` chooses these, the donor too where several are given.
        own["donor"] = experiment.donor.path
        training = experiment.training
        names = ("steps", "warm_up_head", "validations", "head_first", "learning_rate")
        own |= {name: getattr(training, name) for name in names}
        own["transferred_learning_rate"] = (
            training.transferred_learning_rate or training.learning_rate
        )
        for name in ("fit_head", "scratch_learning_rate"):
            if value := getattr(training, name):
                own[name] = value
        if training.layerwise_decay != 1:
            own["layerwise_decay"] = training.layerwise_decay
        if training.class_weights != choices.UNWEIGHTED:
            own["class_weights"] = training.class_weights
        own["scratch"] = experiment.execution.scratch
        if experiment.data.views:
            own["views"] = experiment.data.views
    lines += [f"--{name}={value}" for name, value in own.items()]
    for line in lines:
        if why := why_no_text(line):
            raise UserError(f"{visible(one_line(line))}: {why}.")
    return "".join(f"{line}\n" for line in lines)


def study_flags() -> list[str]:
    """Gives the flags that make a study, as arguments of the program."""
    return [flag.serialize() for flag in _given() if flag.name != "dry_run"]


def _given() -> list[flags.Flag]:
    every = flags.FLAGS.get_flags_for_module(experiment_flags.__name__)
    return [flag for flag in every if flag.present]
