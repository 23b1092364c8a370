"""Owns the use of a network that was chosen: its file, its probabilities, predictions, exports."""

from transfer_keras.deployment.calibration import Calibration, calibrate
from transfer_keras.deployment.classifier import Classifier, open_classifier
from transfer_keras.deployment.exporting import export_network
from transfer_keras.deployment.network_file import NetworkFacts, save_classifier
from transfer_keras.deployment.picture_list import VALIDATION
from transfer_keras.deployment.run import predict_pictures

__all__ = [
    "VALIDATION",
    "Calibration",
    "Classifier",
    "NetworkFacts",
    "calibrate",
    "export_network",
    "open_classifier",
    "predict_pictures",
    "save_classifier",
]
