"""Runs a study: splits x seeds x amounts of data, each with all its treatments, and its report.

python -m transfer_keras.sweep --flagfile=flags/demo.flags
"""

import importlib.util
import os
import pathlib
import re
from collections.abc import Sequence

from absl import flags

from transfer_keras.config import (
    ExecutionSettings,
    Experiment,
    PretrainedArchitecture,
    Request,
    UserError,
    choices,
    command,
    from_flags,
    launch,
    margin_flag,
    paths,
    run_flags,
    visible,
)
from transfer_keras.config import flags as experiment_flags
from transfer_keras.results import as_begun, check_study

flags.adopt_module_key_flags(experiment_flags)
flags.adopt_module_key_flags(margin_flag)
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


def main() -> None:
    """Turns flags into one call of the library, and prints the recommendation."""
    requests = from_flags.requests()
    _check(requests[0].execution)
    experiments = [request.complete(_describe_donor) for request in requests]
    folder = from_flags.study_folder(experiments)
    experiments = as_begun(experiments, folder)
    check_study(folder, {each.variant_name: each.identity for each in experiments})
    first = experiments[0]
    count = f"{len(experiments)} experiment{'s' * (len(experiments) > 1)}"
    print(
        f"A study of {count}: {first.training.network} on {first.data.dataset}, "
        f"{first.training.steps:,} steps a network. Results: {folder}"
    )
    if _train(experiments, folder):
        _print_report(folder)


def _train(experiments: Sequence[Experiment], folder: pathlib.Path) -> bool:
    """Trains or plans as the flags say, and tells whether there is something to report."""
    from transfer_keras import experiments as library  # Imports TensorFlow: 6 s.

    if from_flags.is_dry_run():
        library.estimate_sweep(experiments, folder)
        print("Dry run: nothing was trained. Leave out --dry_run to train.")
        return False
    if _TASK.value is not None:
        library.train_numbered_task(experiments, folder, _TASK.value)
        return False
    kind, _, address = (_CLUSTER.value or "").partition(":")
    flags_of = run_flags.flags_as_text
    if kind == "slurm":
        script = library.write_slurm_script(
            experiments,
            folder,
            flags=flags_of,
            arguments=[*run_flags.study_flags(), *margin_flag.given()],
        )
        print(f"{script.read_text()}\nSubmit it: {command('bash', script)}")
        return False
    if kind == "ray":
        gpus = _CLUSTER_GPUS.value
        library.run_on_ray(experiments, folder, flags=flags_of, address=address or None, gpus=gpus)
    elif not library.run_sweep(experiments, folder, flags=flags_of):
        print(f"Done; the first machine has written the results: {folder}")
        return False
    return True


def _print_report(folder: pathlib.Path) -> None:
    from transfer_keras.results import page  # Imports Matplotlib.

    advice = page.write_report(folder, folder / "report", margin=margin_flag.margin())
    print(f"\n{advice}\n\nThe report: {folder / 'report' / 'report.html'}")
    print(f"See every unit: {command('tensorboard', '--logdir', folder)}")


def _describe_donor(request: Request) -> PretrainedArchitecture:
    from transfer_keras import experiments  # Imports TensorFlow: 6 s.

    return experiments.describe_donor(request, train_here=not _CLUSTER.value)


def _check(execution: ExecutionSettings) -> None:
    """Raises a UserError where flags do not go together."""
    several = "--cluster" if _CLUSTER.value else "--task" if _TASK.value is not None else None
    if _CLUSTER_GPUS.value is not None and not (_CLUSTER.value or "").startswith("ray"):
        raise UserError("--cluster_gpus is for --cluster=ray. For Slurm, say it in OPTIONS.")
    if not several:
        return
    if _CLUSTER.value and _TASK.value is not None:
        raise UserError("--task and --cluster: give one. --task is for the jobs of a script.")
    if execution.strategy == "multi_worker" or choices.TF_CONFIG in os.environ:
        raise UserError(
            f"{several} and --strategy=multi_worker (or {choices.TF_CONFIG}): give one. A "
            "cluster gives each group a machine; multi_worker trains each group on all of them."
        )
    if execution.devices:
        raise UserError(
            f"{several} and --devices={execution.devices}: the cluster chooses the devices. Say "
            "how many by --cluster_gpus, or for Slurm in OPTIONS."
        )
    if _CLUSTER.value not in (None, "ray") and not from_flags.groups_are_sized():
        raise UserError(
            f"--cluster={_CLUSTER.value}: this machine does not know what those of the cluster "
            "hold. Give --group_memory in GiB, half of a GPU's or of a machine's, or --group_size."
        )
    if _CLUSTER.value == "slurm" and (why := paths.why_no_text(os.getcwd())):
        raise UserError(f"--cluster=slurm: this folder, {visible(os.getcwd())}: {why}.")
    if _CLUSTER.value != "slurm" and _CLUSTER.value and not importlib.util.find_spec("ray"):
        raise UserError(
            "--cluster=ray: Ray is not installed. Run pip install 'transfer_keras[cluster]', or "
            "leave --cluster out: the same groups are then trained here, one after the other."
        )


if __name__ == "__main__":
    launch.start(main, experiment_flags.WHOLE_CURVE)
