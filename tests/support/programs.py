"""Programs as a user starts them, each in a process of its own."""

import os
import subprocess
import sys

from support.forked import Forked
from support.paths import ROOT

# Packages of these names that cannot be imported prove that an answer came without them.
HEAVY = ("tensorflow", "keras")


class Programs:
    """Starts Python in an empty folder; as a context manager, kills at its end what still runs.

    Args:
        folder: an existing one, for the programs and for packages that cannot be imported.

    Attributes:
        folder: where the programs run.
    """

    def __init__(self, folder):
        self._poison, self.folder = folder / "poison", folder / "work"
        self.folder.mkdir()
        for name in HEAVY:
            (self._poison / name).mkdir(parents=True)
            poison = 'raise RuntimeError("heavy import")\n'
            (self._poison / name / "__init__.py").write_text(poison)
        self._started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._started:
            with process:
                process.kill()

    def start(self, *arguments, light=False, fresh=False, cwd=None, merge=False, environment=None):
        """Starts `python ARGUMENTS`, as a copy of a process that has TensorFlow where it can.

        Args:
            arguments: what follows `python` on the command line.
            light: TensorFlow and Keras cannot be imported.
            fresh: the process is Python's own from its beginning, as a user has it.
            cwd: the folder to run in; None: `folder`.
            merge: standard error goes to standard output.
            environment: more variables, which win.
        """
        path = [str(self._poison), str(ROOT)] if light else [str(ROOT)]
        own = {"PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        env, cwd = os.environ | own | (environment or {}), cwd or self.folder
        if light or fresh or arguments[0] == "-c":
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merge else subprocess.PIPE,
                text=True,
            )
        else:
            process = Forked(arguments, cwd=cwd, env=env, merge=merge)
        self._started.append(process)
        return process

    def __call__(self, *arguments, **settings):
        """Runs it to its end; the settings are those of `start`."""
        process = self.start(*arguments, **settings)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)
