"""Refuses pictures that would fill the memory, by their headers, before anything is decoded."""

import io
import struct
import warnings

import numpy as np
import PIL.Image
import tensorflow as tf

# Pixels of a picture, or of all frames of an animation: Pillow's own limit, half a gigabyte.
MOST_PIXELS = 2 * PIL.Image.MAX_IMAGE_PIXELS
# Bytes of a picture's file.
MOST_BYTES = 2**30
# Below its limit Pillow warns of each picture.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)

_PNG, _GIF, _JXL = b"\x89PNG\r\n\x1a\n", b"GIF8", (b"\xff\x0a", b"\0\0\0\x0cJXL ")
_UNKNOWN = -1


def find_large_file(size: int) -> str | None:
    """Describes why a picture's file is too large to be read; None if it is not."""
    if size <= MOST_BYTES:
        return None
    return f"is a file of {size:,} bytes, expected at most {MOST_BYTES:,}: scale it down"


def find_large_picture(data: bytes) -> str | None:
    """Describes why a picture is too large to be decoded; None if it is not.

    Only its header is read, and of an animation the places of its frames.

    Args:
        data: the bytes of the file.
    """
    if fault := find_large_file(len(data)):
        return fault
    if count_pixels(data) <= MOST_PIXELS:
        return None
    return f"has more than {MOST_PIXELS:,} pixels, which would fill the memory: scale it down"


def count_pixels(data: bytes) -> int:
    """Reads from a picture's header how many pixels it has, with all frames of a GIF.

    Returns:
        The number, or some number above `MOST_PIXELS`; -1 where the format is not known, or the
        header is damaged.
    """
    try:
        if data.startswith(_PNG):
            return _area(*struct.unpack_from(">II", data, 16))
        if data.startswith(_GIF):
            return _count_of_gif(data)
        if data.startswith(_JXL):
            return _count_of_jxl(data)
        with PIL.Image.open(io.BytesIO(data)) as picture:  # No pixel is read.
            return _area(*picture.size)
    except PIL.Image.DecompressionBombError:
        return MOST_PIXELS + 1
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
        return _UNKNOWN


def refuse_large(encoded):
    """Gives the bytes of a picture's file back; in a graph, an error where it is too large.

    The headers of JPEG and PNG are read by TensorFlow, which costs nearly nothing; those of others
    by Python.

    Args:
        encoded: scalar string.
    """

    def of_jpeg():
        return tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.int64))

    def of_png():
        sides = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.uint8)
        weights = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)
        sides = tf.reduce_sum(tf.reshape(tf.cast(sides, tf.int64), [2, 4]) * weights, axis=1)
        # A product of two such numbers may be more than 2**63.
        return tf.reduce_prod(tf.minimum(sides, MOST_PIXELS + 1))

    def of_others():
        def count(data):  # Bytes in a graph, an array without it.
            return np.int64(count_pixels(np.asarray(data, object).item()))

        counted = tf.numpy_function(count, [encoded], tf.int64, stateful=False)
        return tf.ensure_shape(counted, [])

    is_png = tf.strings.substr(encoded, 0, tf.minimum(8, tf.strings.length(encoded))) == _PNG
    pixels = tf.cond(tf.io.is_jpeg(encoded), of_jpeg, lambda: tf.cond(is_png, of_png, of_others))
    check = tf.debugging.assert_less_equal(
        pixels, tf.constant(MOST_PIXELS, tf.int64), "picture is too large"
    )
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(encoded)


def _area(width: int, height: int) -> int:
    return abs(width) * abs(height)


def _count_of_gif(data: bytes) -> int:
    """Counts the pixels of a GIF's screen and of all its frames, up to the limit."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    place, pixels = 13 + _colours(flags), _area(width, height)
    while place < len(data) and pixels <= MOST_PIXELS:
        kind = data[place]
        if kind == 0x21:  # An extension: its kind, then blocks.
            place = _after_blocks(data, place + 2)
        elif kind == 0x2C:  # A frame: its place, its size, its colours, then blocks.
            width, height, flags = struct.unpack_from("<HHB", data, place + 5)
            pixels += _area(width, height)
            place = _after_blocks(data, place + 11 + _colours(flags))
        else:
            break
    return pixels


def _colours(flags: int) -> int:
    """Gives the bytes of a table of colours that the flags of a GIF tell of."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, place: int) -> int:
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1


def _count_of_jxl(data: bytes) -> int:
    """Counts the pixels of a JPEG XL (ISO/IEC 18181-1, annex D: SizeHeader)."""
    if not data.startswith(_JXL[0]):
        data = data[_find_codestream(data) :]
    bits = int.from_bytes(data[2:14], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    if ratio := take(3):
        over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return _area(height * over // under, height)
    return _area(side(), height)


def _find_codestream(data: bytes) -> int:
    """Finds where the codestream begins in the boxes of a JPEG XL file."""
    place = 0
    while True:
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 16 if size == 1 else 8
        if kind in (b"jxlc", b"jxlp"):
            return place + head + (4 if kind == b"jxlp" else 0)
        size = struct.unpack_from(">Q", data, place + 8)[0] if size == 1 else size
        if size < head:
            raise ValueError("a box that has no end, before the picture")
        place += size
