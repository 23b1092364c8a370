"""Runs one experiment. Read this first.

Two tasks are made of one dataset; a base is trained on each; each treatment takes the lower
units of a base, frozen or fine-tuned, and trains the rest anew on its target; every network
is tested on the same images as the base of its target.
"""

import importlib.metadata
import math
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from transfer_keras import grouping, results, surgery
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair
from transfer_keras.monitors.history import History
from transfer_keras.monitors.progress import Progress
from transfer_keras.monitors.scalars import Scalars
from transfer_keras.networks import alexnet
from transfer_keras.plan import Group, with_bases
from transfer_keras.settings import Experiment
from transfer_keras.training import loop
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import Trained
from transfer_keras.treatments import Treatment

_TEST_BATCH = 250
_LOGS_PER_RUN = 100


def run(
    experiment: Experiment, workdir: pathlib.Path, *, say: Callable[[str], None] = print
) -> tuple[Treatment, ...]:
    """Trains what is not in the workdir yet.

    Args:
        experiment: what is wanted.
        workdir: a new folder, or one of the same experiment; see `results` for what it holds.
        say: called with a line for the user now and then.

    Returns:
        All treatments that are wanted and the bases that they need, in the order of the plan;
        the row of each is on disk.

    Raises:
        UserError: if the data cannot be had or do not suffice, or the workdir belongs to
            another experiment.
    """
    results.check_workdir(workdir, experiment.identity)
    wanted = with_bases(experiment.treatments)
    waiting = [t for t in wanted if not results.is_done(workdir, t.name)]
    if reused := [t.name for t in wanted if t not in waiting]:
        say(f"On disk already, not trained again: {', '.join(reused)}")
    if waiting:
        data = read(experiment)
        _begin(experiment, workdir, data.pair)
        for group in grouping.groups(experiment, data.pair.tasks):
            if left := tuple(t for t in group.treatments if t in waiting):
                train_group(experiment, workdir, data, Group(left))
    return wanted


class Data(NamedTuple):
    """The tasks, and their examples in memory: `train["A"]`, `test["B"]`, ..."""

    pair: TaskPair
    train: Mapping[str, Examples]
    test: Mapping[str, Examples]


def read(experiment: Experiment) -> Data:
    """The data of an experiment.

    Raises:
        UserError: see `TaskPair`.
    """
    pair = TaskPair(experiment.dataset, experiment.data_dir, experiment.split)
    preprocessing = Preprocessing(
        image_size=experiment.image_size,
        resize=experiment.resize,
        pad=experiment.architecture.pad,
        augment=experiment.augment,
    )
    return Data(pair, *pair.read(preprocessing, batch_size=experiment.batch_size))


def _begin(experiment: Experiment, workdir: pathlib.Path, pair: TaskPair) -> None:
    versions = {
        name: importlib.metadata.version(name)
        for name in ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    }
    classes = {name: task.class_names for name, task in pair.tasks.items()}
    results.write_experiment(
        workdir,
        experiment.identity,
        data={"dataset": pair.identity, **classes},
        versions=versions,
    )


def train_group(experiment: Experiment, workdir: pathlib.Path, data: Data, group: Group) -> None:
    """Makes the networks of a group, trains them together, and leaves each on disk.

    Args:
        experiment: how.
        workdir: where their donors are, and where they go.
        data: from `read`.
        group: of treatments whose donors are done.
    """
    for name in group.names:
        shutil.rmtree(workdir / name, ignore_errors=True)  # What an interrupted run left.
    begun = time.monotonic()
    fused, frozen = _fused(experiment, workdir, data, group)
    history = History()
    trained = loop.train(
        fused,
        data.train[group.target].training(batch_size=experiment.batch_size, seed=experiment.seed),
        data.test[group.target].evaluation(batch_size=_TEST_BATCH),
        recipe=_recipe(experiment),
        strategy=tf.distribute.get_strategy(),
        validate_every=math.ceil(experiment.steps / experiment.validations),
        log_every=math.ceil(experiment.steps / _LOGS_PER_RUN),
        monitors=[
            history,
            Progress(str(group), experiment.steps),
            Scalars({name: workdir / name for name in group.names}),
        ],
    )
    seconds = time.monotonic() - begun
    for treatment in group.treatments:
        name = treatment.name
        network = surgery.extract(fused, name)
        surgery.assert_unchanged(network, frozen[name])
        with results.whole(results.network_path(workdir, name)) as partial:
            network.save(partial)
        row = _row(treatment, network, trained[name], history, len(group.treatments), seconds)
        results.write_row(workdir, row, trained[name].predictions._asdict())


def _fused(experiment: Experiment, workdir: pathlib.Path, data: Data, group: Group):
    """One model of the group's networks before their first step, and what may not move in each."""
    networks = {t.name: _network(experiment, workdir, data, t) for t in group.treatments}
    frozen = {name: surgery.snapshot(network) for name, network in networks.items()}
    return surgery.fuse(networks), frozen


def _network(
    experiment: Experiment, workdir: pathlib.Path, data: Data, treatment: Treatment
) -> keras.Model:
    """The treatment's network before its first step."""
    target, seed = treatment.target, treatment.seed(experiment.seed)
    classes = len(data.pair.tasks[target])
    if treatment.needs:
        path = results.network_path(workdir, treatment.needs.name)
        donor = keras.saving.load_model(path, compile=False)
    else:
        mean, variance = data.train[target].pixel_statistics()
        donor = alexnet.build(
            experiment.network,
            image_size=experiment.image_size,
            classes=classes,
            mean=mean,
            variance=variance,
        )
    if treatment.mode == "random":  # One untrained donor, whose lower part all of them share.
        donor = surgery.transplant(
            donor, 0, seed=treatment.random_donor_seed(experiment.seed)
        ).model
    mode = "fine_tune" if treatment.mode == "fine_tune" else "frozen"
    model, _ = surgery.transplant(
        donor, treatment.n, head=classes, mode=mode, seed=seed, name=treatment.name
    )
    return model


def _recipe(experiment: Experiment) -> Recipe:
    return Recipe(
        steps=experiment.steps,
        batch_size=experiment.batch_size,
        learning_rate=experiment.learning_rate,
        optimizer=experiment.optimizer,
        schedule=experiment.schedule,
        weight_decay=experiment.weight_decay,
    )


def _row(
    treatment: Treatment,
    network: keras.Model,
    trained: Trained,
    history: History,
    group: int,
    seconds: float,
) -> results.Row:
    def scalars(weights: Iterable) -> int:
        return sum(int(tf.size(w.value)) for w in weights)

    loss, top1 = trained.predictions.scores
    return results.Row(
        treatment=treatment.name,
        donor=treatment.donor,
        n=treatment.n,
        target=treatment.target,
        mode=treatment.mode,
        top1=top1,
        loss=_finite(loss),
        outcome=trained.outcome,
        training_loss=_finite(trained.scores.loss),
        test_images=len(trained.predictions.label),
        classes=network.output.shape[-1],
        steps=history.tests[treatment.name][-1][0],
        group=group,
        seconds=seconds,
        parameters=scalars(network.weights),
        trainable_parameters=scalars(network.trainable_weights),
        validation=tuple(
            (step, _finite(nats), right) for step, nats, right in history.tests[treatment.name]
        ),
    )


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
