"""The devices on which a program trains."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import (
    ExecutionSettings,
    TrainingSettings,
    UserError,
    WorkerLost,
    choices,
    tf_config,
)
from transfer_keras.experiments.rendezvous import meet

_LONGEST = 200  # Characters of TensorFlow's words.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where a program trains.

    Attributes:
        strategy: of TensorFlow.
        workers: how many processes train together, each on its devices.
        is_chief: whether this is the one of them that writes.
        name: for people.
    """

    strategy: tf.distribute.Strategy
    workers: int
    is_chief: bool
    name: str

    @property
    def replicas(self) -> int:
        """Counts the devices of all workers."""
        return self.strategy.num_replicas_in_sync

    def share(self, value: Any) -> Any:
        """Gives every worker the chief's value; each waits for the others.

        Args:
            value: what JSON takes; only the chief's counts.
        """
        if self.workers == 1:
            return value
        data = json.dumps(value).encode() if self.is_chief else b""
        length = self._sum(np.array([len(data)]))[0]
        padded = np.zeros(length, np.int64)
        padded[: len(data)] = np.frombuffer(data, np.uint8)
        return json.loads(self._sum(padded).astype(np.uint8).tobytes())

    def part(self) -> None:
        """Waits for the other workers once more, when there is nothing left to do.

        Who comes out of a sum may end while another still takes what it sent, and then fails. So
        all meet once more; whoever misses another there has lost nothing.
        """
        if self.workers > 1:
            with contextlib.suppress(WorkerLost), report_lost_workers(self):
                self._sum(np.zeros(1, np.int64))

    def _sum(self, vector: np.ndarray) -> np.ndarray:
        """Sums vectors, int64 of one length, over all workers."""
        own_replicas = self.replicas // self.workers
        return self._over_replicas(tf.constant(vector, tf.int64)).numpy() // own_replicas

    @functools.cached_property
    def _over_replicas(self):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def total(vector):
            out = self.strategy.run(tf.identity, args=(vector,))
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, out, axis=None)

        return total


def use_devices(training: TrainingSettings, execution: ExecutionSettings) -> Devices:
    """Takes the devices that an experiment asks for; also sets the precision.

    To be called before anything else that TensorFlow does: then its devices can be chosen. All
    experiments of a process have the same.

    Raises:
        UserError: if there are no such devices, or a batch does not divide by them.
    """
    keras.mixed_precision.set_dtype_policy(training.precision)
    devices = _open(execution.strategy, execution.devices, execution.memory_growth)
    size, replicas = training.batch_size, devices.replicas
    if size % replicas:
        below, above = size // replicas * replicas, -(-size // replicas) * replicas
        near = " or ".join(str(n) for n in (below, above) if n)
        raise UserError(
            f"--batch_size={size}: does not divide by {replicas} devices ({devices.name}). "
            f"Give {near}, or other --devices."
        )
    return devices


def describe_devices(devices: Devices, training: TrainingSettings) -> str:
    """Writes a line that says what a training runs on."""
    size, replicas = training.batch_size, devices.replicas
    batch = f", batches of {size}" + (f" = {replicas} x {size // replicas}" if replicas > 1 else "")
    compiled = ", compiled by XLA" if training.jit_compile else ""
    return f"Runs on {devices.name}{batch}, {training.precision}{compiled}."


@contextlib.contextmanager
def report_lost_workers(devices: Devices) -> Iterator[None]:
    """Turns what TensorFlow raises when another worker is gone into one error that says so.

    Raises:
        WorkerLost: then.
    """
    try:
        yield
    except _LOST as error:
        lines = [
            line for line in error.message.splitlines() if "ollective" in line or "/task:" in line
        ]
        if devices.workers == 1 or not lines:
            raise
        raise WorkerLost(lines[0].strip()[:_LONGEST]) from error


def hide_gpus() -> None:
    """Keeps TensorFlow off the GPUs, in a process that only plans what others train."""
    tf.config.set_visible_devices([], "GPU")


@functools.cache
def _open(kind: str, names: str | None, memory_growth: bool) -> Devices:
    cluster = tf_config.read_cluster()
    if kind == "auto" and cluster and len(cluster.addresses) > 1:
        kind = "multi_worker"
    if kind == "multi_worker" and not cluster:
        variable = choices.TF_CONFIG
        raise UserError(
            f"--strategy=multi_worker: {variable} is not set. Set it on each machine, as "
            f"{variable}='{tf_config.EXAMPLE}', with its own index."
        )
    devices, description = _choose(names, memory_growth, first=kind == "one")
    if kind == "multi_worker":
        return _multi_worker(cluster, description)
    if kind == "auto":
        kind = "mirrored" if len(devices) > 1 else "one"
    strategy = tf.distribute.MirroredStrategy(devices) if kind == "mirrored" else None
    return Devices(strategy or tf.distribute.get_strategy(), 1, True, description)


def _choose(names: str | None, memory_growth: bool, *, first: bool) -> tuple[list[str], str]:
    """Gives the names of the devices, as TensorFlow has them, and what they are, for people.

    Args:
        names: see `ExecutionSettings.devices`.
        memory_growth: whether memory of GPUs is taken as it is needed.
        first: only the first.
    """
    if names and names.startswith(choices.LOGICAL_CPU):
        count = 1 if first else int(names.removeprefix(choices.LOGICAL_CPU))
        (cpu,) = tf.config.list_physical_devices("CPU")
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_logical_device_configuration(cpu, logical)
        return [f"CPU:{k}" for k in range(count)], f"{count} logical devices of the CPU"
    gpus = tf.config.list_physical_devices("GPU")
    if names:
        numbers = [int(number) for number in names.split(",")]
        if missing := [number for number in numbers if number >= len(gpus)]:
            raise UserError(
                f"--devices={names}: there is no GPU {missing[0]}; TensorFlow finds {len(gpus)}. "
                f"Leave --devices out, or give {choices.LOGICAL_CPU}2 to try two devices on the "
                "CPU."
            )
        gpus = [gpus[number] for number in numbers]
    if not gpus:
        return ["CPU:0"], f"the CPU ({os.cpu_count()} cores)"
    gpus = gpus[:1] if first else gpus
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus if memory_growth else ():
        tf.config.experimental.set_memory_growth(gpu, True)
    kinds = {tf.config.experimental.get_device_details(g).get("device_name", "?") for g in gpus}
    count = f"{len(gpus)} GPUs" if len(gpus) > 1 else "a GPU"
    return [f"GPU:{k}" for k in range(len(gpus))], f"{count} ({', '.join(sorted(kinds))})"


def _multi_worker(cluster: tf_config.Cluster, description: str) -> Devices:
    workers = list(cluster.addresses)
    if len(workers) > 1:
        meet(cluster)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = strategy.cluster_resolver
    own = f"{resolver.task_type}:{resolver.task_id}"
    name = f"{len(workers)} machines, this one ({own}) with {description}"
    return Devices(strategy, len(workers), own == workers[0], name)
