"""A study's groups as job arrays of Slurm."""

import contextlib
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence

from transfer_keras import results
from transfer_keras.config import Experiment, render_template
from transfer_keras.experiments.group_task import begin_experiment, group_tasks, study_workdirs
from transfer_keras.experiments.sweep import check_sweep_data


def write_slurm_script(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: Callable[[Experiment, pathlib.Path], str],
    arguments: Sequence[str],
) -> pathlib.Path:
    """Makes the workdirs of a study, and a script that trains its groups as arrays of Slurm: those
    of bases, then the others, then the report.

    Args:
        experiments, folder, flags: see `run`.
        arguments: the flags that make the study.

    Returns:
        The script.

    Raises:
        UserError: see `experiment.run`.
    """
    check_sweep_data(experiments, folder)
    for experiment, workdir in study_workdirs(experiments, folder):
        with contextlib.ExitStack() as stack:
            begin_experiment(experiment, workdir, flags, print, stack)
    tasks = group_tasks(experiments, folder)
    sweep = [sys.executable, "-m", "transfer_keras.sweep", *arguments]
    bases = sum(not group.treatments[0].donor for _, _, group in tasks)
    text = render_template(
        "experiments",
        "slurm.sh",
        tasks=[f"{experiment.variant}: {group}" for experiment, _, group in tasks],
        folder=shlex.quote(os.getcwd()),
        sweep=shlex.quote(shlex.join(sweep)),
        bases=bases,
    )
    path = folder / "slurm.sh"
    results.write_text(path, text)
    return path
