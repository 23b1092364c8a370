"""How long a study takes on many devices, and what bounds it: by arithmetic from measured pieces.

python tools/how_far.py --flagfile=flags/paper.flags --images_per_second=1100 --device_memory=12

The pieces: pictures a second on which one device trains the network alone
(`benchmark_training.py`), pictures a second that a core decodes (`benchmark_input.py`), and the
memory of a device, which says how many treatments go into a group (`--dry_run`). The rest is
counted: a group passes over its pictures once, costs what its treatments train and their donors'
frozen units once each, and waits for the bases of its split. Groups that are fewer than the devices
are spread over several (`--strategy=mirrored`), as if that cost nothing.
"""

import heapq
import math
import os

from absl import flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from transfer_keras.config import Experiment, Group, from_flags, launch, tasks
from transfer_keras.config import flags as experiment_flags

flags.adopt_module_key_flags(experiment_flags)
_RATE = flags.DEFINE_float("images_per_second", None, "Of one device.", 1e-9, required=True)
_DECODED = flags.DEFINE_float("decoded_per_second", 810, "Of one core.", 1e-9)
_MEMORY = flags.DEFINE_float("device_memory", None, "GiB of a device.", 0.1, required=True)
_DEVICES = flags.DEFINE_list("counts", ["1", "8", "64", "512"], "Of devices.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Of the dataset.", 2)


def main() -> None:
    """Turns flags into a table."""
    memory = _MEMORY.value / 2  # As the program does: the rest is for what it cannot count.
    experiments = [
        experiment.replace(group_memory=memory)
        for experiment in (request.complete() for request in from_flags.requests())
    ]
    bases, transfers = [], []
    for experiment in experiments:
        for group in _groups(experiment):
            kind = transfers if group.treatments[0].donor else bases
            kind.append(_seconds(experiment, group))
    networks = sum(len(g.names) for e in experiments for g in _groups(e))
    first = experiments[0]
    images = first.training.steps * first.training.batch_size
    print(
        f"{len(experiments)} experiments, {networks} networks in {len(bases)} bases and "
        f"{len(transfers)} groups; {images / 1e6:,.1f} million pictures a pass."
    )
    print(f"{'devices':>8}{'cores':>8}{'time':>12}{'busy':>7}  bound by")
    cores = _RATE.value / _DECODED.value  # Of a base, which reads fastest.
    for count in map(int, _DEVICES.value):
        spans = [_span(stage, count) for stage in (bases, transfers)]
        busy = (sum(bases) + sum(transfers)) / (sum(spans) * count)
        bound = "the devices" if busy > 0.9 else "whole groups that some devices wait for"
        if count > len(transfers):
            bound = "single networks spread over devices, which is not free"
        print(
            f"{count:8}{math.ceil(count * cores):8,}{_duration(sum(spans)):>12}{busy:7.0%}  {bound}"
        )


def _groups(experiment: Experiment) -> tuple[Group, ...]:
    # Imports TensorFlow, for which `--help` and errors in flags do not wait.
    from transfer_keras.experiments import plan_experiment

    classes = {"A": range(_CLASSES.value)}
    if experiment.data.split != tasks.WHOLE_SPLIT:
        classes = dict.fromkeys("AB", range(_CLASSES.value // 2))
    return plan_experiment(experiment, classes)


def _seconds(experiment: Experiment, group: Group) -> float:
    """Estimates the seconds of a group on one device."""
    macs = [size.macs for size in experiment.architecture.sizes(experiment.image_size, 500)]

    def trained(below: int) -> int:
        # Forward, and backward twice, but for the gradient by what the lowest unit sees.
        return 3 * sum(macs[below:]) - macs[below]

    cost, frozen = 0, {}
    for treatment in group.treatments:
        below = treatment.n if treatment.mode in ("frozen", "random") else 0
        cost += trained(below)
        if below:
            frozen[treatment.donor] = max(below, frozen.get(treatment.donor, 0))
    cost += sum(sum(macs[:below]) for below in frozen.values())
    return (
        experiment.training.steps * experiment.training.batch_size * cost / trained(0) / _RATE.value
    )


def _span(jobs: list[float], devices: int) -> float:
    """Estimates when all jobs are done: the longest first, each on the next free device."""
    share = max(1, devices // max(1, len(jobs)))
    free = [0.0] * min(devices, max(1, len(jobs)))
    for job in sorted(jobs, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + job / share)
    return max(free)


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:,.1f} days" if hours > 48 else f"{hours:.1f} h"


if __name__ == "__main__":
    launch.start(main, experiment_flags.WHOLE_CURVE)
