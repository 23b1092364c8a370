"""The networks of a group before their first step."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from transfer_keras import results, surgery
from transfer_keras.config import Experiment, Treatment
from transfer_keras.datasets import Pixels
from transfer_keras.experiments.data import Data, image_preprocessing
from transfer_keras.networks import alexnet, load_trained, pretrained

_AVERAGED = 0.1  # BatchNorm's averages reach back over this part of a training at the most.


class Models(NamedTuple):
    """What a group is trained from.

    Attributes:
        fused: its networks as one model.
        frozen: name -> snapshot of what may not move in its network.
        references: name -> what its network is likened to: "donor", and "base" of its target; a
            base is likened to nothing.
    """

    fused: keras.Model
    frozen: Mapping[str, Mapping[str, str]]
    references: Mapping[str, Mapping[str, keras.Model]]


def make_networks(
    experiment: Experiment,
    workdir: pathlib.Path,
    data: Data,
    treatments: Sequence[Treatment],
    strategy: tf.distribute.Strategy,
) -> Models:
    """Makes the networks from their donors, with fresh weights from seed and treatment alone.

    Args:
        experiment: how.
        workdir: where their donors are.
        data: of the tasks.
        treatments: of one target, whose donors are done.
        strategy: where they will be trained.

    Raises:
        UserError: if a donor cannot be used.
    """
    target = treatments[0].target
    classes = len(data.pair.tasks[target])
    sources: dict[str | None, keras.Model] = {}
    networks = {}
    for treatment in treatments:
        if treatment.donor not in sources:
            sources[treatment.donor] = donor_network(experiment, workdir, data, treatment)
        networks[treatment.name] = treatment_network(
            experiment, classes, treatment, sources[treatment.donor]
        )
    frozen = {name: surgery.snapshot(model) for name, model in networks.items()}
    references: dict[str, dict[str, keras.Model]] = {t.name: {} for t in treatments}
    if experiment.metrics_every and sources.keys() != {None}:
        if target not in sources:
            sources[target] = trained_network(experiment, workdir, data, treatments[0].base)
        references = {
            t.name: {"donor": sources[t.donor], "base": sources[target]} for t in treatments
        }
    with strategy.scope():
        fused = surgery.fuse(networks)
    return Models(fused, frozen, references)


def donor_network(
    experiment: Experiment, workdir: pathlib.Path, data: Data, treatment: Treatment
) -> keras.Model:
    """What the treatment's network is made of: a trained base, or an untrained network."""
    task = experiment.pixels_of(treatment)
    if treatment.needs:
        model = trained_network(experiment, workdir, data, treatment.needs)
        if experiment.donor or task == treatment.donor:
            return model
        other = _build(
            experiment, data, treatment.donor, pixels_of_task(experiment, workdir, data, task)
        )
        other.set_weights(model.get_weights())
        return other
    pixels = None if experiment.donor else pixels_of_task(experiment, workdir, data, task)
    untrained = _build(experiment, data, treatment.target, pixels)
    if treatment.mode == "random":  # One untrained donor, whose lower part all of them share.
        random_seed = treatment.random_donor_seed(experiment.seed)
        return surgery.transplant(untrained, 0, seed=random_seed).model
    return untrained


def treatment_network(
    experiment: Experiment, classes: int, treatment: Treatment, donor: keras.Model
) -> keras.Model:
    """The treatment's network before its first step.

    Its BatchNorm layers average over a tenth of the steps at the most: with the momentum of .99 or
    .999 that most have, a short training would be tested with statistics of its beginning.
    """
    seed = treatment.seed(experiment.seed)
    mode = "fine_tune" if treatment.mode == "fine_tune" else "frozen"
    model, _ = surgery.transplant(
        donor,
        experiment.cut(treatment),
        head=classes,
        mode=mode,
        seed=seed,
        batch_norm=experiment.batch_norm,
        name=treatment.name,
    )
    momentum = max(0.0, 1 - 1 / (_AVERAGED * experiment.steps))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, momentum)
    return model


def trained_network(
    experiment: Experiment, workdir: pathlib.Path, data: Data, treatment: Treatment
) -> keras.Model:
    """A network that is done, from the disk.

    Raises:
        UserError: see `trained.load`.
    """
    if treatment.name in experiment.given:
        return pretrained.network(experiment)
    blueprint = _build(experiment, data, treatment.target)
    return load_trained(results.network_path(workdir, treatment.name), blueprint)


def pixels_of_task(experiment: Experiment, workdir: pathlib.Path, data: Data, task: str) -> Pixels:
    """What is normal in the pictures that a task is trained on; kept in the workdir."""
    path = results.pixels_path(workdir, task)
    if not path.exists():
        with results.whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **data.train[task].pixels()._asdict())
    with np.load(path) as arrays:
        return Pixels(**arrays)


def mean_image(
    experiment: Experiment, workdir: pathlib.Path, data: Data, treatments: Sequence[Treatment]
) -> np.ndarray | None:
    """float32 (resize, resize, 3), which the networks of a group take off their pictures, its
    centre by themselves; None where they take off a mean of each channel."""
    if experiment.preprocessing != "paper":
        return None
    (task,) = {experiment.pixels_of(treatment) for treatment in treatments}
    return pixels_of_task(experiment, workdir, data, task).mean.astype(np.float32)


def _build(
    experiment: Experiment, data: Data, target: str, pixels: Pixels | None = None
) -> keras.Model:
    """A network of the experiment's architecture, of which only that counts."""
    if experiment.donor:
        return pretrained.network(experiment)
    known = {}
    if pixels:
        mean = pixels.mean
        if mean.ndim == 3:
            mean = image_preprocessing(experiment).centre(mean[None])[0]
        known = {"mean": mean, "variance": pixels.variance}
    return alexnet.build(
        experiment.network,
        image_size=experiment.image_size,
        classes=len(data.pair.tasks[target]),
        **known,
    )
