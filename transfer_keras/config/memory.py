"""The memory of this machine and of its GPUs."""

import functools
import os
import subprocess

from transfer_keras.config.errors import UserError

VARIABLE = "TRANSFER_KERAS_MEMORY_GIB"
_MOST_GIB = 2**33
_TIMEOUT = 10  # Seconds, for a driver that does not answer.


def process_memory() -> int:
    """Counts the bytes of memory that this process may use: the machine's, or its control
    group's, or what the environment variable TRANSFER_KERAS_MEMORY_GIB says.

    Raises:
        UserError: if the variable is set to something else than a number above 0.
    """
    if text := os.environ.get(VARIABLE):
        return _given_memory(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            limit = file.read().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def _given_memory(text: str) -> int:
    try:
        given = float(text)
    except ValueError:
        given = 0.0
    if not 0 < given < _MOST_GIB:
        raise UserError(f"{VARIABLE}={text}: expected the memory in GiB, a number above 0.")
    return int(given * 2**30)


def most_memory() -> int:
    """Counts the bytes that one thing may take which a file or a flag asks for: half of all."""
    return process_memory() // 2


def describe_limit() -> str:
    """Says how much one thing may take, and what to set if it is to take more."""
    return (
        f"Expected at most {most_memory() / 2**30:.3g} GiB, half of the memory; if it is right, "
        f"set {VARIABLE} to twice what it takes"
    )


@functools.cache
def gpu_memory() -> int | None:
    """Counts the bytes of the smallest GPU; None where no driver of NVIDIA's tells of one."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    sizes = [int(line) for line in done.stdout.split() if line.isdigit()]
    return min(sizes) * 2**20 if sizes else None
