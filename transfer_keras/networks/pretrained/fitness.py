"""Whether this machine can train a donor: its sizes, its numbers, the order of its axes."""

import math

import keras
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import UserError, memory

# Pictures that a donor is tried on, and arrays of each output that are there at once.
_TRIED, _COPIES = 3, 3
_FLOAT = 4  # Bytes.


def check_outputs(model: keras.Model, what: str) -> None:
    """Checks that the outputs of all layers fit into the memory for a few pictures.

    Args:
        model: flat, built but never run.
        what: names the donor.

    Raises:
        UserError: if one does not.
    """
    sizes = [
        (_FLOAT * _TRIED * _COPIES * math.prod(tensor.shape[1:]), node.operation.name)
        for node in surgery.nodes(model)
        for tensor in node.output_tensors
        if None not in tensor.shape[1:]
    ]
    largest, name = max(sizes, default=(0, ""))
    if largest > memory.most_memory():
        raise UserError(
            f"{what}: layer '{name}' would take {largest / 2**30:.3g} GiB for {_TRIED} pictures. "
            f"{memory.describe_limit()}, or give smaller pictures (--image_size)."
        )


def check_trainable(model: keras.Model, what: str) -> None:
    """Checks that a training step of a donor can be run here; only of one that is unusual.

    Args:
        model: from pixels to logits.
        what: names the donor.

    Raises:
        UserError: if it computes in float64, or its axes are in an order that this machine does
            not train.
    """
    layers = surgery.flat_layers(model)
    doubles = [x.name for x in layers if "float64" in (x.compute_dtype, x.variable_dtype)]
    if doubles or model.output.dtype == "float64":
        raise UserError(
            f"{what}: computes in float64 (layer '{(doubles or [model.name])[0]}'). Expected "
            "float32, float16 or bfloat16: build it again with "
            "keras.config.set_dtype_policy('float32'), set its weights and save it."
        )
    channels_first = any(getattr(x, "data_format", None) == "channels_first" for x in layers)
    if not channels_first and not any(map(_is_called_oddly, surgery.nodes(model))):
        return
    try:
        _train_once(model)
    except Exception as error:  # TensorFlow and Keras say so in several ways.
        found = surgery.reason(error, 200)
        if not channels_first:
            raise UserError(
                f"{what}: cannot be trained: {found}. Build it again in the program that made it."
            ) from error
        raise UserError(
            f"{what}: has its channels first, and this machine cannot train it so ({found}). "
            "Build it again with data_format='channels_last' and its input (side, side, "
            "channels), or train on a GPU."
        ) from error


def _is_called_oddly(node) -> bool:
    """Tells whether a layer is called with more than tensors and switches."""
    if not isinstance(node.operation, keras.Layer):
        return False
    values = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return not all(x is None or isinstance(x, bool | keras.KerasTensor) for x in values)


def _train_once(model: keras.Model) -> None:
    """Computes the gradient for two black pictures, in a graph; nothing changes."""

    @tf.function
    def gradients(pictures):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.cast(model(pictures, training=False), tf.float32))
        return tape.gradient(loss, model.trainable_variables)

    gradients(tf.zeros([2, *model.input_shape[1:]]))
