"""Owns the running of one experiment, and of many: groups, sweep, Ray, Slurm, timing."""

from transfer_keras.experiments.data import open_tasks, read_data
from transfer_keras.experiments.devices import resolve_all, use_devices
from transfer_keras.experiments.group_task import train_numbered_task
from transfer_keras.experiments.group_training import train_group
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.experiments.ray_cluster import run_on_ray
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.slurm import write_slurm_script
from transfer_keras.experiments.sweep import plan_sweep, run_sweep
from transfer_keras.experiments.timing import estimate_like, time_base
from transfer_keras.networks import pretrained

describe_batch_norm, list_units = pretrained.batch_norm, pretrained.listing

__all__ = [
    "describe_batch_norm",
    "estimate_like",
    "list_units",
    "open_tasks",
    "plan_experiment",
    "plan_sweep",
    "plan_table",
    "read_data",
    "resolve_all",
    "run_experiment",
    "run_on_ray",
    "run_sweep",
    "time_base",
    "train_group",
    "train_numbered_task",
    "use_devices",
    "write_slurm_script",
]
