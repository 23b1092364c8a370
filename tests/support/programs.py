"""Programs as a user starts them, each in a process of its own."""

import os
import subprocess
import sys

from support.paths import ROOT

# Packages of these names that cannot be imported prove that an answer came without them.
HEAVY = ("tensorflow", "keras")


class Programs:
    """Starts Python in an empty folder; what still runs at the end is killed.

    Args:
        folder: an existing one, for the programs and for packages that cannot be imported.

    Attributes:
        folder: where the programs run.
    """

    def __init__(self, folder):
        self._poison, self.folder = folder / "poison", folder / "here"
        self.folder.mkdir()
        for name in HEAVY:
            (self._poison / name).mkdir(parents=True)
            poison = 'raise RuntimeError("heavy import")\n'
            (self._poison / name / "__init__.py").write_text(poison)
        self._started = []

    def start(self, *arguments, light=False, cwd=None):
        """Starts `python ARGUMENTS`; `light`: TensorFlow and Keras cannot be imported."""
        path = [str(self._poison), str(ROOT)] if light else [str(ROOT)]
        environment = {"PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd or self.folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def __call__(self, *arguments, light=False, cwd=None):
        """Runs it to its end."""
        process = self.start(*arguments, light=light, cwd=cwd)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def kill(self):
        for process in self._started:
            process.kill()
            process.communicate()
