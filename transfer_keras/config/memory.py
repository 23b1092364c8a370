"""The memory of this machine and of its GPUs."""

import functools
import os
import subprocess

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
