"""Owns the training of many networks in one pass, exactly resumable, and its monitors."""

from transfer_keras.training.batch_norm import fused_batch_norm
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.hooks import Monitor
from transfer_keras.training.learning_rates import LearningRates
from transfer_keras.training.loop import (
    Resume,
    Schedule,
    Streams,
    Training,
    train_networks,
    train_side_by_side,
)
from transfer_keras.training.monitors.activations import (
    ActivationSummary,
    UnitActivations,
    combine_summaries,
    summarise_activations,
)
from transfer_keras.training.monitors.cka import centred_gram, linear_cka
from transfer_keras.training.monitors.events import (
    Events,
    png_summary,
    scalar_summary,
    text_summary,
)
from transfer_keras.training.monitors.filters import (
    draw_filters,
    is_image_kernel,
    structure_of_filters,
)
from transfer_keras.training.monitors.layout import (
    DIFFERENCE_TAG,
    PROBE_TAG,
    TOP1_TAG,
    custom_scalars_layout,
    hparams_columns,
    hparams_row,
)
from transfer_keras.training.monitors.progress import Progress
from transfer_keras.training.monitors.scalars import Scalars
from transfer_keras.training.monitors.stopwatch import Stopwatch, TrainingTimes
from transfer_keras.training.monitors.units import MeasuredNetwork, MeasuredUnit, UnitMonitor
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.rate_search import Trial, search_rates
from transfer_keras.training.scores import Predictions, Scores, Trained, chance_loss, outcome
from transfer_keras.training.signals import Stop, defer_signals
from transfer_keras.training.step import as_input, make_train_step
from transfer_keras.training.testing import make_test
from transfer_keras.training.unit_metrics import UnitMeasurement, UnitMetrics

__all__ = [
    "DIFFERENCE_TAG",
    "PROBE_TAG",
    "TOP1_TAG",
    "ActivationSummary",
    "Checkpoints",
    "Events",
    "LearningRates",
    "MeasuredNetwork",
    "MeasuredUnit",
    "Monitor",
    "Predictions",
    "Progress",
    "Recipe",
    "Resume",
    "Scalars",
    "Schedule",
    "Scores",
    "Stop",
    "Stopwatch",
    "Streams",
    "Trained",
    "Training",
    "TrainingTimes",
    "Trial",
    "UnitActivations",
    "UnitMeasurement",
    "UnitMetrics",
    "UnitMonitor",
    "as_input",
    "centred_gram",
    "chance_loss",
    "combine_summaries",
    "custom_scalars_layout",
    "defer_signals",
    "draw_filters",
    "fused_batch_norm",
    "hparams_columns",
    "hparams_row",
    "is_image_kernel",
    "linear_cka",
    "make_test",
    "make_train_step",
    "outcome",
    "png_summary",
    "scalar_summary",
    "search_rates",
    "structure_of_filters",
    "summarise_activations",
    "text_summary",
    "train_networks",
    "train_side_by_side",
]
