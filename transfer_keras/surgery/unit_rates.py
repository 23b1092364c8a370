"""Learning rates by unit, for a plain `compile` and `fit`."""

import math
import numbers
from collections.abc import Mapping

import keras

from transfer_keras.surgery import cut, errors, graph, optimizers
from transfer_keras.surgery.units import Blocks, Cuts, Expand, Units, units


def layerwise_decay(
    model: keras.Model,
    decay: float,
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> dict[int, float]:
    """Gives factors of the learning rate that fall from unit to unit, from the top down.

    The top unit has 1, the one below it `decay`, then its square, and so on (discriminative
    fine-tuning, Howard and Ruder 2018, arXiv:1801.06146, which has 1/2.6).

    Args:
        model: a functional model or a built `Sequential`.
        decay: more than 0; below 1, lower units learn more slowly.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Returns:
        Index of the unit -> factor, for `unit_learning_rates` with the same `blocks`, `expand`
            and `cuts`.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, name="one"),
        ...     keras.layers.Dense(4, name="two"),
        ...     keras.layers.Dense(3, name="three"),
        ... ])
        >>> surgery.layerwise_decay(network, 0.5)
        {1: 0.25, 2: 0.5, 3: 1.0}
    """
    if not _is_factor(decay) or decay == 0:
        raise ValueError(f"decay must be a finite number above 0. Received: {decay!r}")
    count = len(units(model, blocks=blocks, expand=expand, cuts=cuts))
    return {index: float(decay) ** (count - index) for index in range(1, count + 1)}


def unit_learning_rates(
    model: keras.Model,
    optimizer: str | keras.optimizers.Optimizer,
    factors: Mapping[int | str, float],
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> keras.optimizers.Optimizer:
    """Makes an optimizer that multiplies the learning rate of each unit by a factor of its own.

    It is the learning rate that is multiplied, not the gradient, so the result is exact for
    optimizers with momentum and for those that divide by the size of the gradients, as Adam does.
    Weight decay uses the same learning rate: the decay of a weight is multiplied by its factor
    too. A factor of 0 leaves weights as they are; BatchNorm statistics still move, unless the
    layer is frozen.

    The result is compiled, scheduled and saved like any Keras optimizer. A file with it is loaded
    where `transfer_keras.surgery` has been imported, or with `compile=False`.

    Args:
        model: a functional model or a built `Sequential`, the one that will be compiled.
        optimizer: an SGD, Adam, AdamW, Adamax, Adagrad, Lion or RMSprop of Keras, or its name. It
            is not changed, and a state that it has is not used.
        factors: index of a unit (negative ones count from the top), or name of a unit or layer ->
            factor, 0 or more. All others have 1. Names of units override indices, and names of
            layers both; the name that a unit shares with its first layer means the unit.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Returns:
        An optimizer for `model.compile`.

    Raises:
        UnknownLayer: if a name is neither that of a unit nor of a layer.
        SharedAcrossCut: if units of different factors share a layer.
        NotRebuildable: if the optimizer is of another class.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> factors = {**surgery.layerwise_decay(network, 0.5), "two": 10.0}
        >>> optimizer = surgery.unit_learning_rates(network, keras.optimizers.Adam(1e-3), factors)
        >>> network.compile(optimizer, "mse")
        >>> _ = network.fit(np.ones((4, 8)), np.ones((4, 3)), verbose=0)
    """
    model_units = units(model, blocks=blocks, expand=expand, cuts=cuts)
    wrong = {key: factor for key, factor in factors.items() if not _is_factor(factor)}
    if wrong:
        raise ValueError(f"factors must be finite numbers, 0 or more. Received: {wrong}")
    by_unit, by_layer = _resolve(model, model_units, factors)
    by_weight: dict[int, tuple[str, float]] = {}
    for unit in model_units:
        factor = by_unit.get(unit.index, 1.0)
        for layer in unit.calls:
            for weight in layer.weights:
                name, before = by_weight.setdefault(id(weight), (unit.name, factor))
                if before != factor and layer.name not in by_layer:
                    raise errors.SharedAcrossCut(
                        f"Layer '{layer.name}' is in units '{name}' and '{unit.name}', which have "
                        f"the factors {before} and {factor}. Give both units one factor."
                    )
    for name, factor in by_layer.items():
        for weight in _layer(model, model_units, name).weights:
            by_weight[id(weight)] = name, factor
    pairs = [(v, by_weight[id(v)][1]) for v in model.variables if id(v) in by_weight]
    return optimizers.with_factors(optimizer, pairs)


def _resolve(model, model_units: Units, factors: Mapping) -> tuple[dict, dict]:
    """Sorts the factors: those of units, by their index, and those of layers, by their name."""
    by_index, by_name, by_layer = {}, {}, {}
    names = {unit.name: unit.index for unit in model_units}
    for key, factor in factors.items():
        if isinstance(key, str) and key in names:
            by_name[names[key]] = float(factor)
        elif isinstance(key, str):
            _layer(model, model_units, key)
            by_layer[key] = float(factor)
        else:
            if key == 0:
                raise errors.NotACutPoint(
                    f"factors: units count from 1 to {len(model_units)}, or from -1 down. "
                    "Received: 0"
                )
            place = cut.count_below(model_units, key)
            by_index[place + 1 if key < 0 else place] = float(factor)
    return by_index | by_name, by_layer


def _layer(model, model_units: Units, name: str) -> keras.Layer:
    """Finds a layer of the network, or one that `expand` gave."""
    known = {layer.name: layer for unit in model_units for layer in unit.layers}
    return known[name] if name in known else graph.calls(model, name)[0].operation


def _is_factor(value) -> bool:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf
