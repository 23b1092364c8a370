"""What a training goes on from: all that a checkpoint holds."""

import dataclasses
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import UserError
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.early_stopping import EarlyStopping
from transfer_keras.training.scores import Scores

_STOPPING = "stopping"


@dataclasses.dataclass
class _Position:
    """Where a training is, but for its variables.

    Attributes:
        step: updates done.
        since: those of them since the last log.
        tests: [step, {network: [loss, top-1]}] of all tests so far.
        seconds: spent so far.
    """

    step: int = 0
    since: int = 0
    tests: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class State:
    """Where a training is.

    Args:
        model, optimizer: whose variables these are; the optimiser is built.
        stopping: what it has seen belongs to it.
        batch_size: examples an update.
    """

    def __init__(self, model, optimizer, stopping: EarlyStopping, batch_size: int):
        self._at, self._begun = _Position(), time.monotonic()
        self._names, self._batch_size = list(model.output), batch_size
        self._sums = tf.zeros((len(self._names), 2), keras.config.floatx())
        self._logged: dict[str, Scores] = {}
        self._variables = [*model.variables, *optimizer.variables]
        self._stopping = stopping

    @property
    def step(self) -> int:
        """Updates done."""
        return self._at.step

    @property
    def tests(self) -> list[tuple[int, dict[str, Scores]]]:
        """All tests so far, to which the loop adds."""
        return self._at.tests

    @property
    def seconds(self) -> float:
        """Spent so far, interruptions left out."""
        return self._at.seconds + time.monotonic() - self._begun

    def count(self, sums: tf.Tensor) -> None:
        """One more update; see `step.make_train_step`."""
        self._sums, self._at.since = self._sums + sums, self._at.since + 1
        self._at.step += 1

    def scores(self) -> dict[str, Scores]:
        """Training scores since the last log; those of the log where it was at this step."""
        if not self._at.since:
            return self._logged
        means = self._sums.numpy() / (self._at.since * self._batch_size)
        return {n: Scores(*map(float, m)) for n, m in zip(self._names, means, strict=True)}

    def log(self) -> dict[str, Scores]:
        """The scores; the next begin here."""
        self._logged = self.scores()
        self._sums, self._at.since = tf.zeros_like(self._sums), 0
        return self._logged

    def save(self, checkpoints: Checkpoints) -> None:
        """Writes it."""
        arrays = [variable.numpy() for variable in self._variables]
        facts = dataclasses.asdict(self._at) | {"seconds": self.seconds}
        stopping = self._stopping.facts()
        checkpoints.save(
            self.step,
            [*arrays, self._sums.numpy(), *self._stopping.arrays()],
            facts | ({_STOPPING: stopping} if stopping else {}),
        )

    def restore(self, arrays: Sequence[np.ndarray], facts: dict) -> None:
        """Puts what `save` has written back into the variables, and the rest here.

        Raises:
            UserError: if it is of another model.
        """
        facts = dict(facts)
        try:
            *values, sums = self._stopping.restore(arrays, facts.pop(_STOPPING, {}))
        except ValueError as error:
            raise UserError(f"The checkpoint is of another training: {error}. {_REMEDY}") from error
        found = [(value.shape, value.dtype.name) for value in values]
        expected = [(tuple(variable.shape), variable.dtype) for variable in self._variables]
        if found != expected:
            raise UserError(
                f"The checkpoint holds {len(found)} values of other shapes or types than the "
                f"{len(expected)} of these networks: another version of the program wrote it. "
                f"{_REMEDY}"
            )
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self._at, self._sums, self._begun = _Position(**facts), tf.constant(sums), time.monotonic()


_REMEDY = "Remove the folder `checkpoints` of the workdir to train the group from its beginning."
