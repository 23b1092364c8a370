"""Undamaged folders of every program, small, for what damages them; and what each program answers.

SCENARIOS names what is run on a copy of the material: each has a program, flags and the folders
that it reads, and its result is what must stay the same bit for bit.
"""

import csv
import dataclasses
import hashlib
import json
import re
import shutil
import zipfile

import h5py
import numpy as np

from support.paths import ROOT

TRAINING = (
    "--dataset=formula_images/4x12x16", "--image_size=16", "--data_dir=data", "--batch_size=8",
    "--validations=2", "--metrics_every=0", "--checkpoint_every=0",
)  # fmt: skip
HALF_STEPS = 30
DONOR = ("--donor=donor.keras", "--dataset=folder:pictures", "--batch_size=8")
ADVICE = (*DONOR, "--learning_rate=0.01", "--steps=6", "--workdir=advice")

_OLDER = ("begun/", "pictures/", "donor.keras")
_MAKE_DONOR = """
import pathlib
from support.networks import classifier, write_pictures
classifier().save("donor.keras")
write_pictures(pathlib.Path("pictures"), each=8)
"""
# What may differ between two runs: how long they took, and which networks ran together.
_NOT_COMPARED = ("seconds", "group")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One program on a copy of the material.

    Attributes:
        program: name of it.
        flags: its arguments.
        reads: the folders and files that it reads, of the material.
        results: what it leaves, of which the values are compared.
        cwd: the folder to run in, below that of the copy.
        limit: seconds after which it counts as hung.
    """

    program: str
    flags: tuple[str, ...]
    reads: tuple[str, ...]
    results: tuple[str, ...] = ()
    cwd: str = "."
    limit: float = 30


SCENARIOS = {
    "train, done": Scenario(
        "train", (*TRAINING, "--treatments=A2B,R3B", "--steps=4", "--workdir=run"),
        ("run", "data"), ("run",),
    ),
    "train --dry_run": Scenario(
        "train", (*TRAINING, "--treatments=A2B,R3B", "--steps=4", "--workdir=run", "--dry_run"),
        ("run", "data"), ("run",),
    ),
    "train, in the middle": Scenario(
        "train", (*TRAINING, "--treatments=A2B", f"--steps={HALF_STEPS}", "--workdir=half"),
        ("half", "data"), ("half",), limit=60,
    ),
    "train on pictures, in the middle": Scenario(
        "train", (*DONOR, "--learning_rate=0.01", "--treatments=A2B", f"--steps={HALF_STEPS}",
                  "--validations=2", "--metrics_every=0", "--checkpoint_every=0", "--noscratch",
                  "--workdir=begun"),
        ("begun", "pictures", "donor.keras"), ("begun",), limit=60,
    ),
    "donor": Scenario("train", (*DONOR, "--list_units"), ("donor.keras", "pictures")),
    "report": Scenario("report", ("--workdir=run", "--output=out"), ("run",), ("run", "out")),
    "report of a study": Scenario(
        "report", ("--workdir=study", "--output=out"), ("study",), ("study", "out")
    ),
    "report of an older workdir": Scenario(
        "report", ("--workdir=older/begun", "--output=out"), ("older",), ("older", "out")
    ),
    "train, older, in the middle": Scenario(
        "train", ("--donor=donor.keras", "--dataset=folder:pictures", "--batch_size=8",
                  "--learning_rate=0.01", "--treatments=baseB,A1B,A2B+,A3B", "--steps=80",
                  "--validations=8", "--metrics_every=0", "--early_stopping=5", "--workdir=begun"),
        ("older",), ("older",), cwd="older", limit=60,
    ),
    "sweep, done": Scenario(
        "sweep", (*TRAINING, "--treatments=A2B,R3B", "--steps=4", "--seed=0,1", "--workdir=study"),
        ("study", "data"), ("study",),
    ),
    "predict": Scenario(
        "predict", ("--network=advice/best.keras", "--pictures=pictures", "--output=out/out.csv"),
        ("advice", "pictures"), ("out",),
    ),
    "advise, again": Scenario(
        "advise", (*ADVICE, "--budget=1s"), ("advice", "pictures", "donor.keras"), ("advice",),
        limit=60,
    ),
}  # fmt: skip


def make(folder, farm):
    """Makes all of the material in an empty folder, about half a minute.

    Args:
        folder: an existing one.
        farm: runs the programs.
    """
    make_done(folder, farm)
    shutil.copytree(folder / "run", folder / "study" / "split0-seed0")
    _succeed(farm.run("sweep", *SCENARIOS["sweep, done"].flags, cwd=folder, limit=300))
    (folder / "donor.py").write_text(_MAKE_DONOR)
    _succeed(farm.run(folder / "donor.py", cwd=folder))
    for name in ("train, in the middle", "train on pictures, in the middle"):
        _stop_in_the_middle(folder, farm, SCENARIOS[name])
    with zipfile.ZipFile(ROOT / "tests" / "data" / "version_0_1_0.zip") as archive:
        wanted = [name for name in archive.namelist() if name.startswith(_OLDER)]
        archive.extractall(folder / "older", wanted)
    _succeed(farm.run("advise", *ADVICE, "--budget=20s", cwd=folder, limit=300))


def make_done(folder, farm):
    """Makes a workdir that is done, with its report, and its prepared data."""
    (folder / "data").mkdir()
    _succeed(farm.run("train", *SCENARIOS["train, done"].flags, cwd=folder, limit=300))
    _succeed(farm.run("report", "--workdir=run", cwd=folder, limit=300))


def _stop_in_the_middle(folder, farm, scenario):
    """Trains until a group of its last treatment has a checkpoint, and ends there."""
    stop = folder / "stop.py"
    stop.write_text(
        "import os, runpy, signal, sys, threading, time, pathlib\n"
        "def watch():\n"
        f"    for _ in range(20000):\n"
        f"        if [p for p in pathlib.Path('{scenario.reads[0]}').glob('checkpoints/A2B*/0*')\n"
        "            if int(p.stem) >= 3]:\n"
        "            return os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(0.002)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "sys.argv[0] = 'train'\n"
        "runpy.run_module('transfer_keras.train', run_name='__main__')\n"
    )
    ended = farm.run(stop, *scenario.flags, cwd=folder, limit=300)
    assert ended.status == 75, ended
    assert list((folder / scenario.reads[0]).glob("checkpoints/*/0*")), "no checkpoint"


def _succeed(ended):
    assert ended.status == 0, ended.err[-3000:]
    return ended


def flag_names(farm, program, folder):
    """Lists the names of a program's own flags, in alphabetical order."""
    ended = farm.run(program, "--help", cwd=folder)
    return sorted(re.findall(r"^  --(?:\[no\])?(\w+):", ended.out, re.MULTILINE))


def copy(material, scenario, folder):
    """Copies what a scenario reads into a new folder."""
    folder.mkdir(parents=True)
    for name in scenario.reads:
        source = material / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy2(source, folder / name)


def results(folder, scenario, output, *, ignore=(), known=None):
    """Gives the values of what a program left and said: name -> value.

    Args:
        folder: of the copy.
        scenario: that was run.
        output: what it wrote on standard output.
        known: values of files that were read before, by their paths and digests; grows.
        ignore: paths below the folder that are not read: they are as damaged as they were.
    """
    values, known = (
        {"what it said": _said(scenario.program, output)},
        {} if known is None else known,
    )
    for name in scenario.results:
        for path in sorted((folder / name).rglob("*")):
            relative = path.relative_to(folder).as_posix()
            read = _READERS.get(path.name)
            if read and path.is_file() and relative not in ignore:
                digest = hashlib.sha1(path.read_bytes()).digest()
                if (found := known.get((relative, digest))) is None:
                    found = known[relative, digest] = read(path)
                values |= {f"{relative} {key}": value for key, value in found.items()}
    return values


def _said(program, output):
    """Takes the results out of what a program said; times and sizes of memory are none."""
    begins = {"train": "treatment ", "sweep": "Split ", "advise": "n  up to unit"}.get(program, "")
    lines = output.splitlines()
    start = next((k for k, line in enumerate(lines) if line.startswith(begins)), 0)
    text = "\n".join(lines[start:])
    text = re.sub(r"\d+:\d\d( for \d+)?|[\d.]+ (s|min|h|[KMG]iB)\b|in \d.* seconds", "…", text)
    return re.sub(r"[ -]+\n", "\n", re.sub(r" {2,}", "  ", text))


def _row(path):
    row = read_json(path)
    return {key: json.dumps(value) for key, value in row.items() if key not in _NOT_COMPARED}


def _arrays(path):
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: _value(arrays[name]) for name in arrays.files}
    import safetensors.numpy

    return {name: _value(array) for name, array in safetensors.numpy.load_file(path).items()}


def _value(array):
    """Gives the values of an array, whatever integers hold them."""
    array = np.asarray(array)
    if np.issubdtype(array.dtype, np.integer):
        array = array.astype(np.int64)
    return hashlib.sha256(repr((array.dtype.str, array.shape)).encode() + array.tobytes()).digest()


def _network(path):
    values = {}
    with (
        zipfile.ZipFile(path) as archive,
        h5py.File(archive.open("model.weights.h5")) as weights,
    ):
        weights.visititems(
            lambda name, item: (
                values.update({name: _value(item[()])}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return values


def read_json(path):
    """Reads a JSON file."""
    return json.loads(path.read_text())


def _text(path):
    return {"": path.read_text()}


def _table(path):
    """Reads the rows of a report; a network that was trained again took another time."""
    if path.suffix == ".json":
        rows = read_json(path)
    else:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    rows = [{k: v for k, v in row.items() if k not in _NOT_COMPARED} for row in rows]
    return {"": json.dumps(rows)}


_READERS = {
    "row.json": _row, "predictions.npz": _arrays, "predictions.safetensors": _arrays,
    "network.keras": _network, "best.keras": _network, "results.csv": _table, "out.csv": _text,
    "results.json": _table,
}  # fmt: skip
