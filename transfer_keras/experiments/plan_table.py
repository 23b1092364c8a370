"""What a person reads of an experiment before it is trained: its groups, and what they take."""

import pathlib
from collections.abc import Mapping, Sized

from transfer_keras import results
from transfer_keras.config import Experiment, align_columns
from transfer_keras.experiments.grouping import estimate_memory, plan_experiment

_PLAN = ("group", "target", "treatments", "parameters", "trained", "memory", "")


def plan_table(experiment: Experiment, tasks: Mapping[str, Sized], workdir: pathlib.Path) -> str:
    """The groups and what they take.

    Args:
        experiment: what is wanted.
        tasks: "A" and "B" -> the task, whose length is its number of classes.
        workdir: where some of it may be done already.
    """
    lines, groups = [_PLAN], plan_experiment(experiment, tasks)
    sizes = [estimate_memory(experiment, len(tasks[g.target]), g.treatments) for g in groups]
    for number, (group, size) in enumerate(zip(groups, sizes, strict=True), 1):
        waiting = [name for name in group.names if not results.is_done(workdir, name)]
        state = "on disk" if not waiting else "to train"
        if 0 < len(waiting) < len(group.names):
            state = f"{len(waiting)} to train"
        millions = (f"{size.parameters / 1e6:.2f} M", f"{size.trained / 1e6:.2f} M")
        memory = f"{size.bytes / 2**30:.2f} GiB"
        lines.append((f"{number}", group.target, str(group), *millions, memory, state))
    limit = f"groups of at most {experiment.group_size} (--group_size)"
    if experiment.group_size is None:
        limit = f"as many as fit {experiment.group_memory:.1f} GiB (--group_memory)"
    everything = sum(len(group.names) for group in groups)
    return (
        f"{align_columns(lines)}\n"
        f"{everything} networks of {sum(s.parameters for s in sizes) / 1e6:.1f} M parameters, of "
        f"which {sum(s.trained for s in sizes) / 1e6:.1f} M are trained, in {len(groups)} passes "
        f"over the data of {experiment.steps:,} steps each; {limit}."
    )
