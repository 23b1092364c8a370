"""Runs programs of ours by the hundred: each in a fork of a process that has imported everything.

A farm is a process of its own that reads a request a line and answers each with a line, both in
JSON. It never starts TensorFlow's threads itself, so that its forks may. A fork that runs for too
long is killed; what it used at most is measured where it ends, so a refusal's memory is known.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import resource
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[2]
# What programs import only when they need it; none of these defines a flag.
PRELOADED = (
    "transfer_keras.experiments",
    "transfer_keras.advice",
    "transfer_keras.deployment",
    "transfer_keras.results.page",
    "transfer_keras.results.summary",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
)


_MOST = 1 << 20  # Bytes of an output that are kept.
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2).


@dataclasses.dataclass(frozen=True)
class Ended:
    """What became of one program.

    Attributes:
        status: its exit status, negative for a signal.
        out, err: what it wrote.
        seconds: how long it took.
        peak: bytes that it held at most.
        hung: whether it was killed because its time was over.
    """

    status: int
    out: str
    err: str
    seconds: float
    peak: int
    hung: bool


class Farm:
    """One process that forks programs; as a context manager it ends with its block."""

    def __init__(self):
        path = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        # Forks that are killed leave their temporary files.
        self._temporary = tempfile.TemporaryDirectory()
        settings = {
            "PYTHONPATH": os.pathsep.join(path),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TMPDIR": self._temporary.name,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.farm"],
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._temporary.cleanup()

    def run(self, program, *flags, cwd, limit=60.0, environment=None):
        """Runs a program of ours to its end.

        Args:
            program: name of a module of `transfer_keras`, as "train"; or path of a script.
            flags: its arguments.
            cwd: the folder to run in.
            limit: seconds after which it is killed.
            environment: more variables; FARM_FILE_SIZE is the size in bytes beyond which no file
                can be written.
        """
        request = {
            "program": str(program), "flags": list(map(str, flags)), "cwd": str(cwd),
            "limit": limit, "environment": environment or {},
        }  # fmt: skip
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The farm has ended; its error is above.")
        return Ended(**json.loads(answer))


def _serve():
    """Answers requests until there are no more."""
    from transfer_keras.config.environment import set_environment

    set_environment()
    for name in PRELOADED:
        __import__(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_fork(json.loads(line))) + "\n")
        answers.flush()


def _fork(request):
    """Runs one request in a fork, and gives the fields of `Ended`."""
    pipes = [os.pipe(), os.pipe()]
    begun = time.monotonic()
    child = os.fork()
    if not child:
        _become(request, [write for _, write in pipes])
    for read, write in pipes:
        os.close(write)
        os.set_blocking(read, False)
    texts = {read: bytearray() for read, _ in pipes}
    hung = not _wait(child, texts, begun + request["limit"])
    # The child leads a group of its own, so that what it started ends with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    for read, text in texts.items():
        _drain(read, text)
        os.close(read)
    out, err = (text.decode("utf-8", "backslashreplace") for text in texts.values())
    return {
        "status": os.waitstatus_to_exitcode(status), "out": out, "err": err, "hung": hung,
        "seconds": time.monotonic() - begun, "peak": usage.ru_maxrss * 1024,
    }  # fmt: skip


def _wait(child, texts, end):
    """Reads what a child writes until it ends; tells whether it did so in time."""
    descriptor, open_pipes = os.pidfd_open(child), [*texts]
    try:
        while (remaining := end - time.monotonic()) > 0:
            ready, _, _ = select.select([descriptor, *open_pipes], [], [], remaining)
            open_pipes = [read for read in open_pipes if not _drain(read, texts[read])]
            if descriptor in ready:
                return True
        return False
    finally:
        os.close(descriptor)


def _drain(read, text):
    """Takes all that a pipe holds, and tells whether it is closed; of much the start is kept."""
    with contextlib.suppress(BlockingIOError):
        while block := os.read(read, 1 << 16):
            text += block[: max(0, _MOST - len(text))]
        return True
    return False


def _become(request, outputs):
    """Turns a fork into the program that is asked for; does not come back."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    status = 1
    try:
        for number, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        os.chdir(request["cwd"])
        os.environ.update(request["environment"])
        if (limit := os.environ.get("FARM_FILE_SIZE")) is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        sys.argv = [request["program"], *request["flags"]]
        if request["program"].endswith(".py"):
            runpy.run_path(request["program"], run_name="__main__")
        else:
            runpy.run_module(
                f"transfer_keras.{request['program']}", run_name="__main__", alter_sys=True
            )
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Handlers of the farm are not the program's; threads of TensorFlow need not be waited for.
        os._exit(status & 255)


if __name__ == "__main__":
    _serve()
