"""Learning rates by variable, and a warm-up in which a part of the networks waits."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import keras


@dataclasses.dataclass(frozen=True)
class Rates:
    """How the learning rate of each variable differs from the recipe's.

    Attributes:
        factors: by which it is multiplied, one for each of `model.trainable_variables`.
        late: one for each too: whether the variable stays as it is in the warm-up.
        warm_up: the first so many steps. An optimiser's moments go on in them.
        still: batch normalisations, of the same model, that run in inference mode in the
            warm-up: their statistics, and what they have to train, stay as they are.
    """

    factors: Sequence[float]
    late: Sequence[bool]
    warm_up: int
    still: Sequence[keras.layers.Layer] = ()

    def __post_init__(self):
        if len(self.factors) != len(self.late):
            raise ValueError(
                "factors and late must have one entry a variable each. Received: "
                f"{len(self.factors)} and {len(self.late)}"
            )
        wrong = [factor for factor in self.factors if not 0 <= factor < math.inf]
        if wrong:
            raise ValueError(f"factors must be finite and not negative. Received: {wrong[:3]}")
        if self.warm_up < 0:
            raise ValueError(f"warm_up must not be negative. Received: {self.warm_up}")
        kinds = {type(layer).__name__ for layer in self.still if not _is_norm(layer)}
        if kinds:
            raise ValueError(f"still: expected batch normalisations. Received: {sorted(kinds)}")

    def waiting(self, variables: Sequence[keras.Variable]) -> frozenset[int]:
        """The places of the variables that stay as they are in the warm-up.

        Raises:
            ValueError: if there are more variables than factors, or fewer.
        """
        if len(variables) != len(self.factors):
            raise ValueError(
                f"factors: expected one for each of {len(variables)} variables. "
                f"Received: {len(self.factors)}"
            )
        held = {id(v) for layer in self.still for v in layer.trainable_variables}
        return frozenset(
            place
            for place, (late, variable) in enumerate(zip(self.late, variables, strict=True))
            if late or id(variable) in held
        )


def _is_norm(layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


@contextlib.contextmanager
def inference_mode(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Batch normalisations that are called within it use their statistics and leave them.

    Keras gives no other way into a functional model: it ignores `training=False` of one layer.
    """
    layers = [layer for layer in layers if layer.trainable]
    flags = [(v, v.trainable) for layer in layers for v in layer.weights]
    for layer in layers:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in layers:
            layer.trainable = True
        for variable, flag in flags:
            variable.trainable = flag


class _ByVariable:
    """Before a Keras optimiser's class: each variable has its own learning rate.

    Args:
        rates: of the variables that it is built with.
        others: as of the Keras optimiser.
    """

    def __init__(self, *others, rates: Rates, **named):
        super().__init__(*others, **named)
        self._rates = rates

    def build(self, variables):
        self._waiting = self._rates.waiting(variables)
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        place = self._get_variable_index(variable)
        learning_rate = learning_rate * self._rates.factors[place]
        if place in self._waiting:
            warm = keras.ops.less(self.iterations, self._rates.warm_up)
            learning_rate = keras.ops.where(warm, 0.0, learning_rate)
        super().update_step(gradient, variable, learning_rate)


class SGD(_ByVariable, keras.optimizers.SGD):
    """Momentum has the learning rate in it: that of a variable that waits stays zero."""


class Adam(_ByVariable, keras.optimizers.Adam):
    """Its moments have not: those of a variable that waits go on."""
