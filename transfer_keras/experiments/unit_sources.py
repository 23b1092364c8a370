"""Sources of the lower units of a treatment's network: bases trained here, or a donor."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Protocol

import keras
import numpy as np

from transfer_keras import networks, surgery
from transfer_keras.config import (
    STATISTICS,
    Experiment,
    PretrainedArchitecture,
    Request,
    Treatment,
    UserError,
    choices,
)
from transfer_keras.datasets import Pixels
from transfer_keras.experiments.data import TaskData, image_preprocessing
from transfer_keras.experiments.devices import hide_gpus, use_devices
from transfer_keras.networks import load_trained, pretrained, put_linear_head
from transfer_keras.results import Workdir

_TEST_BATCH = 256  # Fits the networks that are made here; donors may be of any size.


class UnitSource(Protocol):
    """Gives the networks from which others take their lower units."""

    @property
    def test_batch(self) -> int:
        """Gives how many pictures its networks are tested with at once."""

    @property
    def batch_norm(self) -> str | None:
        """Gives what becomes of BatchNorm; see `surgery.transplant`."""

    @property
    def frozen_dropout(self) -> bool:
        """Tells whether dropout of frozen units acts in training."""

    def prepare(self, treatments: Iterable[Treatment]) -> None:
        """Writes into the workdir what each process needs to make these networks."""

    def finished(self, treatment: Treatment) -> keras.Model:
        """Gives a network that is done, from the disk.

        Raises:
            UserError: see `networks.load_trained`.
        """

    def donor(self, treatment: Treatment) -> keras.Model:
        """Gives the trained network that a treatment takes its lower units from.

        Raises:
            UserError: see `networks.load_trained`.
        """

    def untrained(self, treatment: Treatment) -> keras.Model:
        """Gives a network of the architecture, for a treatment that has no trained donor."""

    def mean_image(self, treatments: Iterable[Treatment]) -> np.ndarray | None:
        """Gives the mean image that the networks of a group take off their pictures.

        They take off its centre by themselves.

        Returns:
            float32 (resize, resize, 3); None where they take off a mean of each channel.
        """


@dataclasses.dataclass(frozen=True)
class TrainedBases:
    """Both bases are trained here, each on its task; see `UnitSource`."""

    experiment: Experiment
    workdir: Workdir
    data: TaskData
    log: Callable[[str], None] = print
    test_batch = _TEST_BATCH
    batch_norm = None  # By the mode: fine-tuned units train theirs.
    frozen_dropout = True  # As in the paper.

    def prepare(self, treatments: Iterable[Treatment]) -> None:
        """Writes what is normal in the pictures of each task whose mean is taken off."""
        for task in {self.experiment.pixels_of(treatment) for treatment in treatments}:
            self.pixels(task)

    def finished(self, treatment: Treatment) -> keras.Model:
        """Loads a finished network."""
        path, blueprint = self.workdir.network_path(treatment.name), self._build(treatment.target)
        return load_trained(path, _as_treated(blueprint, self, treatment))

    def donor(self, treatment: Treatment) -> keras.Model:
        """Loads the base that a treatment needs, with the mean that its network takes off."""
        model, task = self.finished(treatment.needs), self.experiment.pixels_of(treatment)
        if task == treatment.needs.target:
            return model
        other = self._build(treatment.needs.target, self.pixels(task))
        other.set_weights(model.get_weights())
        return other

    def untrained(self, treatment: Treatment) -> keras.Model:
        """Builds a network for the treatment's target."""
        return self._build(treatment.target, self.pixels(self.experiment.pixels_of(treatment)))

    def mean_image(self, treatments: Iterable[Treatment]) -> np.ndarray | None:
        """Gives the mean image, where pictures are prepared as the paper did."""
        if self.experiment.data.preprocessing != choices.PAPER:
            return None
        (task,) = {self.experiment.pixels_of(treatment) for treatment in treatments}
        return self.pixels(task).mean.astype(np.float32)

    def pixels(self, task: str) -> Pixels:
        """Measures what is normal in the pictures that a task is trained on; kept on disk."""

        def measure() -> dict[str, np.ndarray]:
            return self.data.train[task].pixels()._asdict()

        return Pixels(**self.workdir.pixels(task, measure, self.log))

    def _build(self, target: str, pixels: Pixels | None = None) -> keras.Model:
        """Builds a network; without `pixels` only its architecture counts."""
        statistics = {}
        if pixels:
            mean = pixels.mean
            if mean.ndim == 3:
                mean = image_preprocessing(self.experiment).centre(mean[None])[0]
            statistics = {"mean": mean, "variance": pixels.variance}
        return networks.build(
            self.experiment.training.network,
            image_size=self.experiment.image_size,
            classes=len(self.data.pair.tasks[target]),
            **statistics,
        )


@dataclasses.dataclass(frozen=True)
class OpenedNetworks:
    """Networks of an architecture that is opened and not made of a table; see `UnitSource`.

    It is a donor's, which is base A; or that of a `NetworkSettings`, of which both bases are
    trained here. It brings its own scaling of pixels, so no mean is taken off.
    """

    experiment: Experiment
    workdir: Workdir
    data: TaskData
    log: Callable[[str], None] = print

    @property
    def test_batch(self) -> int:
        """Gives the batch of training, which the network fits in."""
        return self.experiment.training.batch_size

    @property
    def batch_norm(self) -> str | None:
        """Gives what is asked for of a donor's BatchNorm."""
        return self.experiment.opened.batch_norm

    @property
    def frozen_dropout(self) -> bool:
        """Tells what is asked for of a donor's dropout."""
        return self.experiment.opened.frozen_dropout is not False

    def prepare(self, treatments: Iterable[Treatment]) -> None:
        """Writes nothing: each process opens the network by itself."""

    def finished(self, treatment: Treatment) -> keras.Model:
        """Gives the donor, or loads a finished network of its architecture."""
        if treatment.name in self.experiment.given_bases:
            return self._network
        path = self.workdir.network_path(treatment.name)
        return load_trained(path, _as_treated(self._network, self, treatment))

    def donor(self, treatment: Treatment) -> keras.Model:
        """Gives the donor, or the base that was trained here."""
        return self.finished(treatment.needs)

    def untrained(self, treatment: Treatment) -> keras.Model:
        """Gives the network that was opened, of which only the architecture is used."""
        return self._network

    def mean_image(self, treatments: Iterable[Treatment]) -> None:
        """Gives none: the network scales pixels itself."""

    @property
    def _network(self) -> keras.Model:
        """Gives what was opened, which is not to be changed."""
        opened, image_size = self.experiment.opened, self.experiment.training.image_size
        return pretrained.open_pretrained(opened, image_size).model


def _as_treated(
    network: keras.Model, source: TrainedBases | OpenedNetworks, treatment: Treatment
) -> keras.Model:
    """Gives the architecture of a treatment's network, from that of its donor."""
    if not treatment.linear:
        return network
    classes = len(source.data.pair.tasks[treatment.target])
    return put_linear_head(network, source.experiment.units_transferred(treatment), classes)


def describe_donor(request: Request, *, train_here: bool = True) -> PretrainedArchitecture:
    """Opens the donor, or other network, of a request and describes its architecture.

    Args:
        request: whose network is opened.
        train_here: whether this process will train, and not only say what others shall: its
            devices are then chosen before they are used.

    Raises:
        UserError: if there are no such devices, or the donor cannot be used.
    """
    if train_here:
        use_devices(request.training, request.execution)
    else:
        hide_gpus()
    drawn = [treatment for treatment in request.treatments if treatment.donor == STATISTICS]
    if drawn:
        _check_drawable(request, drawn[0])
    return pretrained.describe_architecture(request.opened, request.training.image_size)


def _check_drawable(request: Request, treatment: Treatment) -> None:
    """Checks, before anything is trained, that units can be drawn by a donor's statistics."""
    opened = request.opened
    model = pretrained.open_pretrained(opened, request.training.image_size).model
    try:
        surgery.draw_like(model, seed=0)
    except surgery.SurgeryError as error:
        raise UserError(
            f"--treatments={treatment}: --{opened.FLAGS['path']}={opened.path}: "
            f"{surgery.reason(error)}"
        ) from error


def donor_notes(request: Request) -> list[str]:
    """Lists what a person should know of what becomes of a donor; nothing without one."""
    if not request.donor:
        return []
    opened = request.donor, request.training.image_size
    notes = [pretrained.describe_batch_norm(*opened), pretrained.describe_frozen(*opened)]
    return [note for note in notes if note]


def list_units(request: Request) -> str:
    """Draws a table of what n counts in the network of a request, to choose n from.

    Raises:
        UserError: if the network cannot be used.
    """
    return pretrained.list_units(request.opened, request.training.image_size)
