"""How a picture becomes the square that a network takes."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from transfer_keras.config import PREPROCESSING
from transfer_keras.datasets.augmentation import random_crop_and_mirror, random_window

_BEYOND = 2  # Pixels that a JPEG's decoder looks at beyond the edge of a crop.
_COARSE = 2  # Shrunk by more than that, a picture is antialiased.
_LARGE = 2  # Times `resize` and padding: pictures are brought to that first if they are larger.


class Pixels(NamedTuple):
    """What is normal in a task's pictures, of pixel values in 0..255.

    Attributes:
        mean: (3,), by channel, or (resize, resize, 3), a mean image.
        variance: (3,), by channel.
    """

    mean: np.ndarray
    variance: np.ndarray


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Sizes in pixels.

    Attributes:
        image_size: side of the square that the network takes.
        resize: side to which a picture is brought first.
        pad: zeros around it in training, so that the crop can move.
        augment: random crop and mirror in training; without it, the centre as in tests.
        kind: "paper" brings the whole picture to a square, by bilinear interpolation alone as
            Caffe did, and takes a mean image off; "modern" brings its short side to `resize` and
            takes the mean of each channel off.
    """

    image_size: int
    resize: int
    pad: int = 0
    augment: bool = True
    kind: str = "modern"

    def __post_init__(self):
        if not 0 < self.image_size <= self.resize:
            raise ValueError(
                "image_size must be positive and at most resize. "
                f"Received: image_size={self.image_size}, resize={self.resize}"
            )
        if self.kind not in PREPROCESSING:
            raise ValueError(f"kind must be one of {PREPROCESSING}. Received: {self.kind!r}")

    @property
    def large(self) -> int:
        """Short side to which larger pictures are brought before `view` cuts anything out of them:
        so they can be kept in memory, where photographs of many megapixels cannot."""
        return _LARGE * (self.resize + self.pad)

    def shrunk(self, image):
        """uint8 (height, width, 3) -> the same, or smaller if its short side is above `large`."""
        shape = tf.shape(image)[:2]
        short = tf.reduce_min(shape)

        def smaller():
            scale = self.large / tf.cast(short, tf.float64)
            size = tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32)
            return _resized(image, size, antialias=True)

        return tf.cond(short > self.large, smaller, lambda: image)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Of what `store` gives."""
        return (self.resize, self.resize, 3)

    def store(self, image):
        """Any uint8 (height, width, channels) -> uint8 (resize, resize, 3), as kept in memory;
        of "modern" a square picture."""
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        size = (self.resize, self.resize)
        if not image.shape[:2].is_fully_defined():
            image = tf.cond(
                tf.reduce_all(tf.shape(image)[:2] == size),
                lambda: image,
                lambda: _resized(image, size, antialias=self.kind == "modern"),
            )
        elif image.shape[:2] != size:
            image = _resized(image, size, antialias=self.kind == "modern")
        return tf.ensure_shape(image, self.stored_shape)

    def training(self, images, numbers, epoch, *, seed: int, mean=None):
        """What a network is trained on.

        Args:
            images: uint8 (batch, resize, resize, 3).
            numbers: int64 (batch,), the examples' identities.
            epoch: integer, or one a picture.
            seed: Python integer.
            mean: float32 (resize, resize, 3), a mean image, of which the network takes the centre
                off. As Caffe, it is taken off each crop at its own place: here, and its centre is
                added for the network to take off. None: nothing is done.

        Returns:
            (batch, image_size, image_size, 3), uint8, or float32 with a mean image; each crop and
            mirror a pure function of (seed, epoch, number); the centre where nothing is augmented.
        """
        if not self.augment:
            return self.centre(images)
        if mean is not None:
            images = tf.cast(images, tf.float32) - mean
        if self.pad:
            border = [self.pad, self.pad]
            images = tf.pad(images, [[0, 0], border, border, [0, 0]])
        images = random_crop_and_mirror(images, numbers, epoch, size=self.image_size, seed=seed)
        return images if mean is None else images + self.centre(mean[None])

    def centre(self, images):
        """(batch, resize, resize, 3) -> the central (batch, image_size, image_size, 3)."""
        low = (self.resize - self.image_size) // 2
        return images[:, low : low + self.image_size, low : low + self.image_size]

    def view(self, encoded, window: Callable | None = None, *, pad: int = 0):
        """A crop of a picture of any shape, of which no more is decoded than it takes, unless it is
        larger than `large`.

        The short side counts as `resize + pad` pixels, on which the crop has its place.

        Args:
            encoded: string, the bytes of the picture's file.
            pad: see above; none in tests, which so see the picture as large as in a square.
            window: (height, width) on that scale -> (top, left, mirror), int64: of the crop, and
                whether it is mirrored. None: the centre, as tests see it.

        Returns:
            uint8 (image_size, image_size, 3).
        """

        def place(shape):
            short = tf.cast(tf.reduce_min(shape), tf.float32)
            scale = short / (self.resize + pad)
            side = tf.cast(tf.round(self.image_size * scale), tf.int32)
            if window is None:  # Of the picture's own pixels, as Keras and Pillow have it.
                return (shape - side) // 2, side, tf.constant(0, tf.int64)
            height, width = tf.unstack(
                tf.cast(tf.round(tf.cast(shape, tf.float32) / scale), tf.int64)
            )
            top, left, mirror = window(height, width)
            corner = tf.cast(tf.round(tf.cast(tf.stack([top, left]), tf.float32) * scale), tf.int32)
            return tf.minimum(corner, shape - side), side, mirror

        def of_jpeg():
            corner, side, mirror = place(tf.io.extract_jpeg_shape(encoded)[:2])
            box = tf.concat([corner, [side, side]], axis=0)
            return tf.io.decode_and_crop_jpeg(encoded, box, channels=3), mirror

        def of_others():
            image = self.shrunk(decoded(encoded))
            corner, side, mirror = place(tf.shape(image)[:2])
            box = tf.stack([side, side, 3])
            return tf.slice(image, tf.concat([corner, [0]], axis=0), box), mirror

        def is_small_jpeg():
            return tf.reduce_min(tf.io.extract_jpeg_shape(encoded)[:2]) <= self.large

        in_part = tf.cond(tf.io.is_jpeg(encoded), is_small_jpeg, lambda: False)
        image, mirror = tf.cond(in_part, of_jpeg, of_others)
        size = (self.image_size, self.image_size)
        image = tf.cond(
            tf.shape(image)[0] < _COARSE * self.image_size,
            lambda: _resized(image, size, antialias=False),
            lambda: _resized(image, size, antialias=True),
        )
        return tf.ensure_shape(mirrored(image, mirror), (*size, 3))

    def crop(self, encoded, window, *, mean=None):
        """As `store` and `training`, of one picture; of a JPEG that is as large as it is stored,
        no more is decoded than it takes.

        Args:
            encoded: string, the bytes of the picture's file.
            window: (top, left, mirror) of the crop, int64 scalars; see `windows`.
            mean: see `training`.
        """
        (top, left, mirror), size, side = window, self.image_size, self.resize

        def cut(pixels):
            if self.pad:
                pixels = tf.pad(pixels, [[self.pad, self.pad], [self.pad, self.pad], [0, 0]])
            return tf.slice(pixels, tf.stack([top, left, 0]), (size, size, 3))

        def of_whole():
            return cut(self.store(decoded(encoded)))

        def of_part():
            # Colours at an edge are interpolated from beyond it.
            low, high = tf.maximum(left - _BEYOND, 0), tf.minimum(left + size + _BEYOND, side)
            box = tf.cast(tf.stack([top, low, size, high - low]), tf.int32)
            pixels = tf.io.decode_and_crop_jpeg(encoded, box, channels=3)
            return tf.slice(pixels, tf.stack([0, left - low, 0]), (size, size, 3))

        def is_stored():
            return tf.reduce_all(tf.io.extract_jpeg_shape(encoded)[:2] == side)

        if self.pad:
            image = of_whole()
        else:
            as_it_is = tf.cond(tf.io.is_jpeg(encoded), is_stored, lambda: False)
            image = tf.cond(as_it_is, of_part, of_whole)
        image = tf.ensure_shape(image, (size, size, 3))
        if mean is not None:
            image = tf.cast(image, tf.float32) - cut(mean)
        image = mirrored(image, mirror)
        return image if mean is None else image + self.centre(mean[None])[0]

    def windows(self, numbers, epoch, *, seed: int, square: bool):
        """Where the crops of pictures lie in training, as `random_window` gives it: a pure
        function of (seed, epoch, number).

        Args:
            numbers: int64 (batch,).
            epoch: int64 scalar.
            seed: Python integer.
            square: whether the pictures are brought to squares.
        """
        side = self.resize + 2 * self.pad if square else None
        return random_window(side, side, numbers, epoch, size=self.image_size, seed=seed)


def decoded(encoded):
    """The bytes of a picture's file -> uint8 (height, width, 3)."""
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def mirrored(image, mirror):
    """(height, width, channels), mirrored where the integer `mirror` is 1."""
    return tf.cond(mirror == 1, lambda: tf.reverse(image, [1]), lambda: image)


def _resized(image, size, *, antialias: bool):
    return tf.cast(tf.round(tf.image.resize(image, size, antialias=antialias)), tf.uint8)
