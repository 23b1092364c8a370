"""Analyses of the networks of a study, each of which is kept on disk."""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from transfer_keras.config import Treatment
from transfer_keras.experiments.analyses.evaluation import network_file
from transfer_keras.experiments.analyses.interpolation import interpolate
from transfer_keras.experiments.analyses.opening import open_run
from transfer_keras.experiments.analyses.reinitialisation import reinitialise
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.probes import probe_accuracies
from transfer_keras.experiments.run import name_bad_images
from transfer_keras.networks import check_whole
from transfer_keras.results import analyses
from transfer_keras.training import Stop, defer_signals


class _Task(NamedTuple):
    """One analysis that is missing.

    Attributes:
        treatments: the networks that it needs.
        compute: run -> its record.
    """

    treatments: Sequence[Treatment]
    compute: Callable[[Run], analyses.Record]


def analyse_networks(
    selections: Sequence[analyses.Selection],
    kinds: Collection[str],
    *,
    data_dir: str | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Computes what is missing of analyses of finished networks, and keeps each in its workdir.

    Nothing is trained but linear probes. An analysis of a network whose file has changed since is
    made again.

    Args:
        selections: the networks of each workdir; see `results.analyses.select_networks`.
        kinds: of "interpolation", "reinitialisation" and "probes"; others are left out.
        data_dir: where the dataset is; None: where it was when they were trained.
        log: called with a line now and then.

    Raises:
        Interrupted: after a signal; what is done by then is kept.
        UserError: if the data cannot be had or are others, or a network's file is damaged.
    """
    with defer_signals() as stop:
        for selection in selections:
            _analyse(selection, kinds, data_dir, log, stop)


def _analyse(
    selection: analyses.Selection,
    kinds: Collection[str],
    data_dir: str | None,
    log: Callable[[str], None],
    stop: Stop,
) -> None:
    """Computes what is missing of one workdir."""
    workdir, store = selection.workdir, analyses.Store(selection.workdir, log)
    store.check_place()
    missing = _missing(selection, kinds, store)
    if not missing:
        return
    treatments = tuple(dict.fromkeys(t for task in missing for t in task.treatments))
    for treatment in treatments:
        check_whole(workdir.network_path(treatment.name))
    run = open_run(workdir, treatments, data_dir=data_dir, log=log, stop=stop)
    with name_bad_images(run.data):
        for task in missing:
            store.write(task.compute(run))


def _missing(
    selection: analyses.Selection, kinds: Collection[str], store: analyses.Store
) -> list[_Task]:
    """Lists the analyses that are not on disk, of networks as they are now."""
    tasks = []
    if analyses.Interpolation.KIND in kinds:
        tasks += [
            _Task(
                [pair.first] if pair.folder else [pair.first, pair.second],
                functools.partial(interpolate, pair=pair, store=store),
            )
            for pair in selection.pairs
            if not store.find(analyses.Interpolation, pair.names)
        ]
    for kind, compute, networks in (
        (analyses.Reinitialisation, reinitialise, selection.networks),
        (analyses.Probes, train_probes_of_tasks, selection.probed),
    ):
        if kind.KIND in kinds:
            tasks += [
                _Task([one], functools.partial(compute, treatment=one, store=store))
                for one in networks
                if not store.find(kind, (one.name,))
            ]
    return tasks


def train_probes_of_tasks(run: Run, treatment: Treatment, store: analyses.Store) -> analyses.Probes:
    """Trains linear probes of every task on each unit of a finished network.

    Args:
        run: what the network belongs to.
        treatment: of the network, which is done.
        store: gives the digests of files.

    Raises:
        Interrupted: if a stop was requested.
        UserError: if the file of the network is damaged.
    """
    network = run.source.finished(treatment)
    seed, test = run.experiment.training.seed, run.data.test
    tasks = {
        task: probe_accuracies(
            network,
            run.data.train[task],
            test[task],
            seed=seed,
            stop=run.stop,
            title=f"the linear probes of task {task} on {treatment}",
        )
        for task in sorted(test)
    }
    return analyses.Probes(
        sources=store.digests([network_file(treatment)]),
        target=treatment.target,
        test_images=len(test[treatment.target]),
        treatment=treatment.name,
        tasks=tasks,
        images={task: len(examples) for task, examples in test.items()},
    )
