"""Owns the use of a network that was chosen: its file, its probabilities, predictions, tests."""

from transfer_keras.deployment.calibration import Calibration, calibrate
from transfer_keras.deployment.classifier import Classifier, open_classifier
from transfer_keras.deployment.network_file import NetworkFacts, save_classifier
from transfer_keras.deployment.run import predict_pictures

__all__ = [
    "Calibration",
    "Classifier",
    "NetworkFacts",
    "calibrate",
    "open_classifier",
    "predict_pictures",
    "save_classifier",
]
