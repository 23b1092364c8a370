"""Makes experiments of the flags, in one translation.

Everything here runs before TensorFlow is imported (that takes seconds), so that every error in a
flag comes at once.
"""

import itertools
import pathlib
from collections.abc import Sequence

from absl import flags

from transfer_keras.config import dataset_names, tasks, treatments
from transfer_keras.config import flags as experiment_flags
from transfer_keras.config.architectures import ARCHITECTURES
from transfer_keras.config.errors import UserError
from transfer_keras.config.experiment import (
    DescribeDonor,
    Experiment,
    Sections,
    make_experiment,
    make_sections,
    suits_split,
)
from transfer_keras.config.treatments import Treatment

FLAGS = flags.FLAGS


def experiment(describe_donor: DescribeDonor) -> Experiment:
    """Makes the one experiment that the flags ask for, checked against each other and the disk.

    Args:
        describe_donor: see `make_experiment`; called once all flags are found right.

    Raises:
        UserError: naming the flag and what to do.
    """
    sections()
    return make_experiment(
        _treatments_from_flags(), describe_donor=describe_donor, **_settings_of_one()
    )


def sections() -> Sections:
    """Makes the settings of one experiment; its donor is not opened.

    Raises:
        UserError: as `experiment`.
    """
    for name in experiment_flags.VARIED:
        if len(FLAGS[name].value) > 1:
            raise UserError(
                f"{FLAGS[name].serialize()}: a training takes one. Several are a study: "
                "python -m transfer_keras.sweep takes the same flags."
            )
    return _checked_sections(_settings_of_one())


def experiments(describe_donor: DescribeDonor) -> tuple[Experiment, ...]:
    """Makes those of a study: every split, number of examples and seed that is asked for.

    Of the split "whole", which has no task B, only the treatments that need none.

    Raises:
        UserError: as `experiment`.
    """
    chosen, asked = _treatments_from_flags(), []
    for seed, amount, split in itertools.product(FLAGS.seed, FLAGS.examples_per_class, _splits()):
        suited = tuple(t for t in chosen if suits_split(t, split))
        if not suited:
            raise UserError(
                f"--split={split}: there is no task B, which all of "
                f"{', '.join(t.name for t in chosen)} need. Add treatments such as baseA or R3A."
            )
        settings = _settings(split, amount, seed)
        _checked_sections(settings)
        asked.append((suited, settings))
    return tuple(
        make_experiment(suited, describe_donor=describe_donor, **settings)
        for suited, settings in asked
    )


def sections_of_study() -> Sections:
    """Makes the settings of the first experiment of a study; its donor is not opened.

    Raises:
        UserError: as `experiment`.
    """
    return _checked_sections(_settings_of_one())


def _settings_of_one() -> dict:
    return _settings(_splits()[0], FLAGS.examples_per_class[0], FLAGS.seed[0])


def _settings(split: str, examples_per_class: int | None, seed: int) -> dict:
    """Gives the settings of one experiment, as `make_sections` takes them."""
    given = {f.name: f.value for f in FLAGS.get_flags_for_module(experiment_flags.__name__)}
    for name in (
        *experiment_flags.TREATMENT_FLAGS,
        *experiment_flags.NO_SETTINGS,
    ):
        given.pop(name)
    if given["donor"]:
        given.pop("network")
    return given | {"split": split, "examples_per_class": examples_per_class, "seed": seed}


def _checked_sections(settings: dict) -> Sections:
    checked = make_sections(**settings)
    division = [name for name in ("validation_split", "validation_seed") if is_given(name)]
    dataset_names.check(checked.data.dataset, checked.data.data_dir, division)
    return checked


def _treatments_from_flags() -> tuple[Treatment, ...]:
    chosen = [name for name in ("n", "mode", "source", "target") if FLAGS[name].present]
    if FLAGS.treatments and chosen:
        raise UserError(
            f"--treatments and --{chosen[0]} both say what to train. Give one or the other."
        )
    units = len(ARCHITECTURES[FLAGS.network].units)
    if not (FLAGS.treatments or FLAGS.donor) and max(FLAGS.n) >= units:
        raise UserError(
            f"--n={max(FLAGS.n)}: {FLAGS.network} has {units} units, and at least one must be "
            f"left to train. Expected 1 to {units - 1}."
        )
    return FLAGS.treatments or treatments.combine_treatments(
        FLAGS.n, FLAGS.mode, FLAGS.source, FLAGS.target
    )


def _splits() -> tuple[str, ...]:
    """Gives the splits that are asked for; with a donor there is one."""
    if not FLAGS.donor:
        return FLAGS.split
    for name in ("split", "network"):
        if FLAGS[name].present and FLAGS[name].value != (tasks.DONOR_SPLIT,):
            raise UserError(
                f"{FLAGS[name].serialize()}: with --donor all classes are B, and the network is "
                f"the donor's. Leave --{name} out."
            )
    return (tasks.DONOR_SPLIT,)


def workdir(for_experiment: Experiment) -> pathlib.Path:
    """Gives the folder of the results."""
    return _workdir(for_experiment.default_workdir)


def study_folder(of_experiments: Sequence[Experiment], kind: str = "study") -> pathlib.Path:
    """Gives the folder of the experiments' workdirs, each of which has a name of its own.

    Raises:
        UserError: if two have the same name.
    """
    by_folder: dict[str, Experiment] = {}
    for each in of_experiments:
        other = by_folder.setdefault(each.variant_name, each)
        if other is not each:
            raise UserError(
                f"--split={other.data.split},{each.data.split}: both would go to "
                f"{each.variant_name}. Give one of the files another name."
            )
    return _workdir(pathlib.Path("runs") / f"{of_experiments[0].subject}-{kind}")


def _workdir(default: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(FLAGS.workdir).expanduser() if FLAGS.workdir else default


def is_given(name: str) -> bool:
    """Tells whether a flag was given."""
    return bool(FLAGS[name].present)


def is_dry_run() -> bool:
    """Tells whether `--dry_run` was given."""
    return FLAGS.dry_run


def groups_are_sized() -> bool:
    """Tells whether a flag says how large groups are, not this machine."""
    return bool(FLAGS.group_memory or FLAGS.group_size)
