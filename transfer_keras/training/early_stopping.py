"""Early stopping: which test of each network counts, and when its training is done."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from transfer_keras.training.keras_internals import all_layers, own_variables
from transfer_keras.training.scores import Predictions, Scores


@dataclasses.dataclass
class StoppingState:
    """The summary of one network's tests. Checkpoints hold it under the names of its fields.

    Attributes:
        step: the step of the test that counts; 0 before the first test.
        loss: the lowest loss of a test so far, in nats.
        waited: number of tests since it last fell.
        tested: the step of the last test; tests after the network was done are left out.
        scores: training scores at the last test.
    """

    step: int = 0
    loss: float = math.inf
    waited: int = 0
    tested: int = 0
    scores: Scores | None = None


class EarlyStopping:
    """Follows the tests of all networks of a group.

    A network is done when its test loss has not fallen below its lowest for `patience` tests in a
    row; a loss that is not a number never does. Its best test counts, the first of equals. Its
    later tests are ignored, so that it ends as if it were trained alone.

    All workers of a training see the same predictions, and so decide alike.

    Args:
        model: the fused model, images -> {name: logits}.
        patience: number of tests; None: no network is ever done, and its last test counts.

    Attributes:
        states: network's name -> its stopping state.
        predictions: network's name -> its predictions at the test that counts.

    Raises:
        ValueError: if the patience is less than one test.
    """

    def __init__(self, model: keras.Model, patience: int | None):
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be at least one test. Received: {patience}")
        self._patience = patience
        self.states = {name: StoppingState() for name in model.output}
        self.predictions: dict[str, Predictions] = {}
        self._best_weights: dict[str, list[np.ndarray]] = {}
        self._variables = {} if patience is None else _variables_not_frozen(model)

    @property
    def all_done(self) -> bool:
        """Tells whether all networks are done."""
        return all(map(self._is_done, self.states.values()))

    @property
    def may_end(self) -> bool:
        """Tells whether all networks may be done after the next test."""
        return self._patience is not None and all(
            state.waited >= self._patience - 1 for state in self.states.values()
        )

    def test(
        self,
        step: int,
        predictions: Mapping[str, Predictions],
        scores: Mapping[str, Scores],
        losses: Mapping[str, float] | None = None,
    ) -> None:
        """Takes note of a test.

        Args:
            step: number of updates done.
            predictions: of all networks.
            scores: training scores of all networks since the last log.
            losses: of all networks, by which their best test is found; None: those of the
                predictions.
        """
        for name, state in self.states.items():
            if self._is_done(state):
                continue
            loss = losses[name] if losses else predictions[name].scores.loss
            better = loss < state.loss
            if better or not state.step or self._patience is None:
                state.step = step
                self.predictions[name] = predictions[name]
                variables = self._variables.get(name, ())
                self._best_weights[name] = [v.numpy().copy() for v in variables]
            state.loss = loss if better else state.loss
            state.waited = 0 if better else state.waited + 1
            state.tested, state.scores = step, scores[name]

    def restore_best_weights(self) -> None:
        """Gives each network the weights that it had at the test that counts."""
        for name, variables in self._variables.items():
            for variable, value in zip(variables, self._best_weights[name], strict=True):
                variable.assign(value)

    def arrays(self) -> list[np.ndarray]:
        """Lists the arrays that a checkpoint holds; none without patience."""
        return [
            array
            for name in self._variables
            if self.states[name].step
            for array in (*self.predictions[name], *self._best_weights[name])
        ]

    def facts(self) -> dict:
        """Gives what a checkpoint holds besides, of types that JSON has; none without patience."""
        return {name: dataclasses.asdict(self.states[name]) for name in self._variables}

    def restore(
        self, arrays: Sequence[np.ndarray], states: Mapping[str, StoppingState]
    ) -> Sequence[np.ndarray]:
        """Takes the state from a checkpoint.

        Args:
            arrays: those of the checkpoint, of which the last are what `arrays` gave.
            states: what `facts` gave, by the networks' names.

        Returns:
            The other arrays.

        Raises:
            ValueError: if they are of other networks, or of a training without patience.
        """
        if states.keys() != self._variables.keys():
            raise ValueError(f"Expected {list(self._variables)}. Received: {list(states)}")
        for name in reversed(self._variables):
            state, variables = states[name], self._variables[name]
            if not state.step:
                continue
            if state.scores is None:
                raise ValueError(f"Expected scores of {name}")
            count = len(Predictions._fields) + len(variables)
            arrays, own = arrays[:-count], arrays[-count:]
            weights = own[len(Predictions._fields) :]
            if [w.shape for w in weights] != [tuple(v.shape) for v in variables]:
                raise ValueError(f"Expected other weights of {name}")
            self.states[name] = state
            self.predictions[name] = Predictions(*own[: len(Predictions._fields)])
            self._best_weights[name] = list(weights)
        return arrays

    def _is_done(self, state: StoppingState) -> bool:
        return self._patience is not None and state.waited >= self._patience


def _variables_not_frozen(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """Lists, for each network, all variables that training changes: not those of frozen layers.

    No two networks that `surgery.fuse` put together share any.
    """
    variables = {}
    for name, output in model.output.items():
        network = keras.Model(model.input, output)
        frozen = {
            id(variable)
            for layer in all_layers(network)
            if not layer.trainable
            for variable in own_variables(layer)
        }
        variables[name] = [v for v in network.variables if id(v) not in frozen]
    return variables
