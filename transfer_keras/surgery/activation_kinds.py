"""Recognises softmax, sigmoid and their logarithms by what a function computes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from transfer_keras.surgery import errors

_TOLERANCE = 1e-3
_TOLERANCE_16_BITS = 3e-2
_BATCH = 2
# Sizes of the axes between the batch and the last one. They differ, so that a softmax over another
# axis than the last is told from one over the last.
_SIZES = (3, 4, 5, 7, 8, 9, 10, 11)
_FAR = 10  # So many times the arrays.
_LAST = 6
_BY_NAME = {
    name: getattr(keras.activations, name)
    for name in ("softmax", "log_softmax", "sigmoid", "log_sigmoid", "linear")
}


class Kind(NamedTuple):
    """What a function computes.

    Attributes:
        name: "softmax", "sigmoid", "log_softmax", "log_sigmoid", "linear"; "other": no
            probabilities; "unknown": it gives probabilities but is none of these, or cannot be
            applied.
        axis: over which softmax is taken, if it is one.
        reason: why it is unknown.
    """

    name: str
    axis: int | None = None
    reason: str = ""

    @property
    def gives_probabilities(self) -> bool:
        """Tells whether it gives probabilities, or their logarithm, or may do so."""
        return self.name not in ("linear", "other")


def kind_of_activation(activation: Callable, rank: int, shape: Sequence[int | None] = ()) -> Kind:
    """Recognises the activation of a layer.

    Keras's own functions are known by identity. All others are applied to random arrays.

    Args:
        activation: function from one tensor to one tensor.
        rank: of these tensors, with the batch.
        shape: of the layer's outputs, for a function that takes no other; None is an open size.
    """
    for name, function in _BY_NAME.items():
        if activation is function:
            return Kind(name, -1 if "softmax" in name else None)
    small = (_BATCH, *_SIZES[: max(rank - 2, 0)], _LAST)[:rank]
    return kind_of(activation, [[small], [_closed(shape)]], ["float32"])


def kind_of(function: Callable, attempts: Sequence[list[tuple]], dtypes: Sequence[str]) -> Kind:
    """Recognises a function by its values at random arrays, at their negatives, and far out.

    Args:
        function: from tensors to one tensor.
        attempts: shapes of its arguments, which are tried in turn until the function takes them.
        dtypes: of its arguments; float32 stands for every floating dtype.
    """
    for shapes in attempts:
        rng = np.random.default_rng(0)
        arrays = [_random(rng, *wanted) for wanted in zip(shapes, dtypes, strict=True)]
        try:
            values, mirrored, far = (_apply(function, by, arrays) for by in (1, -1, _FAR))
        # A function of a person can fail in any way.
        except Exception as error:
            reason = f"cannot be applied to an array of the shape {shapes[0]}: "
            failure = Kind("unknown", reason=reason + errors.one_line(error)[:300])
            continue
        return _compare(arrays, values, mirrored, far)
    return failure


def region_shapes(shapes: Sequence[Sequence[int | None]]) -> list[list[tuple]]:
    """Gives small shapes and the real ones, for the `attempts` of a part of a graph."""
    closed = [_closed(shape) for shape in shapes]
    small = [tuple(min(size, _LAST) for size in shape) for shape in closed]
    return [small] if small == closed else [small, closed]


def _closed(shape: Sequence[int | None]) -> tuple[int, ...]:
    """Gives a shape with a size in the place of each open one."""
    return tuple(size or (_BATCH if axis == 0 else _SIZES[1]) for axis, size in enumerate(shape))


def _random(rng: np.random.Generator, shape: tuple, dtype: str) -> np.ndarray:
    if "float" in dtype:
        return rng.normal(scale=2, size=shape).astype(np.float32)
    return rng.integers(0, 2, shape).astype(dtype)


def _apply(function: Callable, by: int, arrays: list[np.ndarray]) -> np.ndarray:
    signed = [by * array if array.dtype == np.float32 else array for array in arrays]
    result = function(*map(keras.ops.convert_to_tensor, signed))
    return keras.ops.convert_to_numpy(result)


def _compare(
    arrays: list[np.ndarray], values: np.ndarray, mirrored: np.ndarray, far: np.ndarray
) -> Kind:
    """Tells what a function is from its values at arrays, at their negatives, and far out."""
    if not (values.size and keras.backend.is_float_dtype(str(values.dtype))):
        return Kind("other")
    tolerance = _TOLERANCE_16_BITS if values.dtype.itemsize == 2 else _TOLERANCE
    values, mirrored = values.astype(np.float64), mirrored.astype(np.float64)

    def equal(a, b):
        return np.allclose(a, b, rtol=0, atol=tolerance)

    inputs = arrays[0].astype(np.float64)
    if len(arrays) == 1 and inputs.shape == values.shape:
        for name, axis, expected in _candidates(inputs):
            if equal(values, expected):
                return Kind(name, axis)
    # A mean of values that have no bounds can lie between 0 and 1 by chance, but not far out.
    within = all(
        x.min(initial=1) >= -tolerance and x.max(initial=0) <= 1 + tolerance for x in (values, far)
    )
    probabilities = within and np.ptp(values) > tolerance
    with np.errstate(over="ignore", invalid="ignore"):
        powers, mirrored_powers = np.exp(values), np.exp(mirrored)
    logarithm = equal(powers + mirrored_powers, 1) or any(
        equal(powers.sum(axis), 1) for axis in range(1, powers.ndim) if powers.shape[axis] > 1
    )
    if not (probabilities or logarithm):
        return Kind("other")
    what = "probabilities" if probabilities else "logarithms of probabilities"
    return Kind(
        "unknown", reason=f"gives values that look like {what}, and is neither softmax nor sigmoid"
    )


def _candidates(x: np.ndarray):
    """Yields (name, axis, values) of each function that is known."""
    yield "linear", None, x
    sigmoid = 1 / (1 + np.exp(-x))
    yield "sigmoid", None, sigmoid
    yield "log_sigmoid", None, np.log(sigmoid)
    # The last axis first; the batch is never one.
    for axis in range(x.ndim - 1, 0, -1):
        powers = np.exp(x - x.max(axis, keepdims=True))
        softmax = powers / powers.sum(axis, keepdims=True)
        yield "softmax", axis - x.ndim, softmax
        yield "log_softmax", axis - x.ndim, np.log(softmax)
