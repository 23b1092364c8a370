"""Which treatments are trained together: as many as the memory holds, by estimate.

The estimate is made from the table of the network, before anything is built.
"""

from collections.abc import Iterable, Mapping, Sized
from typing import NamedTuple

from transfer_keras.config import Experiment, Group, Treatment, plan_groups

_FLOAT = 4  # Bytes of a float32.
_PROCESS = 2**30  # Bytes of TensorFlow itself and of pictures on their way, by measurement.
_SLOTS = {"sgd": 1, "adam": 2}  # Values that an optimiser keeps for each weight.


class Estimate(NamedTuple):
    """What treatments hold together: numbers of weights, and bytes."""

    parameters: int
    trained: int
    bytes: int


def estimate_memory(
    experiment: Experiment, classes: int, treatments: Iterable[Treatment]
) -> Estimate:
    """Of treatments trained as one group.

    Each network is there as itself and in the fused model; what it trains has a gradient, the
    optimiser's values and activations with their gradients; of each donor, the frozen part of
    the treatment that has most of it is there once more, and its activations. Where units are
    watched, what is trained is there twice more, as it was before the first and the last step, and
    what is frozen once. And there is the process itself.

    Args:
        experiment: says which network, on which images, by which optimiser.
        classes: number of outputs.
        treatments: of one target.
    """
    sizes = experiment.architecture.sizes(experiment.image_size, classes)
    batch = experiment.batch_size
    parameters = trained = held = 0
    watched = experiment.metrics_every > 0
    trained_copies = 2 + _SLOTS[experiment.optimizer] + 2 * watched
    frozen: dict[str, int] = {}
    for treatment in treatments:
        below = 0 if treatment.mode in ("base", "fine_tune") else treatment.n
        own = sum(size.parameters for size in sizes[below:])
        parameters += sum(size.parameters for size in sizes)
        trained += own
        held += sum(size.parameters for size in sizes) + trained_copies * own
        held += 2 * batch * sum(size.activations for size in sizes[below:])
        if below:
            frozen[treatment.donor] = max(below, frozen.get(treatment.donor, 0))
    for below in frozen.values():
        held += sum(
            (1 + watched) * size.parameters + batch * size.activations for size in sizes[:below]
        )
    return Estimate(parameters, trained, _PROCESS + _FLOAT * held)


def plan_experiment(experiment: Experiment, tasks: Mapping[str, Sized]) -> tuple[Group, ...]:
    """The plan of an experiment, its groups as large as its settings allow.

    Args:
        experiment: its `group_size` treatments at the most go together, or where that is None,
            as many as by estimate fit `group_memory`; with mean images, those of one.
        tasks: "A" and "B" -> the task, whose length is its number of classes.
    """

    one_mean = experiment.preprocessing == "paper"  # Image, taken off the stream of a group.
    wanted = experiment.treatments
    if one_mean:
        wanted = sorted(wanted, key=experiment.pixels_of)

    def fits(treatments: tuple[Treatment, ...]) -> bool:
        if (
            experiment.preprocessing == "paper"
            and len(set(map(experiment.pixels_of, treatments))) > 1
        ):
            return False
        if experiment.group_size:
            return len(treatments) <= experiment.group_size
        needed = estimate_memory(experiment, len(tasks[treatments[0].target]), treatments).bytes
        return needed <= experiment.group_memory * 2**30

    return plan_groups(wanted, fits, experiment.given)
