"""Calls of TensorFlow functions in the graph of a Keras 2 network, as operations of `keras.ops`."""

import inspect
from collections.abc import Callable

import keras
import numpy as np

from transfer_keras.surgery import errors
from transfer_keras.surgery.keras2_layers import BY_HAND

_OPS = keras.ops
CLASSES = ("TFOpLambda", "SlicingOpLambda")


def _of_two(operation: Callable) -> Callable:
    """Gives an operation of two arguments, of which one may be a list of numbers."""

    def of_two(x, y):
        dtype = x.dtype if isinstance(x, keras.KerasTensor) else y.dtype
        x, y = (np.array(z, dtype) if isinstance(z, list) else z for z in (x, y))
        return operation(x, y)

    return of_two


def _bias_add(value, bias, data_format="NHWC"):
    if data_format not in ("NHWC", None):
        raise TypeError(f"data_format={data_format!r}")
    return _of_two(_OPS.add)(value, bias)


def _matmul(a, b, transpose_a=False, transpose_b=False):
    if transpose_a or transpose_b:
        raise TypeError("a transposed matrix")
    return _OPS.matmul(a, b)


def _get_item(tensor, slice_spec):
    spec = list(map(_slice, slice_spec))
    # RGB to BGR is `x[..., ::-1]`. PyTorch knows no negative steps.
    for place, each in enumerate(spec):
        if each == slice(None, None, -1) and None not in spec:
            axis = place - len(spec) if Ellipsis in spec[:place] else place
            tensor, spec[place] = _OPS.flip(tensor, axis), slice(None)
    return tensor[tuple(spec)]


def _slice(spec):
    if not isinstance(spec, dict):
        return spec
    if spec.get("class_name") == "__ellipsis__":
        return Ellipsis
    # Files differ in where they keep the three numbers.
    spec = spec.get("config", spec)
    return slice(spec["start"], spec["stop"], spec["step"])


def _resize(images, size, method="bilinear", preserve_aspect_ratio=False, antialias=False):
    if preserve_aspect_ratio:
        raise TypeError("preserve_aspect_ratio=True")
    return _OPS.image.resize(images, size, interpolation=method, antialias=antialias)


# TensorFlow's function -> one operation of Keras that computes the same, with TensorFlow's names of
# arguments.
_FUNCTIONS: dict[str, Callable] = {
    "__operators__.add": _of_two(_OPS.add),
    "__operators__.getitem": _get_item,
    "cast": lambda x, dtype: _OPS.cast(x, dtype),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: _OPS.clip(
        t, clip_value_min, clip_value_max
    ),
    "concat": lambda values, axis: _OPS.concatenate(values, axis=axis),
    "expand_dims": lambda input, axis: _OPS.expand_dims(input, axis),
    "image.resize": _resize,
    "linalg.matmul": _matmul,
    "math.abs": lambda x: _OPS.absolute(x),
    "math.add": _of_two(_OPS.add),
    "math.divide": _of_two(_OPS.true_divide),
    "math.exp": lambda x: _OPS.exp(x),
    "math.l2_normalize": lambda x, axis=None, epsilon=1e-12: _OPS.normalize(
        x, axis=axis, epsilon=epsilon**0.5
    ),
    "math.log": lambda x: _OPS.log(x),
    "math.maximum": _of_two(_OPS.maximum),
    "math.minimum": _of_two(_OPS.minimum),
    "math.multiply": _of_two(_OPS.multiply),
    "math.negative": lambda x: _OPS.negative(x),
    "math.pow": _of_two(_OPS.power),
    "math.reduce_max": lambda input_tensor, axis=None, keepdims=False: _OPS.max(
        input_tensor, axis=axis, keepdims=keepdims
    ),
    "math.reduce_mean": lambda input_tensor, axis=None, keepdims=False: _OPS.mean(
        input_tensor, axis=axis, keepdims=keepdims
    ),
    "math.reduce_sum": lambda input_tensor, axis=None, keepdims=False: _OPS.sum(
        input_tensor, axis=axis, keepdims=keepdims
    ),
    "math.rsqrt": lambda x: _OPS.rsqrt(x),
    "math.sigmoid": lambda x: _OPS.sigmoid(x),
    "math.sqrt": lambda x: _OPS.sqrt(x),
    "math.square": lambda x: _OPS.square(x),
    "math.subtract": _of_two(_OPS.subtract),
    "math.tanh": lambda x: _OPS.tanh(x),
    "math.truediv": _of_two(_OPS.true_divide),
    "nn.bias_add": _bias_add,
    "nn.elu": lambda features: _OPS.elu(features),
    "nn.gelu": lambda features, approximate=False: _OPS.gelu(features, approximate=approximate),
    "nn.leaky_relu": lambda features, alpha=0.2: _OPS.leaky_relu(features, negative_slope=alpha),
    "nn.relu": lambda features: _OPS.relu(features),
    "nn.relu6": lambda features: _OPS.relu6(features),
    "nn.sigmoid": lambda x: _OPS.sigmoid(x),
    "nn.silu": lambda features: _OPS.silu(features),
    "nn.softmax": lambda logits, axis=-1: _OPS.softmax(logits, axis=axis),
    "nn.swish": lambda features: _OPS.silu(features),
    "nn.tanh": lambda x: _OPS.tanh(x),
    "reshape": lambda tensor, shape: _OPS.reshape(tensor, shape),
    "squeeze": lambda input, axis=None: _OPS.squeeze(input, axis=axis),
    "stack": lambda values, axis=0: _OPS.stack(values, axis=axis),
    "transpose": lambda a, perm=None: _OPS.transpose(a, axes=perm),
}
_FUNCTIONS["compat.v1.nn.softmax"] = _FUNCTIONS["nn.softmax"]
_FUNCTIONS["compat.v1.transpose"] = _FUNCTIONS["transpose"]


def call(name: str, function: str, first, arguments: dict):
    """Calls the operation of Keras that computes what a function of TensorFlow does.

    Args:
        name: of the layer, for the message.
        function: TensorFlow's name of it, without "tf.".
        first: the first argument: a `KerasTensor`, a list of them, or a number.
        arguments: the others, by TensorFlow's names.

    Raises:
        UnreadableFile: if there is none that does.
    """
    # TensorFlow's own name of the call; nothing else depends on it.
    arguments = {key: value for key, value in arguments.items() if key != "name"}
    known = _FUNCTIONS.get(function)
    reason = "which is not among those that are known here"
    if known is not None:
        try:
            inspect.signature(known).bind(first, **arguments)
            return known(first, **arguments)
        except TypeError as error:
            reason = f"with arguments that are not known here: {errors.one_line(error)}"
    raise errors.UnreadableFile(f"Layer '{name}' calls tf.{function}, {reason}. {BY_HAND}")
