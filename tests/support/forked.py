"""Programs that begin as copies of a process which has imported TensorFlow, so without a wait."""

import concurrent.futures
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys

from support.paths import ROOT

# What takes seconds to import, of which nothing runs before a program asks for it.
PRELOADED = ["tensorflow", "keras", "tensorflow_datasets", "scipy.stats", "matplotlib.figure"]


class Forked:
    """Is what `subprocess.Popen` is, with pipes of text for the outputs.

    Args:
        arguments: those of Python: -m MODULE … or SCRIPT ….
        cwd, env: as of `subprocess.Popen`.
        merge: standard error goes to standard output.
    """

    def __init__(self, arguments, *, cwd, env, merge):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        pipes = [context.Pipe(duplex=False) for _ in range(1 if merge else 2)]
        outputs = [write for _, write in pipes]
        self._process = context.Process(target=_run, args=(arguments, str(cwd), env, outputs))
        self._process.start()
        streams = []
        for read, write in pipes:
            write.close()
            streams.append(open(os.dup(read.fileno()), encoding="utf-8"))  # noqa: SIM115
            read.close()
        self.stdout, self.stderr = streams[0], None if merge else streams[1]
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in (self.stdout, self.stderr):
            if stream:
                stream.close()
        self.wait()

    @property
    def returncode(self):
        """Gives the exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """Reads both outputs to their ends."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            reads = [
                pool.submit(stream.read) if stream and not stream.closed else None
                for stream in (self.stdout, self.stderr)
            ]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # Its pipes close, so that the reading ends.
                raise
        return tuple(read and read.result() for read in reads)


def _run(arguments, cwd, env, outputs):
    """Runs Python's arguments in the forked process."""
    for number, output in zip((1, 2), [outputs[0], outputs[-1]], strict=True):
        os.dup2(output.fileno(), number)
    for output in outputs:
        output.close()
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = ["", str(ROOT), *(path for path in sys.path if path not in ("", str(ROOT)))]
    module = arguments[0] == "-m"
    sys.argv = [str(argument) for argument in arguments[module:]]
    if module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(sys.argv[0])
        runpy.run_path(sys.argv[0], run_name="__main__")
