"""Finds pictures that cannot be used, names them, and refuses or skips them."""

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from transfer_keras.config import UserError, one_line
from transfer_keras.datasets.picture_size import find_large_picture

# So many pictures are named in a message.
_NAMED = 3


def find_fault(data: bytes, shape: Sequence[int | None]) -> str | None:
    """Decodes a picture, and describes why it cannot be used.

    Args:
        data: the bytes of a JPEG, PNG, GIF or BMP file.
        shape: expected (height, width, channels); None for a side that may have any size.

    Returns:
        The end of a sentence whose subject is the picture; None for a picture without fault.
    """
    if fault := find_large_picture(data):
        return fault
    try:
        picture = tf.io.decode_image(data, channels=shape[-1] or 0, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        return f"cannot be decoded ({shorten_error(error)})"
    if not tf.TensorShape(shape).is_compatible_with(picture.shape):
        return f"has the shape {tuple(picture.shape)}, expected {tuple(shape)}"
    return None


def decode_picture(data: bytes) -> np.ndarray:
    """Decodes a picture without fault, uint8 (height, width, 3)."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def refuse_bad_images(faults: Sequence[tuple[str, str]], policy: str, *, where: str) -> None:
    """Refuses pictures that cannot be used, unless the policy is to skip them.

    Args:
        faults: (name, fault) of each picture that cannot be used; may be empty.
        policy: "error" or "skip", the values of `--bad_images`.
        where: the flag, with its value, that the pictures come from.

    Raises:
        UserError: if there are any and the policy is "error"; it names the first three.
    """
    if faults and policy == "error":
        named = "; ".join(f"{name} {reason}" for name, reason in faults[:_NAMED])
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise UserError(
            f"{where}: {len(faults)} pictures cannot be used: {named}{more}. Mend or remove them, "
            "or leave them out with --bad_images=skip."
        )


def shorten_error(error: tf.errors.OpError | OSError) -> str:
    """Shortens TensorFlow's message to one line of at most 160 characters, without node names."""
    message = error.message if isinstance(error, tf.errors.OpError) else str(error)
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*|\[\[.*", "", message, flags=re.DOTALL)
    return one_line(text).rstrip(" .:")[:160]
