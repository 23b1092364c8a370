"""The table of an experiment's groups and what they take, before it is trained."""

from collections.abc import Mapping, Sized

from transfer_keras.config import Experiment, align_columns
from transfer_keras.experiments.grouping import estimate_memory, memory_limit, plan_experiment
from transfer_keras.results import Workdir

_COLUMNS = ("group", "target", "treatments", "parameters", "trained", "memory", "")


def plan_table(experiment: Experiment, tasks: Mapping[str, Sized], workdir: Workdir) -> str:
    """Draws a table of the groups and what they take.

    Args:
        experiment: what is wanted.
        tasks: "A" and "B" -> the task, whose length is its number of classes.
        workdir: where some of it may be done already.
    """
    lines, groups = [_COLUMNS], plan_experiment(experiment, tasks)
    sizes = [estimate_memory(experiment, len(tasks[g.target]), g.treatments) for g in groups]
    for number, (group, size) in enumerate(zip(groups, sizes, strict=True), 1):
        missing = len(workdir.missing(group.treatments))
        state = "on disk" if not missing else "to train"
        if 0 < missing < len(group.names):
            state = f"{missing} to train"
        millions = (f"{size.parameters / 1e6:.2f} M", f"{size.trained / 1e6:.2f} M")
        memory = f"{size.bytes / 2**30:.2f} GiB"
        lines.append((f"{number}", group.target, str(group), *millions, memory, state))
    execution = experiment.execution
    limit = f"groups of at most {execution.group_size} (--group_size)"
    if execution.group_size is None:
        limit = f"as many as fit {memory_limit(execution):.1f} GiB (--group_memory)"
    networks = sum(len(group.names) for group in groups)
    steps = f"{experiment.training.steps:,} steps each"
    if experiment.training.fit_head:
        steps += " (none where the head alone is fitted)"
    return (
        f"{align_columns(lines)}\n"
        f"{networks} networks of {sum(s.parameters for s in sizes) / 1e6:.1f} M parameters, of "
        f"which {sum(s.trained for s in sizes) / 1e6:.1f} M are trained, in {len(groups)} passes "
        f"over the data of {steps}; {limit}."
    )
