"""Owns the running of one experiment, and of many: groups, sweep, Ray, Slurm, timing."""

from transfer_keras.experiments.analyses import analyse_networks
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.data import (
    TaskData,
    division_of,
    hold_back,
    image_preprocessing,
    open_tasks,
    read_data,
)
from transfer_keras.experiments.devices import use_devices
from transfer_keras.experiments.feature_store import FeatureStore
from transfer_keras.experiments.fitted_heads import fit_heads, may_fit_head
from transfer_keras.experiments.group_networks import make_networks
from transfer_keras.experiments.group_task import train_numbered_task
from transfer_keras.experiments.group_training import train_groups
from transfer_keras.experiments.grouping import estimate_memory, plan_experiment
from transfer_keras.experiments.kept_features import features_limit, pictures_seen
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.experiments.ray_cluster import run_on_ray
from transfer_keras.experiments.recipes import learning_rates, make_recipe
from transfer_keras.experiments.run import facts_of_data, name_bad_images, run_experiment
from transfer_keras.experiments.slurm import write_slurm_script
from transfer_keras.experiments.streams import make_streams
from transfer_keras.experiments.sweep import FlagsOf, estimate_sweep, run_sweep, workdir_in
from transfer_keras.experiments.timing import count_test_passes
from transfer_keras.experiments.unit_sources import (
    describe_donor,
    donor_notes,
    list_units,
)

__all__ = [
    "FeatureStore",
    "FlagsOf",
    "Run",
    "TaskData",
    "analyse_networks",
    "count_test_passes",
    "describe_donor",
    "division_of",
    "donor_notes",
    "estimate_memory",
    "estimate_sweep",
    "facts_of_data",
    "features_limit",
    "fit_heads",
    "hold_back",
    "image_preprocessing",
    "learning_rates",
    "list_units",
    "make_networks",
    "make_recipe",
    "make_streams",
    "may_fit_head",
    "name_bad_images",
    "open_tasks",
    "pictures_seen",
    "plan_experiment",
    "plan_table",
    "read_data",
    "run_experiment",
    "run_on_ray",
    "run_sweep",
    "train_groups",
    "train_numbered_task",
    "use_devices",
    "workdir_in",
    "write_slurm_script",
]
