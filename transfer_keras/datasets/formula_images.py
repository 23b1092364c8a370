"""Builds `formula_images`, the dataset that needs no download, with TFDS."""

import dataclasses

import tensorflow_datasets as tfds

from transfer_keras.config import FORMULA_DEFAULT, parse_amounts
from transfer_keras.datasets import formula


@dataclasses.dataclass
class FormulaImagesConfig(tfds.core.BuilderConfig):
    """The numbers of classes and pictures, and the size of the pictures.

    Attributes:
        classes: number of classes, half of them fractals, half contours.
        images_per_class: number of pictures of each class; one in five is for validation.
        size: side of a picture in pixels.
    """

    classes: int = 40
    images_per_class: int = 300
    size: int = 32

    @classmethod
    def parse(cls, text: str) -> "FormulaImagesConfig":
        """Parses "40x300x32": classes, images per class, size."""
        return cls(text, **parse_amounts(text))


class FormulaImages(tfds.core.GeneratorBasedBuilder):
    """Pictures drawn by formula: fractals and contours, as `formula` draws them."""

    VERSION = tfds.core.Version("2.0.0")

    def __init__(self, *, config: str | FormulaImagesConfig = FORMULA_DEFAULT, **kwargs):
        if isinstance(config, str):
            config = FormulaImagesConfig.parse(config)
        self._config = config
        super().__init__(config=config, **kwargs)

    def get_builder_config(self, name, version=None) -> FormulaImagesConfig:
        """Gives the config that was asked for, so that TFDS does not warn that it is not listed."""
        return self._config

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(config.size, config.size, 3), encoding_format="png"
                    ),
                    "label": tfds.features.ClassLabel(names=formula.class_names(config.classes)),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        config = self.builder_config
        held_out = config.images_per_class // 5
        return {
            "train": self._generate_examples(config.images_per_class - held_out, seed=0),
            "validation": self._generate_examples(held_out, seed=1),
        }

    def _generate_examples(self, images_per_class: int, seed: int):
        config = self.builder_config
        for index, name in enumerate(formula.class_names(config.classes)):
            images = formula.draw_class(name, images_per_class, config.size, seed=seed)
            for number, image in enumerate(images, index * images_per_class):
                yield number, {"image": image, "label": name}
