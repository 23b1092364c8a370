"""Opens pictures with Pillow, and turns them as the orientation in their file says (Exif 2.32, tag
274)."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import tensorflow as tf

_ORIENTATION = 0x0112
# What the file has somewhere in which an orientation is noted: of JPEG, PNG, WebP and older PNG.
_MARKS = (b"Exif", b"eXIf", b"EXIF", b"exif")
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_GREY_OF_16_BITS = "I;16"  # Pillow's mode, of which it takes no higher byte when it converts.
# What Pillow raises of a file that is no picture, or whose tags are damaged.
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError),
    *(struct.error, zlib.error, PIL.Image.DecompressionBombError),
)


def read_orientation(encoded: bytes) -> int:
    """Reads the orientation that is noted in a picture's file.

    Args:
        encoded: the bytes of the file.

    Returns:
        1 to 8; 1, as it is stored, where there is none, or it cannot be read.
    """
    if not any(mark in encoded for mark in _MARKS):  # Pillow would decode a PNG to be sure.
        return 1
    try:
        with PIL.Image.open(io.BytesIO(encoded)) as picture:
            orientation = picture.getexif().get(_ORIENTATION, 1)
    except UNREADABLE:
        return 1
    return orientation if orientation in _TURNS or orientation == 1 else 1


def open_upright(encoded: bytes, least: int | None = None) -> PIL.Image.Image:
    """Opens a picture as it is looked at, in RGB.

    Args:
        encoded: the bytes of the file.
        least: a JPEG may be shrunk, which is faster, but no side below so many pixels; None: it is
            not.

    Raises:
        one of `UNREADABLE`: if it is no picture.
    """
    picture = PIL.Image.open(io.BytesIO(encoded))
    if least:
        picture.draft("RGB", (least, least))
    if turn := _TURNS.get(read_orientation(encoded)):
        picture = picture.transpose(turn)
    if picture.mode.startswith(_GREY_OF_16_BITS):
        picture = PIL.Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
    return picture.convert("RGB")


def orientation_of(encoded):
    """Gives `read_orientation` of a scalar string, in a graph; int32."""

    def read(data):  # Bytes in a graph, an array without it.
        return np.int32(read_orientation(np.asarray(data, object).item()))

    return tf.ensure_shape(tf.numpy_function(read, [encoded], tf.int32, stateful=False), [])


def turn_upright(image, orientation):
    """Turns a picture from how it is stored to how it is looked at.

    Args:
        image: (height, width, channels).
        orientation: int32, 1 to 8, by which row and column the picture begins.

    Returns:
        The same pixels; from 5 on height and width are exchanged.
    """
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    for axis, reversed_by in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        is_reversed = tf.reduce_any(orientation == tf.constant(reversed_by))
        image = tf.cond(
            is_reversed,
            lambda image=image, axis=axis: tf.reverse(image, [axis]),
            lambda image=image: image,
        )
    return image
