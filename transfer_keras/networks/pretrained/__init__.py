"""A trained network of the person's own, or of keras.applications, in the place of base A."""

from transfer_keras.networks.pretrained.description import batch_norm, counted, listing, resolve
from transfer_keras.networks.pretrained.opening import network

__all__ = ["batch_norm", "counted", "listing", "network", "resolve"]
