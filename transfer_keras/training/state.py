"""The state of a training: all that a checkpoint holds, and that a training goes on from."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Annotated

import keras
import msgspec
import numpy as np
import tensorflow as tf

from transfer_keras.config import UserError
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.early_stopping import EarlyStopping, StoppingState
from transfer_keras.training.scores import Scores

_STOPPING = "stopping"
_REMEDY = "Remove the folder `checkpoints` of the workdir to train the group from its beginning."


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@dataclasses.dataclass
class _Position:
    """How far a training is. Checkpoints hold it under the names of its fields.

    Attributes:
        step: number of updates done.
        since: number of updates since the last log.
        tests: [step, {network: [loss, top-1]}] of all tests so far.
        seconds: duration of the training up to the last checkpoint.
    """

    step: _Count = 0
    since: _Count = 0
    tests: list[tuple[int, dict[str, Scores]]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


class TrainingState:
    """Follows a training, and writes and reads its checkpoints.

    Args:
        model: the fused model.
        optimizer: built with the model's trainable variables.
        stopping: the early stopping, whose state is part of a checkpoint.
        batch_size: examples an update.
        seconds: what was spent on its examples before.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        stopping: EarlyStopping,
        batch_size: int,
        seconds: float = 0.0,
    ):
        self._position, self._begun = _Position(seconds=seconds), time.monotonic()
        self._names, self._batch_size = list(model.output), batch_size
        self._sums = tf.zeros((len(self._names), 2), keras.config.floatx())
        self._logged: dict[str, Scores] = {}
        self._variables = [*model.variables, *optimizer.variables]
        self._stopping = stopping

    @property
    def step(self) -> int:
        """Gives the number of updates done."""
        return self._position.step

    @property
    def tests(self) -> list[tuple[int, dict[str, Scores]]]:
        """Lists all tests so far; the loop appends to it."""
        return self._position.tests

    @property
    def seconds(self) -> float:
        """Gives the duration so far, without interruptions."""
        return self._position.seconds + time.monotonic() - self._begun

    def count(self, sums: tf.Tensor) -> None:
        """Counts one more update.

        Args:
            sums: float32 (names, 2), the sums that `step.make_train_step` describes.
        """
        self._sums = self._sums + sums
        self._position.since += 1
        self._position.step += 1

    def scores(self) -> dict[str, Scores]:
        """Computes the training scores since the last log.

        Directly after a log they are those of the log.
        """
        if not self._position.since:
            return self._logged
        means = self._sums.numpy() / (self._position.since * self._batch_size)
        return {
            name: Scores(*map(float, mean)) for name, mean in zip(self._names, means, strict=True)
        }

    def log(self) -> dict[str, Scores]:
        """Computes the training scores since the last log, and begins the next ones."""
        self._logged = self.scores()
        self._sums, self._position.since = tf.zeros_like(self._sums), 0
        return self._logged

    def save(self, checkpoints: Checkpoints) -> None:
        """Writes a checkpoint."""
        arrays = [variable.numpy() for variable in self._variables]
        facts = dataclasses.asdict(self._position) | {"seconds": self.seconds}
        stopping = self._stopping.facts()
        checkpoints.save(
            self.step,
            [*arrays, self._sums.numpy(), *self._stopping.arrays()],
            facts | ({_STOPPING: stopping} if stopping else {}),
        )

    def restore(self, arrays: Sequence[np.ndarray], facts: dict) -> None:
        """Takes the state, and the values of all variables, from a checkpoint.

        Args:
            arrays, facts: what `Checkpoints.latest` gave.

        Raises:
            UserError: if the checkpoint is of another model, or of another kind of training.
        """
        facts = dict(facts)
        try:
            stopping = msgspec.convert(facts.pop(_STOPPING, {}), dict[str, StoppingState])
            position = msgspec.convert(facts, _Position)
            *values, sums = self._stopping.restore(arrays, stopping)
        except ValueError as error:
            raise UserError(f"The checkpoint is of another training: {error}. {_REMEDY}") from error
        received = [(value.shape, value.dtype.name) for value in [*values, sums]]
        expected = [
            (tuple(each.shape), keras.backend.standardize_dtype(each.dtype))
            for each in [*self._variables, self._sums]
        ]
        if received != expected:
            raise UserError(
                f"The checkpoint holds {len(received)} values of other shapes or types than the "
                f"{len(expected)} of these networks: another version of the program wrote it. "
                f"{_REMEDY}"
            )
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self._position, self._sums = position, tf.constant(sums, self._sums.dtype)
        self._begun = time.monotonic()
