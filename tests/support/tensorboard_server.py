"""TensorBoard as a process of its own, on a free port of this machine alone."""

import contextlib
import re
import subprocess
import sys
import time


@contextlib.contextmanager
def serving(logdir):
    """Gives the address of a server, which ends with the block."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", "--port=0"]
    command += ["--host=127.0.0.1", "--load_fast=true", "--samples_per_plugin=images=100"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if match := re.search(r"at (http://127\.0\.0\.1:\d+)/", line):
                break
        else:
            raise AssertionError("TensorBoard did not start:\n" + "".join(lines))
        yield match[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def until(condition, what, *, seconds=60):
    """Calls a condition until its answer is true, and gives that."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.25)
    return answer
