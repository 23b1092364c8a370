"""How a picture becomes the square that a network takes."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Sizes in pixels.

    Attributes:
        image_size: side of the square that the network takes.
        resize: side of the square to which the whole picture is brought first, as Caffe did.
        pad: zeros around it in training, so that the crop can move.
        augment: random crop and mirror in training; without it, the centre as in tests.
    """

    image_size: int
    resize: int
    pad: int = 0
    augment: bool = True

    def __post_init__(self):
        if not 0 < self.image_size <= self.resize:
            raise ValueError(
                "image_size must be positive and at most resize. "
                f"Received: image_size={self.image_size}, resize={self.resize}"
            )

    def store(self, image):
        """Any uint8 (height, width, channels) -> uint8 (resize, resize, 3), as kept in memory."""
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        if image.shape[:2] != (self.resize, self.resize):
            image = tf.image.resize(image, (self.resize, self.resize), antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
        return tf.ensure_shape(image, (self.resize, self.resize, 3))

    def centre(self, images):
        """(batch, resize, resize, 3) -> the central (batch, image_size, image_size, 3)."""
        low = (self.resize - self.image_size) // 2
        return images[:, low : low + self.image_size, low : low + self.image_size]
