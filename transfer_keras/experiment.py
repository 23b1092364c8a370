"""Runs one experiment. Read this first.

Two tasks are made of one dataset; a base is trained on each; each treatment takes the lower
units of a base, frozen or fine-tuned, and trains the rest anew on its target; every network
is tested on the same images as the base of its target.
"""

import importlib.metadata
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf

from transfer_keras import results, surgery, tasks
from transfer_keras.datasets import sources
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.errors import UserError
from transfer_keras.monitors.history import History
from transfer_keras.monitors.progress import Progress
from transfer_keras.monitors.scalars import Scalars
from transfer_keras.networks import alexnet
from transfer_keras.plan import Group, plan
from transfer_keras.settings import Experiment
from transfer_keras.training import loop
from transfer_keras.training.optimizers import Recipe
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
    groups = plan(experiment.treatments)
    waiting = [g for g in groups if not all(results.is_done(workdir, n) for n in g.names)]
    reused = [name for g in groups if g not in waiting for name in g.names]
    if reused:
        say(f"On disk already, not trained again: {', '.join(reused)}")
    if waiting:
        data = _Data(experiment)
        _begin(experiment, workdir, data)
        for group in waiting:
            left = (t for t in group.treatments if not results.is_done(workdir, t.name))
            _train(experiment, workdir, data, Group(tuple(left)))
    return tuple(treatment for group in groups for treatment in group.treatments)


class _Data:
    """Tasks A and B of the dataset, in memory: `train["A"]`, `test["B"]`, ..."""

    def __init__(self, experiment: Experiment):
        source = sources.open_source(experiment.dataset, experiment.data_dir)
        a, b = tasks.split_classes(source.class_names, experiment.split)
        source.prepare()
        self.dataset = source.identity
        self.tasks = {"A": a, "B": b}
        _check_memory(experiment, source)
        preprocessing = Preprocessing(
            image_size=experiment.image_size,
            resize=experiment.resize,
            pad=experiment.architecture.pad,
            augment=experiment.augment,
        )
        self.train, self.test = (
            self._by_task(sources.read(source, split, preprocessing), preprocessing)
            for split in (source.train, source.test)
        )
        for task, examples in self.test.items():
            if not len(examples):
                raise UserError(f"--dataset={experiment.dataset}: task {task} has no test image.")
        for task, examples in self.train.items():
            if len(examples) < experiment.batch_size:
                raise UserError(
                    f"--batch_size={experiment.batch_size}: task {task} of {experiment.dataset} "
                    f"has {len(examples)} training images. Give a smaller batch."
                )

    def _by_task(self, split, preprocessing) -> dict[str, Examples]:
        return {
            name: Examples.of_classes(*split, task.labels, preprocessing)
            for name, task in self.tasks.items()
        }


def _check_memory(experiment: Experiment, source: sources.Source) -> None:
    """All pictures are held in memory: as they are read, by task, and by TensorFlow."""
    images = source.size(source.train) + source.size(source.test)
    needed = 3 * images * experiment.resize**2 * 3
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UserError(
            f"--dataset={experiment.dataset}: {images:,} pictures of {experiment.resize} pixels "
            f"need {needed / 2**30:.0f} GiB of memory, of which this machine has "
            f"{there / 2**30:.0f}. Give a smaller --image_size or dataset."
        )


def _begin(experiment: Experiment, workdir: pathlib.Path, data: _Data) -> None:
    versions = {
        name: importlib.metadata.version(name)
        for name in ("tensorflow", "keras", "tensorflow-datasets", "numpy")
    }
    facts = {name: task.class_names for name, task in data.tasks.items()}
    results.write_experiment(
        workdir,
        experiment.identity,
        data={"dataset": data.dataset, **facts},
        versions=versions,
    )


def _train(experiment: Experiment, workdir: pathlib.Path, data: _Data, group: Group) -> None:
    """Makes the networks of a group, trains them together, and leaves each on disk."""
    for name in group.names:
        shutil.rmtree(workdir / name, ignore_errors=True)  # What an interrupted run left.
    networks = {t.name: _network(experiment, workdir, data, t) for t in group.treatments}
    frozen = {name: surgery.snapshot(network) for name, network in networks.items()}
    fused = surgery.fuse(networks)
    history = History()
    begun = time.monotonic()
    predictions = loop.train(
        fused,
        data.train[group.target].training(batch_size=experiment.batch_size, seed=experiment.seed),
        data.test[group.target].evaluation(batch_size=_TEST_BATCH),
        recipe=_recipe(experiment),
        strategy=tf.distribute.get_strategy(),
        validate_every=math.ceil(experiment.steps / experiment.validations),
        log_every=math.ceil(experiment.steps / _LOGS_PER_RUN),
        monitors=[
            history,
            Progress(group.names, experiment.steps),
            Scalars({name: workdir / name for name in group.names}),
        ],
    )
    seconds = time.monotonic() - begun
    for treatment in group.treatments:
        network = surgery.extract(fused, treatment.name)
        surgery.assert_unchanged(network, frozen[treatment.name])
        with results.whole(results.network_path(workdir, treatment.name)) as partial:
            network.save(partial)
        row = _row(treatment, network, predictions[treatment.name], history, seconds)
        results.write_row(workdir, row, predictions[treatment.name]._asdict())


def _network(
    experiment: Experiment, workdir: pathlib.Path, data: _Data, treatment: Treatment
) -> keras.Model:
    """The treatment's network before its first step."""
    target, seed = treatment.target, treatment.seed(experiment.seed)
    classes = len(data.tasks[target])
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
    mode = "frozen" if treatment.mode == "base" else treatment.mode
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
    predictions: loop.Predictions,
    history: History,
    seconds: float,
) -> results.Row:
    def scalars(weights: Iterable) -> int:
        return sum(int(tf.size(w.value)) for w in weights)

    loss, top1 = predictions.scores
    return results.Row(
        treatment=treatment.name,
        donor=treatment.donor,
        n=treatment.n,
        target=treatment.target,
        mode=treatment.mode,
        top1=top1,
        loss=_finite(loss),
        test_images=len(predictions.label),
        classes=network.output.shape[-1],
        steps=history.tests[treatment.name][-1][0],
        seconds=seconds,
        parameters=scalars(network.weights),
        trainable_parameters=scalars(network.trainable_weights),
        validation=tuple(
            (step, _finite(nats), right) for step, nats, right in history.tests[treatment.name]
        ),
    )


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None
