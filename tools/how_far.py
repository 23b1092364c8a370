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

from absl import app, flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from transfer_keras.config import Experiment, Group, tasks
from transfer_keras.config import flags as experiment_flags
from transfer_keras.experiments import plan_experiment

flags.adopt_module_key_flags(experiment_flags)
for _name, _value in experiment_flags.WHOLE_CURVE.items():
    flags.FLAGS.set_default(_name, _value)
_RATE = flags.DEFINE_float("images_per_second", None, "Of one device.", 1e-9, required=True)
_DECODED = flags.DEFINE_float("decoded_per_second", 810, "Of one core.", 1e-9)
_MEMORY = flags.DEFINE_float("device_memory", None, "GiB of a device.", 0.1, required=True)
_DEVICES = flags.DEFINE_list("counts", ["1", "8", "64", "512"], "Of devices.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Of the dataset.", 2)


def main(_) -> None:
    """Flags in, a table out."""
    memory = _MEMORY.value / 2  # As the program does: the rest is for what it cannot count.
    experiments = [
        experiment.replace(group_memory=memory)
        for experiment in experiment_flags.experiments_from_flags()
    ]
    bases, others = [], []
    for experiment in experiments:
        for group in _groups(experiment):
            kind = others if group.treatments[0].donor else bases
            kind.append(_seconds(experiment, group))
    networks = sum(len(g.names) for e in experiments for g in _groups(e))
    first = experiments[0]
    images = first.steps * first.batch_size
    print(
        f"{len(experiments)} experiments, {networks} networks in {len(bases)} bases and "
        f"{len(others)} groups; {images / 1e6:,.1f} million pictures a pass."
    )
    print(f"{'devices':>8}{'cores':>8}{'time':>12}{'busy':>7}  bound by")
    cores = _RATE.value / _DECODED.value  # Of a base, which reads fastest.
    for count in map(int, _DEVICES.value):
        spans = [_span(stage, count) for stage in (bases, others)]
        busy = (sum(bases) + sum(others)) / (sum(spans) * count)
        bound = "the devices" if busy > 0.9 else "whole groups that some devices wait for"
        if count > len(others):
            bound = "single networks spread over devices, which is not free"
        print(
            f"{count:8}{math.ceil(count * cores):8,}{_duration(sum(spans)):>12}{busy:7.0%}  {bound}"
        )


def _groups(experiment: Experiment) -> tuple[Group, ...]:
    half = range(_CLASSES.value // 2)
    whole = {"A": range(_CLASSES.value)}
    there = whole if experiment.data.split == tasks.WHOLE_SPLIT else {"A": half, "B": half}
    return plan_experiment(experiment, there)


def _seconds(experiment: Experiment, group: Group) -> float:
    """On one device."""
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
    """Seconds until all are done: the longest first, each on the device that is free first."""
    share = max(1, devices // max(1, len(jobs)))
    free = [0.0] * min(devices, max(1, len(jobs)))
    for job in sorted(jobs, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + job / share)
    return max(free)


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:,.1f} days" if hours > 48 else f"{hours:.1f} h"


if __name__ == "__main__":
    app.run(main)
