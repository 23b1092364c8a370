"""A run: one experiment with its folder, data and devices."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

from transfer_keras.config import Experiment, Treatment
from transfer_keras.experiments.data import TaskData
from transfer_keras.experiments.devices import Devices
from transfer_keras.experiments.unit_sources import OpenedNetworks, TrainedBases, UnitSource
from transfer_keras.results import Workdir
from transfer_keras.training import Monitor, Stop


@dataclasses.dataclass(frozen=True)
class Run:
    """One experiment that is run by this process.

    Attributes:
        experiment: what is wanted.
        workdir: where its results are and go.
        data: its tasks and their pictures.
        devices: where it is trained; None in a process that leaves that to others.
        log: called with a line for the user now and then.
        stop: asked after each step.
        monitors: what is called besides TensorBoard and the progress bar.
    """

    experiment: Experiment
    workdir: Workdir
    data: TaskData
    devices: Devices | None
    log: Callable[[str], None] = print
    stop: Stop = dataclasses.field(default_factory=Stop)
    monitors: Sequence[Monitor] = ()

    @functools.cached_property
    def source(self) -> UnitSource:
        """Gives what the lower units of its networks come from."""
        kind = OpenedNetworks if self.experiment.opened else TrainedBases
        return kind(self.experiment, self.workdir, self.data, self.log)

    @property
    def missing(self) -> list[Treatment]:
        """Lists what is not on disk yet of all that it trains."""
        return self.workdir.missing(self.experiment.all_treatments)
