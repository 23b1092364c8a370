"""Which treatments are trained together: as many as the memory holds, by estimate.

The estimate is made from the table of the network, before anything is built.
"""

import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import NamedTuple

from transfer_keras.config import (
    ExecutionSettings,
    Experiment,
    Group,
    Treatment,
    UserError,
    choices,
    memory,
    plan_groups,
)

_FLOAT = 4  # Bytes of a float32.
_PROCESS = 2**30  # Bytes of TensorFlow itself and of pictures on their way, by measurement.
_SLOTS = {"sgd": 1, "adam": 2, "adamw": 2}  # Values that an optimiser keeps for each weight.


class Estimate(NamedTuple):
    """What treatments hold together: numbers of weights, and bytes."""

    parameters: int
    trained: int
    bytes: int


def estimate_memory(
    experiment: Experiment, classes: int, treatments: Iterable[Treatment]
) -> Estimate:
    """Estimates what treatments hold that are trained as one group.

    Each network is there as itself and in the fused model; what it trains has a gradient, the
    optimiser's values and activations with their gradients; of each donor, the frozen part of
    the treatment that has most of it is there once more, and its activations. Where units are
    measured, what is trained is there twice more, as it was before the first and the last step,
    and what is frozen once. And there is the process itself. Linear classifiers, which hold little,
    are left out.

    Args:
        experiment: says which network, on which images, by which optimiser.
        classes: number of outputs.
        treatments: of one target.
    """
    sizes = experiment.architecture.sizes(experiment.image_size, classes)
    batch = experiment.training.batch_size
    parameters = trained = held = 0
    measured = experiment.execution.metrics_every > 0
    trained_copies = 2 + _SLOTS[experiment.training.optimizer] + 2 * measured
    frozen: dict[str, int] = {}
    for treatment in treatments:
        below = treatment.frozen_units
        upper = () if treatment.linear else sizes[below:]
        own = sum(size.parameters for size in upper)
        whole = own + sum(size.parameters for size in sizes[:below])
        parameters += whole
        trained += own
        held += whole + trained_copies * own
        held += 2 * batch * sum(size.activations for size in upper)
        if below:
            frozen[treatment.donor] = max(below, frozen.get(treatment.donor, 0))
    for below in frozen.values():
        held += sum(
            (1 + measured) * size.parameters + batch * size.activations for size in sizes[:below]
        )
    return Estimate(parameters, trained, _PROCESS + _FLOAT * held)


def memory_limit(execution: ExecutionSettings) -> float:
    """Gives the GiB that a group may take: half of a GPU's memory, or else of the machine's, where
    nothing is said."""
    if execution.group_memory is not None:
        return execution.group_memory
    gpu = None if execution.on_logical_cpu else memory.gpu_memory()
    return (gpu or memory.process_memory()) / 2**31


def check_memory(experiment: Experiment, classes: int = 2) -> None:
    """Refuses an experiment of which a single network cannot fit into this machine.

    Counted is what no training can do without: weights, their gradients and the optimiser's values,
    a batch of pictures, and one copy of what is trained makes of it.

    Args:
        experiment: says which network, on which images, by which optimiser.
        classes: number of outputs, as far as it is known.

    Raises:
        UserError: if it does not fit.
    """
    execution, training = experiment.execution, experiment.training
    gpu = None if execution.on_logical_cpu else memory.gpu_memory()
    available = gpu or memory.process_memory()
    if execution.group_memory:  # Of a machine of a cluster, perhaps.
        available = max(available, 2 * execution.group_memory * 2**30)
    # Several devices share a batch; of GPUs and machines it is not known here how many there are.
    shared = gpu or os.environ.get(choices.TF_CONFIG)
    images = 1 if shared else training.batch_size
    sizes = experiment.architecture.sizes(experiment.image_size, classes)
    narrow = 1 if training.precision == "float32" else 2
    for treatment in experiment.all_treatments:
        upper = () if treatment.linear else sizes[treatment.frozen_units :]
        weights = sum(size.parameters for size in sizes)
        weights += (1 + _SLOTS[training.optimizer]) * sum(size.parameters for size in upper)
        made = sum(size.activations for size in upper) // (2 * narrow)
        least = _FLOAT * (weights + images * (made + 3 * experiment.image_size**2))
        if least > available:
            raise UserError(
                f"--batch_size={training.batch_size}: with {experiment.image_size} pixels a side "
                f"and {classes:,} classes, {treatment} takes at least {least / 2**30:,.1f} GiB, "
                f"and there are {available / 2**30:,.1f}. Give a smaller --batch_size or "
                "--image_size; or, for a machine that has more, half of its memory by "
                "--group_memory."
            )


def plan_experiment(experiment: Experiment, tasks: Mapping[str, Sized]) -> tuple[Group, ...]:
    """Plans an experiment, its groups as large as its settings allow.

    Args:
        experiment: its `group_size` treatments at the most go together, or where that is None,
            as many as by estimate fit `memory_limit`; with mean images, those of one.
        tasks: "A" and "B" -> the task, whose length is its number of classes.

    Example:
        >>> from transfer_keras.config import make_experiment
        >>> experiment = make_experiment(["A1B", "A2B", "R1B"], group_size=2)
        >>> for group in plan_experiment(experiment, {"A": range(20), "B": range(20)}):
        ...     print(group)
        baseA
        baseB
        A1B, A2B
        R1B
    """
    head_first = experiment.training.head_first
    one_mean = experiment.data.preprocessing == choices.PAPER  # Taken off the stream of a group.
    if one_mean:
        by_pixels = sorted(experiment.treatments, key=experiment.pixels_of)
        experiment = experiment.replace(treatments=tuple(by_pixels))

    def may_join(together: tuple[Treatment, ...]) -> bool:
        if one_mean and len(set(map(experiment.pixels_of, together))) > 1:
            return False
        if head_first and len({treatment.fine_tune for treatment in together}) > 1:
            return False  # What is fine-tuned begins with networks that are done.
        if len({experiment.fits_head(treatment) for treatment in together}) > 1:
            return False
        return fits(experiment, len(tasks[together[0].target]), together)

    return plan_groups(experiment.all_treatments, may_join)


def fits(experiment: Experiment, classes: int, treatments: Sequence[Treatment]) -> bool:
    """Tells whether treatments may train at the same time: by `group_size`, or by memory.

    Args:
        experiment: says so.
        classes: number of outputs.
        treatments: those that would train at the same time.
    """
    if size := experiment.execution.group_size:
        return len(treatments) <= size
    needed = estimate_memory(experiment, classes, treatments).bytes
    return needed <= memory_limit(experiment.execution) * 2**30
