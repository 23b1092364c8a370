"""Owns the training of many networks in one pass, exactly resumable; monitors look on."""

from transfer_keras.training import loop
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.learning_rates import Rates
from transfer_keras.training.loop import Monitor
from transfer_keras.training.monitors import activations, filters, layout
from transfer_keras.training.monitors.cka import centred_gram, linear_cka
from transfer_keras.training.monitors.events import Events, png, scalar, text
from transfer_keras.training.monitors.progress import Progress
from transfer_keras.training.monitors.scalars import Scalars
from transfer_keras.training.monitors.stopwatch import Lap, Stopwatch
from transfer_keras.training.monitors.units import UnitMonitor, WatchedNetwork, WatchedUnit
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import TRAINED, Trained
from transfer_keras.training.signals import Stop, signals_wait
from transfer_keras.training.step import make_train_step
from transfer_keras.training.unit_metrics import Watch

__all__ = [
    "TRAINED",
    "Checkpoints",
    "Events",
    "Lap",
    "Monitor",
    "Progress",
    "Rates",
    "Recipe",
    "Scalars",
    "Stop",
    "Stopwatch",
    "Trained",
    "UnitMonitor",
    "Watch",
    "WatchedNetwork",
    "WatchedUnit",
    "activations",
    "centred_gram",
    "filters",
    "layout",
    "linear_cka",
    "loop",
    "make_train_step",
    "png",
    "scalar",
    "signals_wait",
    "text",
]
