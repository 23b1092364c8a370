"""Learning rates by variable, and a warm-up in which a part of the networks is frozen."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import keras

from transfer_keras.training.keras_internals import variable_index


@dataclasses.dataclass(frozen=True)
class LearningRates:
    """The difference of each variable's learning rate from the recipe's.

    Attributes:
        factors: the learning rate is multiplied by them; one for each of
            `model.trainable_variables`. A `keras.Variable` can be set from step to step.
        frozen_in_warm_up: one for each variable too: whether it is unchanged in the warm-up.
        warm_up: number of steps of the warm-up, from the first on. The moments of an optimizer
            are updated in it.
        frozen_batch_norm: BatchNormalization layers of the same model that run in inference mode
            in the warm-up: their statistics and trainable variables are unchanged in it.
    """

    factors: Sequence[float | keras.Variable]
    frozen_in_warm_up: Sequence[bool]
    warm_up: int
    frozen_batch_norm: Sequence[keras.layers.Layer] = ()

    def __post_init__(self):
        if len(self.factors) != len(self.frozen_in_warm_up):
            raise ValueError(
                "factors and frozen_in_warm_up must have one entry a variable each. Received: "
                f"{len(self.factors)} and {len(self.frozen_in_warm_up)}"
            )
        numbers = [f for f in self.factors if not isinstance(f, keras.Variable)]
        wrong = [factor for factor in numbers if not 0 <= factor < math.inf]
        if wrong:
            raise ValueError(f"factors must be finite and not negative. Received: {wrong[:3]}")
        if self.warm_up < 0:
            raise ValueError(f"warm_up must not be negative. Received: {self.warm_up}")
        kinds = {type(layer).__name__ for layer in self.frozen_batch_norm if not _is_norm(layer)}
        if kinds:
            raise ValueError(
                f"frozen_batch_norm: expected batch normalisations. Received: {sorted(kinds)}"
            )

    def places_frozen_in_warm_up(self, variables: Sequence[keras.Variable]) -> frozenset[int]:
        """Finds the places of the variables that are unchanged in the warm-up.

        Args:
            variables: `model.trainable_variables`.

        Raises:
            ValueError: if there are more variables than factors, or fewer.
        """
        if len(variables) != len(self.factors):
            raise ValueError(
                f"factors: expected one for each of {len(variables)} variables. "
                f"Received: {len(self.factors)}"
            )
        of_norms = {id(v) for layer in self.frozen_batch_norm for v in layer.trainable_variables}
        return frozenset(
            place
            for place, variable in enumerate(variables)
            if self.frozen_in_warm_up[place] or id(variable) in of_norms
        )


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


# Names of weights that have rank 2 or more and are no kernels: biases of attention heads, and what
# is looked up, as positions and class tokens.
_NO_KERNELS = ("bias", "embeddings", "class_token", "position_embedding")


def is_kernel(variable: keras.Variable) -> bool:
    """Tells whether a variable is decayed: scales, biases, positions and class tokens are not."""
    return len(variable.shape) >= 2 and variable.name not in _NO_KERNELS


@contextlib.contextmanager
def inference_mode(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Makes BatchNormalization layers use their statistics and not update them.

    Keras gives no other way into a functional model: it ignores `training=False` of one layer.

    Args:
        layers: those that are called within the context; frozen ones are left alone.
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
    """Gives each variable its own learning rate; stands before the class of a Keras optimizer.

    Args:
        *args, **kwargs: passed on to the Keras optimizer.
        learning_rates: those of the variables that the optimizer is built with.
    """

    def __init__(self, *args, learning_rates: LearningRates, **kwargs):
        super().__init__(*args, **kwargs)
        self._rates_by_variable = learning_rates

    def build(self, variables):
        """Makes the state of the optimizer for the variables."""
        self._frozen_places = self._rates_by_variable.places_frozen_in_warm_up(variables)
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable with its own learning rate."""
        place = variable_index(self, variable)
        learning_rate = learning_rate * self._rates_by_variable.factors[place]
        if place in self._frozen_places:
            warm = keras.ops.less(self.iterations, self._rates_by_variable.warm_up)
            learning_rate = keras.ops.where(warm, 0.0, learning_rate)
        super().update_step(gradient, variable, learning_rate)


class SGD(_ByVariable, keras.optimizers.SGD):
    """SGD, whose momentum contains the learning rate: it stays zero for a frozen variable."""


class Adam(_ByVariable, keras.optimizers.Adam):
    """Adam, whose moments do not contain the learning rate: a frozen variable's are updated."""


class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW, whose weight decay takes nothing off what is no kernel."""

    def build(self, variables):
        """Makes the state of the optimizer for the variables."""
        self.exclude_from_weight_decay([v for v in variables if not is_kernel(v)])
        super().build(variables)


class _DecoupledDecay:
    """Takes a part of each kernel off before each step, as AdamW does; stands before Adam's class.

    Args:
        *args, **kwargs: passed on to the Keras optimizer.
        weight_decay: times the learning rate of the variable, the part.
    """

    def __init__(self, *args, weight_decay: float, **kwargs):
        super().__init__(*args, **kwargs)
        self._part = weight_decay

    def build(self, variables):
        """Makes the state of the optimizer for the variables."""
        self._decayed_places = {k for k, variable in enumerate(variables) if is_kernel(variable)}
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable, after its decay."""
        if variable_index(self, variable) in self._decayed_places:
            part = keras.ops.cast(self._part * learning_rate, variable.dtype)
            self.assign_sub(variable, variable * part)
        super().update_step(gradient, variable, learning_rate)


class AdamWByVariable(_ByVariable, _DecoupledDecay, keras.optimizers.Adam):
    """AdamW whose decay follows the learning rate of each variable.

    That of Keras has one rate for all decay: it would move what is frozen in the warm-up.
    """
