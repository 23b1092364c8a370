"""Pictures that cannot be used: found, named, and refused or left out."""

import re
from collections.abc import Sequence

import tensorflow as tf

from transfer_keras.config import UserError

_NAMED = 3


def find_fault(data: bytes, shape: Sequence[int | None]) -> str | None:
    """What is wrong with the bytes of a picture's file; None if nothing is.

    Args:
        data: JPEG, PNG, GIF or BMP.
        shape: expected (height, width, channels), None where any will do.
    """
    try:
        picture = tf.io.decode_image(data, channels=shape[-1] or 0, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        return f"cannot be decoded ({shorten_error(error)})"
    if not tf.TensorShape(shape).is_compatible_with(picture.shape):
        return f"has the shape {tuple(picture.shape)}, expected {tuple(shape)}"
    return None


def refuse_bad_images(found: Sequence[tuple[str, str]], policy: str, *, where: str) -> None:
    """Refuses pictures that cannot be used, unless they shall be left out.

    Args:
        found: (name, fault) of each.
        policy: one of `--bad_images`.
        where: of which flag they are.

    Raises:
        UserError: naming the first of them.
    """
    if found and policy == "error":
        named = "; ".join(f"{name} {reason}" for name, reason in found[:_NAMED])
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise UserError(
            f"{where}: {len(found)} pictures cannot be used: {named}{more}. Mend or remove them, "
            "or leave them out with --bad_images=skip."
        )


def shorten_error(error: tf.errors.OpError) -> str:
    """TensorFlow's message without the names of its operations, in one line."""
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*|\[\[.*", "", error.message, flags=re.DOTALL)
    return " ".join(text.split()).rstrip(" .:")[:160]
