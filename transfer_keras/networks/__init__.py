"""Owns the networks to train and to take units from: built, loaded, or a person's own."""

from transfer_keras.networks import alexnet, pretrained
from transfer_keras.networks.building import build, build_units
from transfer_keras.networks.custom_classes import import_custom_objects, import_hub_of
from transfer_keras.networks.feature_pooling import pool_features, put_linear_head
from transfer_keras.networks.trained import check_whole, load_trained, open_file, open_trained

__all__ = [
    "alexnet",
    "build",
    "build_units",
    "check_whole",
    "import_custom_objects",
    "import_hub_of",
    "load_trained",
    "open_file",
    "open_trained",
    "pool_features",
    "pretrained",
    "put_linear_head",
]
