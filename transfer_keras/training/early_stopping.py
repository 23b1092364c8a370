"""Which test of each network counts, and when its training is over."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from transfer_keras.training.scores import Predictions, Scores


@dataclasses.dataclass
class Standing:
    """What the tests of one network came to.

    Attributes:
        step: of the test that counts; 0 before the first.
        loss: the lowest of a test, in nats.
        waited: tests since, in which it has not fallen.
        tested: step of the last test, none after the network was done.
        scores: training scores then.
    """

    step: int = 0
    loss: float = math.inf
    waited: int = 0
    tested: int = 0
    scores: Scores | None = None


class EarlyStopping:
    """Follows the tests of all networks of a group.

    A network is done when its test loss has not fallen below its lowest for `patience` tests in a
    row; a loss that is no number never does. What counts for it is its best test, the first of
    equals. Its later tests are not looked at, so that it ends as if it were trained alone.

    All workers of a training see the same predictions, and so decide alike.

    Args:
        model: see `step.make_train_step`.
        patience: counted in tests; None: no network is ever done, and its last test counts.

    Attributes:
        standings: by the networks' names.
        predictions: by the networks' names, at the test that counts.
    """

    def __init__(self, model: keras.Model, patience: int | None):
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least one test. Received: {patience}")
        self._patience = patience
        self.standings = {name: Standing() for name in model.output}
        self.predictions: dict[str, Predictions] = {}
        self._weights: dict[str, list[np.ndarray]] = {}
        self._variables = {} if patience is None else _moving(model)

    @property
    def over(self) -> bool:
        """Whether all networks are done."""
        return all(map(self._done, self.standings.values()))

    @property
    def may_end(self) -> bool:
        """Whether all may be done after the next test."""
        return self._patience is not None and all(
            standing.waited >= self._patience - 1 for standing in self.standings.values()
        )

    def test(
        self, step: int, predictions: Mapping[str, Predictions], scores: Mapping[str, Scores]
    ) -> None:
        """Takes note of a test.

        Args:
            step: the updates done.
            predictions: of all networks.
            scores: training scores of all networks up to here.
        """
        for name, standing in self.standings.items():
            if self._done(standing):
                continue
            loss = predictions[name].scores.loss
            better = loss < standing.loss
            if better or not standing.step or self._patience is None:
                standing.step = step
                self.predictions[name] = predictions[name]
                self._weights[name] = [v.numpy().copy() for v in self._variables.get(name, ())]
            standing.loss = loss if better else standing.loss
            standing.waited = 0 if better else standing.waited + 1
            standing.tested, standing.scores = step, scores[name]

    def put_back(self) -> None:
        """Gives each network the weights that it had at the test that counts."""
        for name, variables in self._variables.items():
            for variable, value in zip(variables, self._weights[name], strict=True):
                variable.assign(value)

    def arrays(self) -> list[np.ndarray]:
        """For a checkpoint; none without patience."""
        return [
            array
            for name in self._variables
            if self.standings[name].step
            for array in (*self.predictions[name], *self._weights[name])
        ]

    def facts(self) -> dict:
        """For a checkpoint, as JSON takes it; none without patience."""
        return {name: dataclasses.asdict(self.standings[name]) for name in self._variables}

    def restore(self, arrays: Sequence[np.ndarray], facts: Mapping[str, Mapping]) -> Sequence:
        """From a checkpoint.

        Args:
            arrays: of which the last are its own.
            facts: its own.

        Returns:
            The other arrays.

        Raises:
            ValueError: if they are of other networks, or of a training without patience.
        """
        if facts.keys() != self._variables.keys():
            raise ValueError(f"Expected {list(self._variables)}. Received: {list(facts)}")
        for name, fact in reversed(facts.items()):
            standing = Standing(**fact)
            if not standing.step:
                continue
            standing.scores = Scores(*standing.scores)
            count = len(Predictions._fields) + len(self._variables[name])
            arrays, own = arrays[:-count], arrays[-count:]
            self.standings[name] = standing
            self.predictions[name] = Predictions(*own[: len(Predictions._fields)])
            self._weights[name] = list(own[len(Predictions._fields) :])
        return arrays

    def _done(self, standing: Standing) -> bool:
        return self._patience is not None and standing.waited >= self._patience


def _moving(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """All variables of each network that training moves: not the weights of frozen layers. No two
    networks that `surgery.fuse` put together share any."""
    found = {}
    for name, output in model.output.items():
        network = keras.Model(model.input, output)
        layers = list(network._flatten_layers())
        frozen = {
            id(v)
            for layer in layers
            if not layer.trainable
            for v in (*layer._trainable_variables, *layer._non_trainable_variables)
        }
        found[name] = [v for v in network.variables if id(v) not in frozen]
    return found
