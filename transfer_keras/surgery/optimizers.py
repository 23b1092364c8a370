"""Optimizers with a learning rate and a step count of its own for each weight.

This is the only module that leans on private names of Keras's optimizers.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import keras

from transfer_keras.surgery import errors
from transfer_keras.surgery.rebuild import copied

_OPTIMIZERS = keras.optimizers
_KNOWN = (
    _OPTIMIZERS.SGD,
    _OPTIMIZERS.Adam,
    _OPTIMIZERS.AdamW,
    _OPTIMIZERS.Adamax,
    _OPTIMIZERS.Adagrad,
    _OPTIMIZERS.Lion,
    _OPTIMIZERS.RMSprop,
)


@dataclasses.dataclass
class _Plan:
    """The factors and first steps of an optimizer's weights. Keras does not look inside it.

    Attributes:
        factors, starts: one for each weight that the optimizer is built with; None: all are the
            default, 1 and 0.
        by_weight: identity of a weight of the model -> the weight, so that it lives on, and its
            factor; None: not known.
    """

    factors: Sequence[float] | None = None
    starts: Sequence[int] | None = None
    by_weight: Mapping[int, tuple[keras.Variable, float]] | None = None

    def bind(self, variables: Sequence[keras.Variable]) -> None:
        """Finds the factors of the weights that the optimizer is built with."""
        if self.by_weight is not None:
            unknown = [v.path for v in variables if id(v) not in self.by_weight]
            if unknown:
                raise errors.UnknownLayer(
                    f"The optimizer has no learning rate for {errors.first_few(unknown, 3)}: they "
                    "are not weights of the model that `unit_learning_rates` was called with."
                )
            self.factors = [self.by_weight[id(v)][1] for v in variables]
        for values in (self.factors, self.starts):
            if values is not None and len(values) != len(variables):
                raise errors.ShapeMismatch(
                    f"The optimizer has learning rates for {len(values)} weights; "
                    f"{len(variables)} are trained. Call `unit_learning_rates` and `compile` again."
                )

    def of(self, place: int) -> tuple[float, int]:
        """Gives the factor and the first step of the weight at a place."""
        factor = 1.0 if self.factors is None else self.factors[place]
        return factor, 0 if self.starts is None else self.starts[place]


class _ByWeight:
    """Gives each weight its own learning rate; stands before the class of a Keras optimizer.

    Args:
        *args, **kwargs: passed on to the Keras optimizer.
        factors: the learning rate of each weight is multiplied by one of them.
        starts: number of steps that had been made when the training of each weight began. Adam
            counts its steps from there.
    """

    # What is in force while a group of weights is updated.
    _factor = 1.0
    _start = 0

    def __init__(self, *args, factors=None, starts=None, **kwargs):
        super().__init__(*args, **kwargs)
        self._plan = _Plan(factors, starts)

    def build(self, variables):
        """Makes the state of the optimizer for the weights."""
        self._plan.bind(variables)
        super().build(variables)

    @property
    def iterations(self):
        """Counts the steps; during an update, from the first of the group's weights."""
        count = super().iterations
        return count - self._start if self._start else count

    def get_config(self):
        """Gives the arguments that make this optimizer again."""
        plan = self._plan
        lists = {"factors": plan.factors, "starts": plan.starts}
        return {
            **super().get_config(),
            **{key: None if value is None else list(value) for key, value in lists.items()},
        }

    def _groups(self, variables: Sequence) -> dict[tuple[float, int], list[int]]:
        """Groups weights by (factor, start), those that are not to move left out."""
        groups: dict = {}
        for place, variable in enumerate(variables):
            kind = self._plan.of(self._get_variable_index(variable))
            if kind[0]:
                groups.setdefault(kind, []).append(place)
        return groups

    @contextlib.contextmanager
    def _in_force(self, factor: float, start: int):
        self._factor, self._start = factor, start
        try:
            yield
        finally:
            self._factor, self._start = 1.0, 0

    def _get_current_learning_rate(self):
        rate = super()._get_current_learning_rate()
        return rate if self._factor == 1 else rate * self._factor

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None:
            return
        decayed = [variable for variable in variables if self._use_weight_decay(variable)]
        for kind, places in self._groups(decayed).items():
            with self._in_force(*kind):
                super()._apply_weight_decay([decayed[place] for place in places])

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        for (factor, start), places in self._groups(trainable_variables).items():
            with self._in_force(1.0, start):
                super()._backend_update_step(
                    [grads[place] for place in places],
                    [trainable_variables[place] for place in places],
                    learning_rate if factor == 1 else learning_rate * factor,
                )


def _subclass(optimizer_class: type) -> tuple[type, type]:
    """Makes the class that gives each weight its own learning rate.

    Returns:
        The class of the instances that Keras makes, and the subclass of it.
    """
    # On PyTorch, Keras makes instances of classes that stand behind its own.
    kind = type(optimizer_class.__new__(optimizer_class))
    name = f"{optimizer_class.__name__}ByWeight"
    doc = f"{optimizer_class.__name__} with a learning rate of its own for each weight."
    subclass = type(name, (_ByWeight, kind), {"__doc__": doc, "__module__": __name__})
    return kind, keras.saving.register_keras_serializable("transfer_keras", name)(subclass)


_BY_WEIGHT = dict(map(_subclass, _KNOWN))


def with_factors(optimizer, factors: Iterable[tuple[keras.Variable, float]]):
    """Makes an optimizer again, with a factor for the learning rate of each weight.

    Args:
        optimizer: a Keras optimizer, or its name; it is not changed.
        factors: a weight and its factor, for all weights that may be trained.

    Returns:
        An optimizer without state.

    Raises:
        NotRebuildable: if the optimizer is of no known class, or cannot be made again.
    """
    optimizer = keras.optimizers.get(optimizer)
    _check_known(optimizer)
    new = _made_again(optimizer, _BY_WEIGHT.get(type(optimizer), type(optimizer)))
    by_weight = {id(weight): (weight, factor) for weight, factor in factors}
    new._plan = _Plan(
        factors=[factor for weight, factor in by_weight.values() if weight.trainable],
        by_weight=by_weight,
    )
    return new


def trained_variables(optimizer) -> list[keras.Variable]:
    """Lists the weights that an optimizer is built with."""
    return list(optimizer._trainable_variables)


def with_variables(optimizer, variables: Sequence[keras.Variable]):
    """Makes an optimizer again for other weights, with its state for those that it had.

    The state of weights that come in is new. Where an optimizer corrects for the number of steps,
    as Adam does, their steps count from now.

    Args:
        optimizer: a built Keras optimizer; it is not changed.
        variables: the weights that are trained from now on.

    Raises:
        NotRebuildable: if the optimizer is of no known class, or cannot be made again.
    """
    if isinstance(optimizer, _OPTIMIZERS.LossScaleOptimizer):
        inner = with_variables(optimizer.inner_optimizer, variables)
        config = {key: v for key, v in optimizer.get_config().items() if key != "inner_optimizer"}
        new = _OPTIMIZERS.LossScaleOptimizer(inner, **config)
        new.build(variables)
        new.step_counter.assign(copied(optimizer.step_counter))
        new.dynamic_scale.assign(copied(optimizer.dynamic_scale))
        return new
    _check_known(optimizer)
    old_places = {id(v): place for place, v in enumerate(trained_variables(optimizer))}
    plan = getattr(optimizer, "_plan", _Plan())
    steps = int(copied(optimizer.iterations))
    starts = [plan.of(old_places[id(v)])[1] if id(v) in old_places else steps for v in variables]
    kind = type(optimizer)
    if hasattr(optimizer, "beta_2") and any(starts):
        # It corrects its moments for the number of steps, so that number matters.
        kind = _BY_WEIGHT.get(kind, kind)
    new = _made_again(optimizer, kind)
    if isinstance(new, _ByWeight):
        # An optimizer from a file knows no factors of weights that were frozen.
        factors = plan.factors if plan.by_weight is None else None
        new._plan = _Plan(factors, starts, plan.by_weight)
    new.build(list(variables))
    _copy_state(optimizer, new, old_places)
    return new


def _check_known(optimizer) -> None:
    if type(optimizer) not in _BY_WEIGHT and not isinstance(optimizer, _ByWeight):
        known = ", ".join(kind.__name__ for kind in _KNOWN)
        raise errors.NotRebuildable(
            f"The optimizer '{optimizer.name}' is of class {type(optimizer).__name__}. Expected "
            f"one of keras.optimizers: {known}."
        )


def _made_again(optimizer, kind: type):
    """Makes an optimizer of a class from the config of another one."""
    config = optimizer.get_config()
    if kind is not type(optimizer) or isinstance(optimizer, _ByWeight):
        config = {key: v for key, v in config.items() if key not in ("factors", "starts")}
    try:
        new = kind.from_config(config)
    except (TypeError, ValueError) as error:
        raise errors.NotRebuildable(
            f"The optimizer '{optimizer.name}' cannot be made again from its config: "
            f"{errors.one_line(error)}. Register its learning rate schedule with "
            "`keras.saving.register_keras_serializable`."
        ) from error
    # The config does not hold what `exclude_from_weight_decay` was told.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(new, name, getattr(optimizer, name))
    return new


def _copy_state(old, new, old_places: Mapping[int, int]) -> None:
    """Copies the state that belongs to no weight, and that of the weights that both have."""
    old_slots, new_slots = _slots(old), _slots(new)
    for name, slots in new_slots.items():
        for variable, slot in zip(trained_variables(new), slots, strict=True):
            if id(variable) in old_places and slot is not None:
                slot.assign(copied(old_slots[name][old_places[id(variable)]]))
            elif name == "_model_variables_moving_average" and slot is not None:
                # Keras gives the average its first value at the first step only.
                slot.assign(copied(variable))
    singles = (_singles(old, old_slots), _singles(new, new_slots))
    for source, target in zip(*singles, strict=True):
        target.assign(copied(source))


def _slots(optimizer) -> dict[str, list]:
    """Lists the state of each weight: name of the attribute -> one variable for each weight."""
    count = len(trained_variables(optimizer))
    return {
        name: list(value)
        for name, value in vars(optimizer).items()
        if name not in ("_variables", "_trainable_variables")
        and isinstance(value, list | tuple)
        and len(value) == count
        and all(slot is None or isinstance(slot, keras.Variable) for slot in value)
    }


def _singles(optimizer, slots: Mapping[str, list]) -> list:
    """Lists the state that belongs to no weight, such as the number of steps."""
    of_weights = {id(slot) for values in slots.values() for slot in values}
    return [variable for variable in optimizer.variables if id(variable) not in of_weights]
