"""Turns a picture into the square that a network takes."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from transfer_keras.config import choices
from transfer_keras.datasets.augmentation import random_crop_and_mirror, random_window
from transfer_keras.datasets.orientation import orientation_of, turn_upright
from transfer_keras.datasets.picture_size import refuse_large

# A JPEG's decoder uses so many pixels beyond the edge of a crop to interpolate its colours.
_MARGIN = 2
# A picture that is shrunk by this factor or more is antialiased.
_COARSE = 2
# Pictures whose short side is longer than this factor times (`resize` + `pad`) are shrunk first.
_LARGE = 2


class Pixels(NamedTuple):
    """The mean and the variance of the pixels of a task's pictures, for values in 0..255.

    Attributes:
        mean: (3,), of each channel, or (resize, resize, 3), a mean image.
        variance: (3,), of each channel.
    """

    mean: np.ndarray
    variance: np.ndarray


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The way from a picture to the square that the network takes; sizes are in pixels.

    Attributes:
        image_size: side of the square that the network takes.
        resize: side to which a picture is resized first.
        pad: width of the border of zeros in training, so that the crop can move.
        augment: True: random crops and mirrors in training; False: the centre, as in tests.
        views: so many different crops a picture, which repeat epoch after epoch; None: a new one in
            each epoch.
        kind: "paper" resizes the whole picture to a square, by bilinear interpolation without
            antialiasing as Caffe did, and subtracts a mean image; "modern" resizes the short side
            to `resize` and subtracts the mean of each channel.
        upright: whether pictures are turned as the orientation in their files says.
    """

    image_size: int
    resize: int
    pad: int = 0
    augment: bool = True
    views: int | None = None
    kind: str = "modern"
    upright: bool = False

    def __post_init__(self):
        if not 0 < self.image_size <= self.resize:
            raise ValueError(
                "image_size must be positive and at most resize. "
                f"Received: image_size={self.image_size}, resize={self.resize}"
            )
        if self.kind not in choices.PREPROCESSING:
            raise ValueError(
                f"kind must be one of {choices.PREPROCESSING}. Received: {self.kind!r}"
            )

    def decode(self, encoded):
        """Decodes the bytes of a picture's file, string -> uint8 (height, width, 3)."""
        encoded = refuse_large(encoded)
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return turn_upright(image, orientation_of(encoded)) if self.upright else image

    def _is_jpeg_as_stored(self, encoded):
        """Tells whether parts of a picture can be decoded by their place in the file."""
        is_jpeg = tf.io.is_jpeg(encoded)
        return is_jpeg & (orientation_of(encoded) == 1) if self.upright else is_jpeg

    @property
    def large(self) -> int:
        """Gives the length to which the short side of larger pictures is shrunk before any crop.

        Shrunk pictures fit in memory, where photographs of many megapixels do not.
        """
        return _LARGE * (self.resize + self.pad)

    def shrunk(self, image):
        """Shrinks a picture whose short side is longer than `large`; uint8 (height, width, 3)."""
        shape = tf.shape(image)[:2]
        short = tf.reduce_min(shape)

        def smaller():
            scale = self.large / tf.cast(short, tf.float64)
            size = tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32)
            return _resize(image, size, antialias=True)

        return tf.cond(short > self.large, smaller, lambda: image)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Gives the shape of the pictures that `store` makes."""
        return (self.resize, self.resize, 3)

    def store(self, image):
        """Resizes a picture to the square in which it is held in memory.

        Args:
            image: uint8 (height, width, 1 or 3); with the kind "modern" it must be square.

        Returns:
            uint8 (resize, resize, 3).
        """
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        size = (self.resize, self.resize)
        if not image.shape[:2].is_fully_defined():
            image = tf.cond(
                tf.reduce_all(tf.shape(image)[:2] == size),
                lambda: image,
                lambda: _resize(image, size, antialias=self.kind == "modern"),
            )
        elif image.shape[:2] != size:
            image = _resize(image, size, antialias=self.kind == "modern")
        return tf.ensure_shape(image, self.stored_shape)

    def training(self, images, numbers, epoch, *, seed: int, mean=None):
        """Cuts out the crops that a network is trained on, and mirrors every second one.

        Each crop and mirror is a pure function of (seed, epoch, number), with `views` of the
        epoch's remainder by it. Without augmentation the
        crops are the centres.

        Args:
            images: uint8 (batch, resize, resize, 3).
            numbers: int64 (batch,), the examples' identities.
            epoch: integer scalar, or integers (batch,).
            seed: Python integer.
            mean: float32 (resize, resize, 3), a mean image; None: there is none. Caffe subtracts
                it from the picture before the crop is cut, but the network subtracts its centre
                from each crop. So it is subtracted here, and its centre is added.

        Returns:
            (batch, image_size, image_size, 3), uint8, or float32 with a mean image.
        """
        if not self.augment:
            return self.centre(images)
        if mean is not None:
            images = tf.cast(images, tf.float32) - mean
        if self.pad:
            border = [self.pad, self.pad]
            images = tf.pad(images, [[0, 0], border, border, [0, 0]])
        images = random_crop_and_mirror(
            images, numbers, self._view(epoch), size=self.image_size, seed=seed
        )
        return images if mean is None else images + self.centre(mean[None])

    def centre(self, images):
        """Cuts the centre out of pictures.

        Args:
            images: (batch, resize, resize, 3).

        Returns:
            (batch, image_size, image_size, 3) of the same dtype.
        """
        low = (self.resize - self.image_size) // 2
        return images[:, low : low + self.image_size, low : low + self.image_size]

    def view(self, encoded, window: Callable | None = None, *, pad: int = 0):
        """Decodes a crop of a picture of any shape.

        The place of the crop is given on a scale on which the short side of the picture has
        `resize + pad` pixels. Of a JPEG whose short side is at most `large`, no more is decoded
        than the crop needs; other pictures are decoded as a whole.

        Args:
            encoded: string, the bytes of the picture's file.
            window: function from (height, width) on that scale to (top, left, mirror), all int64:
                the corner of the crop, and 1 if it is mirrored. None: the centre, as in tests.
            pad: pixels that are added to the scale; 0 in tests, so that they see the picture as
                large as in a square.

        Returns:
            uint8 (image_size, image_size, 3).
        """

        def place(shape):
            short = tf.cast(tf.reduce_min(shape), tf.float32)
            scale = short / (self.resize + pad)
            side = tf.cast(tf.round(self.image_size * scale), tf.int32)
            if window is None:
                # The centre of the picture's own pixels, as Keras and Pillow have it.
                return (shape - side) // 2, side, tf.constant(0, tf.int64)
            height, width = tf.unstack(
                tf.cast(tf.round(tf.cast(shape, tf.float32) / scale), tf.int64)
            )
            top, left, mirror = window(height, width)
            corner = tf.cast(tf.round(tf.cast(tf.stack([top, left]), tf.float32) * scale), tf.int32)
            return tf.minimum(corner, shape - side), side, mirror

        def crop_of_jpeg():
            corner, side, mirror = place(tf.io.extract_jpeg_shape(encoded)[:2])
            box = tf.concat([corner, [side, side]], axis=0)
            return tf.io.decode_and_crop_jpeg(encoded, box, channels=3), mirror

        def crop_of_whole():
            image = self.shrunk(self.decode(encoded))
            corner, side, mirror = place(tf.shape(image)[:2])
            box = tf.stack([side, side, 3])
            return tf.slice(image, tf.concat([corner, [0]], axis=0), box), mirror

        def is_small_jpeg():
            return tf.reduce_min(tf.io.extract_jpeg_shape(encoded)[:2]) <= self.large

        # `extract_jpeg_shape` fails on other formats, so it stands behind this.
        in_part = tf.cond(self._is_jpeg_as_stored(encoded), is_small_jpeg, lambda: False)
        image, mirror = tf.cond(in_part, crop_of_jpeg, crop_of_whole)
        size = (self.image_size, self.image_size)
        image = tf.cond(
            tf.shape(image)[0] < _COARSE * self.image_size,
            lambda: _resize(image, size, antialias=False),
            lambda: _resize(image, size, antialias=True),
        )
        return tf.ensure_shape(mirror_where(image, mirror), (*size, 3))

    def crop(self, encoded, window, *, mean=None):
        """Decodes a crop of a picture that `store` would resize to a square.

        The result is what `store` and then `training` give for the picture. Of a JPEG that has the
        stored shape already, no more is decoded than the crop needs.

        Args:
            encoded: string, the bytes of the picture's file.
            window: (top, left, mirror) of the crop, int64 scalars; see `windows`.
            mean: float32 (resize, resize, 3), a mean image; see `training`. None: there is none.

        Returns:
            (image_size, image_size, 3), uint8, or float32 with a mean image.
        """
        (top, left, mirror), size, side = window, self.image_size, self.resize

        def cut(pixels):
            if self.pad:
                pixels = tf.pad(pixels, [[self.pad, self.pad], [self.pad, self.pad], [0, 0]])
            return tf.slice(pixels, tf.stack([top, left, 0]), (size, size, 3))

        def crop_of_whole():
            return cut(self.store(self.decode(encoded)))

        def crop_of_jpeg():
            # Colours at an edge are interpolated from beyond it, so a margin is decoded too.
            low, high = tf.maximum(left - _MARGIN, 0), tf.minimum(left + size + _MARGIN, side)
            box = tf.cast(tf.stack([top, low, size, high - low]), tf.int32)
            pixels = tf.io.decode_and_crop_jpeg(encoded, box, channels=3)
            return tf.slice(pixels, tf.stack([0, left - low, 0]), (size, size, 3))

        def has_stored_shape():
            return tf.reduce_all(tf.io.extract_jpeg_shape(encoded)[:2] == side)

        if self.pad:
            image = crop_of_whole()
        else:
            in_part = tf.cond(self._is_jpeg_as_stored(encoded), has_stored_shape, lambda: False)
            image = tf.cond(in_part, crop_of_jpeg, crop_of_whole)
        image = tf.ensure_shape(image, (size, size, 3))
        if mean is not None:
            image = tf.cast(image, tf.float32) - cut(mean)
        image = mirror_where(image, mirror)
        return image if mean is None else image + self.centre(mean[None])[0]

    def windows(self, numbers, epoch, *, seed: int, square: bool):
        """Draws the places of the crops of pictures in training.

        They are a pure function of (seed, epoch, number).

        Args:
            numbers: int64 (batch,), the examples' identities.
            epoch: int64 scalar.
            seed: Python integer.
            square: whether the pictures are resized to squares; if not, their shapes are not known.

        Returns:
            (top, left, mirror), each int64 (batch,), as `augmentation.random_window` gives them.
        """
        side = self.resize + 2 * self.pad if square else None
        return random_window(
            side, side, numbers, self._view(epoch), size=self.image_size, seed=seed
        )

    def _view(self, epoch):
        return epoch % self.views if self.views else epoch


def mirror_where(image, mirror):
    """Mirrors a picture (height, width, channels) if the integer `mirror` is 1."""
    return tf.cond(mirror == 1, lambda: tf.reverse(image, [1]), lambda: image)


def _resize(image, size, *, antialias: bool):
    return tf.cast(tf.round(tf.image.resize(image, size, antialias=antialias)), tf.uint8)
