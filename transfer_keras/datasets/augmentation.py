"""Random crops and mirrors, each a pure function of (seed, epoch, example)."""

import tensorflow as tf

# Each purpose has a stream of random numbers of its own.
_TOP, _LEFT, _MIRROR = 0, 1, 2
# Stands for the number of places on a side whose length is not known yet.
_MANY = 2**62


def draw(examples, epoch, *, high: int, seed: int, purpose: int):
    """Draws random integers that depend on nothing but the arguments.

    Each integer is a keyed hash (SipHash) of the example and the epoch. So it makes no difference
    in which order, batch, process or run an example comes.

    Args:
        examples: integer or string tensor, the examples' identities, of any shape.
        epoch: integer tensor, broadcast against `examples`.
        high: the integers are uniform in 0..high-1.
        seed, purpose: Python integers; a change of either gives other numbers.

    Returns:
        int64 tensor of the shape of `examples`.
    """
    if examples.dtype != tf.string:
        examples = tf.strings.as_string(examples)
    text = tf.strings.join([examples, tf.strings.as_string(epoch)], separator=" ")
    return tf.strings.to_hash_bucket_strong(text, high, key=[seed, purpose])


def random_window(height, width, examples, epochs, *, size: int, seed: int):
    """Draws the place of a crop of `size` pixels in each picture, and whether it is mirrored.

    Args:
        height, width: of the picture, in pixels, at least `size`; None: not known yet.
        examples: the examples' identities, integers or strings of any shape.
        epochs: integers, broadcast against `examples`.
        size: side of the crop, in pixels.
        seed: Python integer.

    Returns:
        (top, left, mirror): int64 of the shape of `examples`; mirror is 1 where the crop is
        mirrored, else 0. For a side that is not known, top or left is uniform in 0..2**62-1: its
        remainder by the number of possible places is the place.
    """
    rows, columns = (side - size + 1 if side else _MANY for side in (height, width))
    top = draw(examples, epochs, high=rows, seed=seed, purpose=_TOP)
    left = draw(examples, epochs, high=columns, seed=seed, purpose=_LEFT)
    return top, left, draw(examples, epochs, high=2, seed=seed, purpose=_MIRROR)


def random_crop_and_mirror(images, examples, epochs, *, size: int, seed: int):
    """Cuts a random square out of each picture of a batch and mirrors every second one.

    Args:
        images: (batch, height, width, channels), height and width at least `size`.
        examples: (batch,) integers or strings, the examples' identities.
        epochs: (batch,) integers.
        size: side of the square, in pixels.
        seed: Python integer.

    Returns:
        (batch, size, size, channels) of the dtype of `images`.
    """
    height, width = images.shape[1:3]
    top, left, mirror = random_window(height, width, examples, epochs, size=size, seed=seed)
    span = tf.range(size, dtype=tf.int64)
    columns = tf.where(mirror[:, None] == 1, span[::-1], span)
    images = tf.gather(images, top[:, None] + span, axis=1, batch_dims=1)
    return tf.gather(images, left[:, None] + columns, axis=2, batch_dims=1)
