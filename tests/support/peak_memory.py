"""The most memory that this process has held."""

import re
from pathlib import Path


def peak_memory() -> int:
    """Reads the peak of the memory of this process in bytes, since it began its program.

    `getrusage` would give that of the process which started it where that was more: a child has its
    parent's memory until it begins its program, and Linux keeps the peak.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)[1]) * 1024
