"""Runs a study: splits x seeds x amounts of data, each with all its treatments, and its report.

python -m transfer_keras.sweep --flagfile=flags/demo.flags
"""

import importlib.util
import os
import re

from absl import flags

from transfer_keras.config import TF_CONFIG, Experiment, UserError, launch
from transfer_keras.config import flags as experiment_flags
from transfer_keras.results import check_study

flags.adopt_module_key_flags(experiment_flags)
_CLUSTER = flags.DEFINE_string(
    "cluster",
    None,
    "ray: one group a task, on this machine; ray:ADDRESS: on that cluster; slurm: print a script "
    "that submits them. Default: one after the other, in this process.",
)
_CLUSTER_GPUS = flags.DEFINE_integer(
    "cluster_gpus", None, "GPUs of each group (default: one, where the cluster has any).", 0
)
_TASK = flags.DEFINE_integer("task", None, "Train only this group of the study, by number.", 0)
flags.register_validator(
    "cluster",
    lambda value: value is None or re.fullmatch("ray(:.+)?|slurm", value),
    "expected ray, ray:ADDRESS or slurm",
)
for _name, _value in experiment_flags.WHOLE_CURVE.items():
    flags.FLAGS.set_default(_name, _value)


def main() -> None:
    """Flags in, one call into the library, the recommendation out."""
    experiments = experiment_flags.experiments_from_flags()
    _check(experiments[0])
    folder = experiment_flags.study_folder_from_flags(experiments)
    first = experiments[0]
    if first.architecture:  # Else it is not all known yet.
        check_study(folder, {one.variant_name: one.identity for one in experiments})
    count = f"{len(experiments)} experiment{'s' * (len(experiments) > 1)}"
    print(
        f"A study of {count}: {first.network} on {first.dataset}, "
        f"{first.steps:,} steps a network. Results: {folder}"
    )
    from transfer_keras.experiments import (
        plan_sweep,
        resolve_all,
        run_on_ray,
        run_sweep,
        train_numbered_task,
        write_slurm_script,
    )
    from transfer_keras.results import page

    experiments = resolve_all(experiments, train_here=not _CLUSTER.value)
    if first.donor:
        check_study(folder, {one.variant_name: one.identity for one in experiments})
    if experiment_flags.is_dry_run():
        plan_sweep(experiments, folder)
        print("Dry run: nothing was trained. Leave out --dry_run to train.")
        return
    if _TASK.value is not None:
        train_numbered_task(experiments, folder, _TASK.value)
        return
    kind, _, address = (_CLUSTER.value or "").partition(":")
    flags_of, gpus = experiment_flags.flags_as_text, _CLUSTER_GPUS.value
    if kind == "slurm":
        script = write_slurm_script(
            experiments, folder, flags=flags_of, arguments=experiment_flags.study_flags()
        )
        print(f"{script.read_text()}\nSubmit it: bash {script}")
        return
    if kind == "ray":
        run_on_ray(experiments, folder, flags=flags_of, address=address or None, gpus=gpus)
    elif not run_sweep(experiments, folder, flags=flags_of):
        print(f"Done; the first machine has written the results: {folder}")
        return
    words = page.write_report(folder, folder / "report", overlay_paper=None)
    print(f"\n{words}\n\nThe report: {folder / 'report' / 'report.html'}")
    print(f"See every unit: tensorboard --logdir {folder}")


def _check(experiment: Experiment) -> None:
    """Raises a UserError where flags do not go together."""
    several = "--cluster" if _CLUSTER.value else "--task" if _TASK.value is not None else None
    if _CLUSTER_GPUS.value is not None and not (_CLUSTER.value or "").startswith("ray"):
        raise UserError("--cluster_gpus is for --cluster=ray. For Slurm, say it in OPTIONS.")
    if not several:
        return
    if _CLUSTER.value and _TASK.value is not None:
        raise UserError("--task and --cluster: give one. --task is for the jobs of a script.")
    if experiment.strategy == "multi_worker" or TF_CONFIG in os.environ:
        raise UserError(
            f"{several} and --strategy=multi_worker (or {TF_CONFIG}): give one. A cluster gives "
            "each group a machine; multi_worker trains each group on all of them."
        )
    if experiment.devices:
        raise UserError(
            f"{several} and --devices={experiment.devices}: the cluster chooses the devices. Say "
            "how many by --cluster_gpus, or for Slurm in OPTIONS."
        )
    if _CLUSTER.value not in (None, "ray") and not experiment_flags.groups_are_sized():
        raise UserError(
            f"--cluster={_CLUSTER.value}: this machine does not know what those of the cluster "
            "hold. Give --group_memory in GiB, half of a GPU's or of a machine's, or --group_size."
        )
    if _CLUSTER.value != "slurm" and _CLUSTER.value and not importlib.util.find_spec("ray"):
        raise UserError(
            "--cluster=ray: Ray is not installed. Run pip install 'transfer_keras[cluster]', or "
            "leave --cluster out: the same groups are then trained here, one after the other."
        )


if __name__ == "__main__":
    launch.start(main)
