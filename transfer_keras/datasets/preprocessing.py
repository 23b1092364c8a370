"""How a picture becomes the square that a network takes."""

import dataclasses

import tensorflow as tf

from transfer_keras.datasets.augmentation import random_crop_and_mirror


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

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        return (self.resize, self.resize, 3)

    def store(self, image):
        """Any uint8 (height, width, channels) -> uint8 (resize, resize, 3), as kept in memory."""
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        size = (self.resize, self.resize)
        if not image.shape[:2].is_fully_defined():
            image = tf.cond(
                tf.reduce_all(tf.shape(image)[:2] == size),
                lambda: image,
                lambda: _resized(image, size),
            )
        elif image.shape[:2] != size:
            image = _resized(image, size)
        return tf.ensure_shape(image, self.stored_shape)

    def training(self, images, numbers, epoch, *, seed: int):
        """What a network is trained on.

        Args:
            images: uint8 (batch, resize, resize, 3).
            numbers: int64 (batch,), the examples' identities.
            epoch: integer, or one a picture.
            seed: Python integer.

        Returns:
            uint8 (batch, image_size, image_size, 3), each crop and mirror a pure function of
            (seed, epoch, number); the centre where nothing is augmented.
        """
        if not self.augment:
            return self.centre(images)
        if self.pad:
            border = [self.pad, self.pad]
            images = tf.pad(images, [[0, 0], border, border, [0, 0]])
        return random_crop_and_mirror(images, numbers, epoch, size=self.image_size, seed=seed)

    def centre(self, images):
        """(batch, resize, resize, 3) -> the central (batch, image_size, image_size, 3)."""
        low = (self.resize - self.image_size) // 2
        return images[:, low : low + self.image_size, low : low + self.image_size]


def _resized(image, size: tuple[int, int]):
    image = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
