"""The memory of this machine and of its GPUs."""

import functools
import math
import os
import subprocess

from transfer_keras.config.errors import UserError

LIMIT = "TRANSFER_KERAS_MEMORY_GIB"  # Environment variable; see `most_memory`.
_SHARE = 0.5
_TIMEOUT = 10  # Seconds, for a driver that does not answer.


def process_memory() -> int:
    """Counts the bytes of memory that this process may use: the machine's, or its control
    group's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            limit = file.read().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


def most_memory() -> int:
    """Counts the bytes that one thing may take which a file or a flag asks for.

    They are half of the memory, or what the environment variable TRANSFER_KERAS_MEMORY_GIB says.

    Raises:
        UserError: if the variable is set to something else than a number above 0.
    """
    text = os.environ.get(LIMIT)
    if not text:
        return int(_SHARE * process_memory())
    try:
        most = float(text)
    except ValueError:
        most = 0.0
    if not 0 < most < math.inf:
        raise UserError(f"{LIMIT}={text}: expected a number of GiB, above 0.")
    return int(most * 2**30)


def describe_limit() -> str:
    """Says how much one thing may take, and what to set if it is to take more."""
    most = most_memory() / 2**30
    source = LIMIT if os.environ.get(LIMIT) else "half of the memory"
    return f"Expected at most {most:.3g} GiB ({source}); if it is right, set {LIMIT}"


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
