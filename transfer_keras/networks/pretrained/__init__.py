"""A trained network of the person's own, or of keras.applications, in the place of base A."""

from transfer_keras.networks.pretrained.description import (
    count_units,
    describe_architecture,
    describe_batch_norm,
    describe_frozen,
    list_units,
)
from transfer_keras.networks.pretrained.head import TEMPERATURE
from transfer_keras.networks.pretrained.opening import open_pretrained

__all__ = [
    "TEMPERATURE",
    "count_units",
    "describe_architecture",
    "describe_batch_norm",
    "describe_frozen",
    "list_units",
    "open_pretrained",
]
