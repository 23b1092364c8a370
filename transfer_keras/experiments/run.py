"""Runs one experiment. Read this first.

Two tasks are made of one dataset; a base is trained on each; each treatment takes the lower
units of a base, frozen or fine-tuned, and trains the rest anew on its target; every network
is tested on the same images as the base of its target.
"""

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from transfer_keras.config import (
    FOLDER,
    Experiment,
    Group,
    Interrupted,
    Treatment,
    UserError,
    parse_treatment,
)
from transfer_keras.datasets import KEPT_CONTENTS
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.data import TaskData, read_data
from transfer_keras.experiments.devices import (
    Devices,
    describe_devices,
    report_lost_workers,
    use_devices,
)
from transfer_keras.experiments.group_training import train_group_as_worker, train_groups
from transfer_keras.experiments.grouping import fits, plan_experiment
from transfer_keras.experiments.probes import train_probes, treatments_without_probes
from transfer_keras.experiments.tensorboard import write_curve, write_experiment_page
from transfer_keras.files import write_text
from transfer_keras.networks import check_whole
from transfer_keras.results import Workdir, as_begun
from transfer_keras.training import Monitor, defer_signals

_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy")  # Whose versions are kept.


def run_experiment(
    experiment: Experiment,
    workdir: Workdir,
    *,
    data: TaskData | None = None,
    flags: str = "",
    log: Callable[[str], None] = print,
    monitors: Sequence[Monitor] = (),
    deadline: float | None = None,
) -> tuple[Treatment, ...]:
    """Trains what is not in the workdir yet.

    Args:
        experiment: what is wanted.
        workdir: a new folder, or one of the same experiment; see `results.workdir` for what it
            holds.
        data: of the experiment, where it is read already; only the seed, the steps and the
            treatments may differ from those of the experiment that it was read for; with folds the
            seed must be of the same fold.
        flags: what repeats the run, to be kept beside the results.
        log: called with a line for the user now and then.
        monitors: what is called besides TensorBoard and the progress bar, in one training after
            the other.
        deadline: a moment of `time.monotonic()`, after which it stops as after a signal.

    Returns:
        All treatments that are wanted and the bases that they need, in the order of the plan;
        the row of each is on disk. Nothing, at a worker that is not the chief.

    Raises:
        UserError: if the data cannot be had or do not suffice, or the workdir belongs to
            another experiment.
        Interrupted: after a signal, or the deadline.
        WorkerLost: if another worker has ended.

    Example:
        >>> import tempfile
        >>> from transfer_keras.config import make_experiment
        >>> folder = tempfile.mkdtemp()
        >>> experiment = make_experiment(["baseB"], dataset="formula_images/6x30x8",
        ...                              data_dir=folder, image_size=16, steps=2, batch_size=4)
        >>> ran = run_experiment(experiment, Workdir(f"{folder}/run"), log=lambda line: None)
        Downloading and preparing dataset ...
        >>> [treatment.name for treatment in ran]
        ['baseB']
        >>> Workdir(f"{folder}/run").row("baseB").steps
        2
    """
    (experiment,) = as_begun([experiment], workdir.path)
    if not experiment.seeds_by_split and not experiment.donor:
        log("Begun by version 0.1.0: fresh weights go on to be the same in all splits.")
    if experiment.data.dataset.startswith(FOLDER) and not experiment.data.turns_pictures:
        log("Pictures are taken as they are stored, turned or not: --exif=ignore.")
    devices = use_devices(experiment.training, experiment.execution)
    with report_lost_workers(devices):
        if not devices.is_chief:
            _run_as_worker(experiment, workdir, devices)
            treatments = ()
        else:
            treatments = _run_as_chief(
                experiment, workdir, devices, data, flags, log, monitors, deadline
            )
            devices.share(None)
        devices.part()
    return treatments


def _run_as_chief(
    experiment: Experiment,
    workdir: Workdir,
    devices: Devices,
    data: TaskData | None,
    flags: str,
    log: Callable[[str], None],
    monitors: Sequence[Monitor],
    deadline: float | None,
) -> tuple[Treatment, ...]:
    """Runs an experiment by the process that writes."""
    workdir.check(experiment.identity)
    treatments = experiment.all_treatments
    if _report_done(experiment, workdir, log):
        _finish_clean_up(experiment, workdir, log)
        return treatments
    workdir.check_lock()
    workdir.check_places(treatments)
    check_finished(experiment, workdir)
    log(describe_devices(devices, experiment.training))
    data = data or read_data(experiment)
    if skipped := data.pair.skipped:
        log(f"{len(skipped)} pictures left out (named in {workdir}/experiment.json).")
    workdir.path.mkdir(parents=True, exist_ok=True)
    with workdir.lock(log=log), defer_signals(deadline) as stop:
        run = Run(experiment, workdir, data, devices, log, stop, monitors)
        begin_run(run, flags)
        with name_bad_images(data), report_lost_workers(devices):
            for groups in side_by_side(run, missing_groups(run)):
                if stop.requested:
                    raise Interrupted(f"the end of a group, before {groups[0]}")
                train_groups(run, groups)
                write_curve(workdir, experiment.title)
            write_curve(workdir, experiment.title)  # If the run that ended it was killed before.
            if experiment.execution.probes:
                train_probes(run, treatments_without_probes(workdir, treatments))
    return treatments


def check_finished(experiment: Experiment, workdir: Workdir) -> None:
    """Checks the files of networks that are done and that others need; writes nothing.

    What they need is their results, to compare with, and of some the network itself.

    Raises:
        UserError: if one is damaged.
    """
    treatments = experiment.all_treatments
    missing = workdir.missing(treatments)
    needed = {t.needs for t in missing if t.needs}
    needed |= {begun for t in missing if (begun := experiment.begins_with(t))}
    for treatment in treatments:
        if missing and treatment not in missing:
            workdir.predictions(treatment.name)
            if treatment in needed:
                check_whole(workdir.network_path(treatment.name))


def _run_as_worker(experiment: Experiment, workdir: Workdir, devices: Devices) -> None:
    """Runs an experiment by the other workers: each group that the chief names."""
    data = None
    with defer_signals() as stop:
        while order := devices.share(None):
            data = data or read_data(experiment)
            with name_bad_images(data), report_lost_workers(devices):
                train_group_as_worker(Run(experiment, workdir, data, devices, stop=stop), *order)


@contextlib.contextmanager
def name_bad_images(data: TaskData) -> Iterator[None]:
    """Names a picture that cannot be decoded, where it is met in the middle of a training.

    Raises:
        UserError: then.
    """
    try:
        yield
    except tf.errors.OpError:
        for examples in (data.train, data.test, data.held_back):
            data.pair.refuse_faults(examples)
        raise


def _report_done(experiment: Experiment, workdir: Workdir, log: Callable[[str], None]) -> bool:
    """Logs what is on disk already, and tells whether that is all."""
    treatments = experiment.all_treatments
    missing = workdir.missing(treatments)
    done = [treatment.name for treatment in treatments if treatment not in missing]
    if done:
        log(f"On disk already, not trained again: {', '.join(done)}")
    with_row = workdir.with_row
    for name in [treatment.name for treatment in missing if treatment.name in with_row]:
        for path in workdir.missing_files(name):
            older = f" (of version 0.1.0: {path.stem}.npz)" if path.suffix == ".safetensors" else ""
            log(f"{name} is trained again, because this is missing that was there: {path}{older}")
    probes_missing = experiment.execution.probes and treatments_without_probes(workdir, treatments)
    return not probes_missing and not missing


def _finish_clean_up(experiment: Experiment, workdir: Workdir, log: Callable[[str], None]) -> None:
    """Does what a run that was killed at its very end has left undone, if that can be done now."""
    with contextlib.suppress(UserError, OSError), workdir.lock(log=log):
        workdir.clean_up(log)
        write_curve(workdir, experiment.title)


def missing_groups(run: Run) -> list[Group]:
    """Lists the groups that are not trained yet, bases first.

    Those that were begun come before others, and whole, as their checkpoints are.
    """
    planned = plan_experiment(run.experiment, run.data.pair.tasks)
    missing = {t for group in planned for t in run.workdir.missing(group.treatments)}
    begun = []
    for names in run.workdir.groups:
        group = Group(tuple(map(parse_treatment, names)))
        to_train = set(run.workdir.missing(group.treatments))
        if to_train and to_train <= missing:
            begun.append(group)
            missing -= to_train
    remaining = [Group(tuple(t for t in group.treatments if t in missing)) for group in planned]
    groups = [*begun, *(group for group in remaining if group.treatments)]
    return sorted(groups, key=lambda group: group.treatments[0].donor is not None)


def side_by_side(run: Run, groups: Sequence[Group]) -> list[tuple[Group, ...]]:
    """Puts the bases of both tasks side by side, and leaves all other groups by themselves.

    It does so on a single device, where the memory holds both. Monitors of the caller's own follow
    one training at a time.
    """
    bases = tuple(group for group in groups if not group.treatments[0].donor)
    classes = max(map(len, run.data.pair.tasks.values()))
    networks = [treatment for group in bases for treatment in group.treatments]
    is_single = run.devices.replicas == 1 and not run.monitors
    if not (is_single and fits(run.experiment, classes, networks)):
        return [(group,) for group in groups]
    others = [(group,) for group in groups if group not in bases]
    return [bases, *others] if bases else others


def facts_of_data(data: TaskData, workdir: Workdir) -> dict[str, object]:
    """Describes data, so that a later run knows whether it has the same.

    Args:
        data: that were read.
        workdir: that may know the digests of their files already.

    Raises:
        UserError: if a file cannot be read.
    """
    pair = data.pair
    classes = {name: task.class_names for name, task in pair.tasks.items()}
    contents = pair.contents(workdir / KEPT_CONTENTS).digest
    return {
        "dataset": pair.identity,
        **classes,
        "skipped_images": pair.skipped,
        "contents": contents,
    }


def begin_run(run: Run, flags: str) -> None:
    """Writes what an experiment is into its workdir, which is held by this process.

    Args:
        run: its workdir is an existing folder.
        flags: see `run_experiment`.

    Raises:
        UserError: if the workdir's results were made with other data.
    """
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    facts = facts_of_data(run.data, run.workdir)
    run.workdir.write_facts(run.experiment.identity, data=facts, versions=versions)
    kept = run.workdir / KEPT_CONTENTS
    run.data.pair.contents(kept).keep(kept)
    write_experiment_page(run, versions)
    write_text(run.workdir / "run.flags", flags)
    run.workdir.clean_up(run.log)
