"""Makes requests of the flags, in one translation; all of it before TensorFlow is imported."""

import itertools
import os
import pathlib
from collections.abc import Sequence

from absl import flags

from transfer_keras.config import dataset_names, tasks, treatments
from transfer_keras.config import flags as experiment_flags
from transfer_keras.config.architectures import ARCHITECTURES
from transfer_keras.config.errors import UserError
from transfer_keras.config.experiment import Request, make_request
from transfer_keras.config.treatment_checks import continues_base
from transfer_keras.config.treatments import Treatment, suits_split

FLAGS = flags.FLAGS


def request(donor: str | None = None) -> Request:
    """Makes the one request of the flags, checked against each other and the disk.

    Args:
        donor: in place of that of the flags; None: that.

    Raises:
        UserError: naming the flag and what to do.
    """
    for name in experiment_flags.VARIED:
        if len(FLAGS[name].value) > 1:
            raise UserError(
                f"{FLAGS[name].serialize()}: a training takes one. Several are a study: "
                "python -m transfer_keras.sweep takes the same flags."
            )
    chosen = _treatments()
    return _request(chosen, _splits()[0], FLAGS.examples_per_class[0], FLAGS.seed[0], donor)


def requests_of_donors() -> tuple[Request, ...]:
    """Makes a request for each donor of the flags: `--donor=a.keras,b.keras` names two.

    Raises:
        UserError: as `request`; or if a donor is named twice.
    """
    given = FLAGS.donor or ""
    names = [given] if os.path.exists(given) else [x.strip() for x in given.split(",")]
    if len(names) == 1:
        return (request(),)
    if not all(names) or len(set(names)) < len(names):
        raise UserError(
            f"--donor={given}: expected different donors with one comma between two of them."
        )
    return tuple(request(name) for name in names)


def requests() -> tuple[Request, ...]:
    """Makes the requests of a study: every split, number of examples and seed of the flags.

    Of the split "whole", which has no task B, only the treatments that need none. Without `--n` and
    `--treatments`, bases that are trained on come besides, to compare what is fine-tuned with.

    Raises:
        UserError: as `request`.
    """
    chosen, splits = (*_treatments(), *_trained_on()), _splits()
    made = []
    for seed, amount, split in itertools.product(FLAGS.seed, FLAGS.examples_per_class, splits):
        suited = tuple(treatment for treatment in chosen if suits_split(treatment, split))
        if not suited:
            raise UserError(
                f"--split={split}: there is no task B, which all of "
                f"{', '.join(t.name for t in chosen)} need. Add treatments such as baseA or R3A."
            )
        made.append(_request(suited, split, amount, seed))
    return tuple(made)


def _request(
    chosen: Sequence[Treatment],
    split: str,
    examples_per_class: int | None,
    seed: int,
    donor: str | None = None,
) -> Request:
    settings = {f.name: f.value for f in FLAGS.get_flags_for_module(experiment_flags.__name__)}
    for name in (*experiment_flags.TREATMENT_FLAGS, *experiment_flags.NO_SETTINGS):
        settings.pop(name)
    settings |= {"split": split, "examples_per_class": examples_per_class, "seed": seed}
    settings["donor"] = (
        donor or settings["donor"] or None
    )  # `--donor=` takes one of a flagfile back.
    made = make_request(chosen, **settings)
    if made.data.folds and is_given("validation_split"):
        raise UserError(
            f"--validation_split={made.data.validation_split}: with --folds each part is validated "
            "on in turn. Leave one of them out."
        )
    names = ("validation_split", "validation_seed", "group_by")
    division = [name for name in names if is_given(name) and not made.data.folds]
    dataset_names.check(made.data.dataset, made.data.data_dir, division)
    return made


def _treatments() -> tuple[Treatment, ...]:
    chosen = [name for name in ("n", "mode", "source", "target") if FLAGS[name].present]
    if FLAGS.treatments and chosen:
        raise UserError(
            f"--treatments and --{chosen[0]} both say what to train. Give one or the other."
        )
    if FLAGS.treatments:
        return FLAGS.treatments
    combined = treatments.combine_treatments(FLAGS.n, FLAGS.mode, FLAGS.source, FLAGS.target)
    if not combined:
        raise UserError(
            "--mode=linear --source=statistics: a linear classifier is for units of a donor. "
            "Expected --source=other or self, or --mode=frozen or fine_tune."
        )
    known = ARCHITECTURES.get(FLAGS.network)  # A given network is opened later.
    if FLAGS.donor or not known:
        return combined
    units, n = len(known.units), max(FLAGS.n)
    if n > units or any(t.n == units and not continues_base(t, units) for t in combined):
        raise UserError(
            f"--n={n}: {FLAGS.network} has {units} units, and at least one must be "
            f"left to train. Expected 1 to {units - 1}; or, to train a base on, --n={units} "
            "--source=self --mode=fine_tune."
        )
    return combined


def _trained_on() -> tuple[Treatment, ...]:
    """Gives, where the whole figure is asked for, the bases of its targets that are trained on.

    What was fine-tuned has been trained for longer than its base; they have been for as long.
    """
    is_default = not (FLAGS.treatments or FLAGS.donor or FLAGS["n"].present)
    known = ARCHITECTURES.get(FLAGS.network)  # A given network is opened later.
    if not is_default or not known or "fine_tune" not in FLAGS.mode:
        return ()
    n = [len(known.units)]
    return treatments.combine_treatments(n, ["fine_tune"], ["self"], FLAGS.target)


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


def workdir(of_request: Request) -> pathlib.Path:
    """Gives the folder of the results."""
    return _workdir(of_request.default_workdir)


def study_folder(of_requests: Sequence[Request], kind: str = "study") -> pathlib.Path:
    """Gives the folder of the workdirs of a study, each of which has a name of its own.

    Raises:
        UserError: if two have the same name.
    """
    by_name: dict[str, Request] = {}
    for each in of_requests:
        other = by_name.setdefault(each.variant_name, each)
        if other is not each:
            raise UserError(
                f"--split={other.data.split},{each.data.split}: both would go to "
                f"{each.variant_name}. Give one of the files another name."
            )
    return _workdir(pathlib.Path("runs") / f"{of_requests[0].subject}-{kind}")


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
