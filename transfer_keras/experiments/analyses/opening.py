"""Opens an experiment that is on disk: its settings, its data, and its networks."""

import pathlib
from collections.abc import Callable, Sequence

import keras

from transfer_keras.config import (
    SEEDS_KEY,
    Experiment,
    PretrainedArchitecture,
    Request,
    Treatment,
    UserError,
    choices,
    dataset_names,
    default_setting,
    make_experiment,
)
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.run import facts_of_data
from transfer_keras.networks import pretrained
from transfer_keras.results import Workdir, as_begun, read_flags
from transfer_keras.training import Stop

# Settings that `experiment.json` does not have, or of which it has only a digest: where files are.
_PLACES = ("data_dir", "leave_out", "custom_objects", "donor", "donor_weights")


def open_run(
    workdir: Workdir,
    treatments: Sequence[Treatment],
    *,
    data_dir: str | None,
    log: Callable[[str], None],
    stop: Stop,
) -> Run:
    """Opens an experiment with its data, to look at networks of it that are done.

    Args:
        workdir: of the experiment.
        treatments: the networks.
        data_dir: where the dataset is; None: where it was when they were trained.
        log: called with a line now and then.
        stop: asked between two passes over pictures.

    Raises:
        UserError: if the data cannot be had, or are others than those that the networks were
            trained on.
    """
    experiment = _read_experiment(workdir, treatments, data_dir)
    dataset_names.check(experiment.data.dataset, experiment.data.data_dir)
    keras.mixed_precision.set_dtype_policy(experiment.training.precision)
    data = read_data(experiment)
    workdir.check_data(facts_of_data(data, workdir))
    return Run(experiment, workdir, data, None, log, stop)


def _read_experiment(
    workdir: Workdir, treatments: Sequence[Treatment], data_dir: str | None
) -> Experiment:
    """Makes the experiment of a workdir again, and checks that it is that one."""
    settings = dict(workdir.read_facts(complete=True)["settings"])
    path = workdir / "run.flags"
    flags = read_flags(path) if path.exists() else {}
    places = {name: flags.get(f"--{name}") for name in _PLACES}
    if data_dir is not None:
        places["data_dir"] = data_dir
    if isinstance(settings["split"], list):
        places["split"] = _list_of_classes(workdir, flags.get("--split"))
    if settings.get("donor") is None:
        for name in ("donor", "donor_weights", "batch_norm"):
            settings[name], places[name] = None, None
    elif not places["donor"]:
        raise UserError(
            f"{path}: does not say which --donor the networks were made from. Repeat the training, "
            "which writes it again."
        )
    settings["exif"] = choices.TURN if settings.get("exif") else choices.IGNORE
    seeds = settings.pop(SEEDS_KEY, None)
    known = {name: value for name, value in (settings | places).items() if _is_setting(name)}
    experiment = make_experiment(treatments, describe_donor=_describe, **known)
    if not seeds:
        experiment = experiment.replace(seeds_by_split=False)
    (experiment,) = as_begun([experiment], workdir.path)
    workdir.check(experiment.identity)
    return experiment


def _describe(request: Request) -> PretrainedArchitecture:
    return pretrained.describe_architecture(request.opened, request.training.image_size)


def _is_setting(name: str) -> bool:
    try:
        default_setting(name)
    except KeyError:
        return False
    return True


def _list_of_classes(workdir: Workdir, file: str | None) -> str:
    """Gives the file that lists the classes of A, which a workdir names only by its content."""
    if not file or not pathlib.Path(file).is_file():
        raise UserError(
            f"{workdir}/run.flags: --split={file}: no such file, which lists the classes of task A "
            "and is needed to read the data. Put it back."
        )
    return file
