"""A study's groups as job arrays of Slurm."""

import contextlib
import itertools
import os
import pathlib
import sys
from collections.abc import Sequence

from transfer_keras.config import Experiment, command, render_template
from transfer_keras.experiments.group_task import begin_experiment, task_waves
from transfer_keras.experiments.sweep import FlagsOf, check_sweep_data
from transfer_keras.files import write_text


def write_slurm_script(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: FlagsOf,
    arguments: Sequence[str],
) -> pathlib.Path:
    """Makes the workdirs of a study, and a script that trains its groups as arrays of Slurm: an
    array for each wave (see `task_waves`), then the report.

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
    waves = task_waves(experiments, folder)
    ends = list(itertools.accumulate(map(len, waves)))
    sweep = [sys.executable, "-m", "transfer_keras.sweep", *arguments]
    script = render_template(
        "experiments",
        "slurm.sh",
        tasks=[str(task) for wave in waves for task in wave],
        arrays=[f"{end - len(wave)}-{end - 1}" for wave, end in zip(waves, ends, strict=True)],
        folder=os.getcwd(),
        sweep=command(*sweep),  # A word of the script that is a command itself.
    )
    path = folder / "slurm.sh"
    write_text(path, script)
    return path
