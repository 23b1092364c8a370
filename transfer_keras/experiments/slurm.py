"""A study's groups as job arrays of Slurm."""

import contextlib
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence

from transfer_keras.config import Experiment, render_template
from transfer_keras.experiments.group_task import begin_experiment, group_tasks
from transfer_keras.experiments.sweep import FlagsOf, check_sweep_data
from transfer_keras.results import write_text


def write_slurm_script(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: FlagsOf,
    arguments: Sequence[str],
) -> pathlib.Path:
    """Makes the workdirs of a study, and a script that trains its groups as arrays of Slurm: those
    of bases, then the others, then the report.

    Args:
        experiments, folder, flags: see `run_sweep`.
        arguments: the flags that make the study.

    Returns:
        The script.

    Raises:
        UserError: see `run_experiment`.
    """
    check_sweep_data(experiments, folder)
    for experiment in experiments:
        with contextlib.ExitStack() as locks:
            begin_experiment(experiment, folder, flags, print, locks)
    tasks = group_tasks(experiments, folder)
    sweep = [sys.executable, "-m", "transfer_keras.sweep", *arguments]
    script = render_template(
        "experiments",
        "slurm.sh",
        tasks=list(map(str, tasks)),
        folder=shlex.quote(os.getcwd()),
        sweep=shlex.quote(shlex.join(sweep)),
        bases=sum(not task.group.treatments[0].donor for task in tasks),
    )
    path = folder / "slurm.sh"
    write_text(path, script)
    return path
