"""Kills a real run at many moments, starts it again each time, and compares what comes out.

python tools/kill_and_resume.py --kills=25
python tools/kill_and_resume.py --kills=2 --treatments=B5B+

A small experiment is run once undisturbed, then again and again with kills; after some of them
the last checkpoint is damaged too. Every array in every network's file, every prediction, every
result row and every point in TensorBoard must be the same, bit for bit. Exits with 1 if something
differs.
"""

import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

import h5py
import numpy as np
from absl import app, flags, logging
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

RUN = [
    sys.executable, "-m", "transfer_keras.train",
    "--dataset=formula_images/6x40x32", "--steps=20", "--batch_size=8", "--validations=20",
    "--augment", "--metrics_every=2",
]  # fmt: skip
STATUSES = {"SIGKILL": {-9}, "SIGTERM": {75, 130, -15}, "SIGINT": {75, 130, -2}}
NOT_COMPARED = {"seconds"}  # Of a row: the only thing that may differ.

_KILLS = flags.DEFINE_integer("kills", 25, "How many.", 1)
_SIGNAL = flags.DEFINE_enum("signal", "SIGKILL", ["SIGKILL", "SIGTERM", "SIGINT"], "With what.")
_EVERY = flags.DEFINE_float("checkpoint_every", 0, "Seconds; 0: after each step.", 0)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_TREATMENTS = flags.DEFINE_string("treatments", "A2B,A6B,B5B+,R3B", "What is trained, and bases.")


def checkpoints(workdir: pathlib.Path) -> int:
    """Finds how many steps of the group in training are saved."""
    steps = [int(path.stem) for path in workdir.glob("checkpoints/*/[0-9]*.safetensors")]
    return max(steps, default=0)


def rows(workdir: pathlib.Path) -> int:
    """Counts the treatments that have their result."""
    return len(list(workdir.glob("*/row.json")))


# What a run must have come to since its start; then a random part of a second goes by.
MOMENTS = {
    "before the first step": lambda w, c, r: any(w.glob("checkpoints/*/group.json")),
    "in training and its tests": lambda w, c, r: checkpoints(w) >= c + 2 or rows(w) > r,
    "in a checkpoint's write": lambda w, c, r: any(w.glob("checkpoints/*/*.partial")),
    "while results are written": lambda w, c, r: any(w.glob("*/.partial-*")) or rows(w) > r,
    "between groups": lambda w, c, r: rows(w) > r,
    "at any time": lambda w, c, r: True,
}

# What is done to the last checkpoint after a kill at these moments.
DAMAGES = {
    "in training, then a byte of the checkpoint flipped": lambda content, place: (
        content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    ),
    "in training, then the checkpoint truncated": lambda content, place: content[:place],
}
MOMENTS |= dict.fromkeys(DAMAGES, MOMENTS["in training and its tests"])


def main(_) -> None:
    """Makes all runs and compares them."""
    logging.set_verbosity(logging.ERROR)
    rng = random.Random(_SEED.value)
    kills: collections.Counter = collections.Counter()
    differences: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        quiet = pathlib.Path(folder) / "quiet"
        if start(quiet).wait() or not rows(quiet):
            sys.exit("The undisturbed run failed.")
        while kills.total() < _KILLS.value:
            workdir = pathlib.Path(folder) / f"killed-{kills.total()}"
            kill_until_done(workdir, kills, rng)
            differences += compare(quiet, workdir)
    for difference in differences:
        print(difference)
    print(f"{kills.total()} kills ({dict(kills)}), {len(differences)} differences")
    sys.exit(bool(differences))


def kill_until_done(workdir: pathlib.Path, kills: collections.Counter, rng: random.Random) -> None:
    """Makes one run, which is started again after each kill until it is done."""
    status = None
    while status != 0:
        moment = rng.choice(list(MOMENTS)) if kills.total() < _KILLS.value else None
        status = run(workdir, moment, rng)
        if status in STATUSES[_SIGNAL.value] and moment:
            kills[moment] += 1
            damage(workdir, moment, rng)
            print(f"kill {kills.total()}: {moment}, status {status}", flush=True)
        elif status:
            log = workdir.with_suffix(".log").read_text()[-2000:]
            sys.exit(f"The run ended by itself with status {status}:\n{log}")


def damage(workdir: pathlib.Path, moment: str, rng: random.Random) -> None:
    """Spoils the last checkpoint, if the moment is one after which that is done."""
    saved = sorted(workdir.glob("checkpoints/*/[0-9]*.safetensors"))
    if moment in DAMAGES and saved:
        content = saved[-1].read_bytes()
        saved[-1].write_bytes(DAMAGES[moment](content, rng.randrange(len(content))))


def start(workdir: pathlib.Path) -> subprocess.Popen:
    """Starts the program, or goes on with it."""
    command = [*RUN, f"--treatments={_TREATMENTS.value}", f"--workdir={workdir}"]
    command.append(f"--checkpoint_every={_EVERY.value}")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    log = workdir.with_suffix(".log").open("a")
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def run(workdir: pathlib.Path, moment: str | None, rng: random.Random) -> int:
    """Runs until the moment or the end; gives the status, negative for a signal."""
    before = checkpoints(workdir), rows(workdir)
    process = start(workdir)
    if moment == "at any time":
        time.sleep(rng.uniform(0, 20))
    while moment and process.poll() is None:
        if reached(moment, workdir, *before):
            time.sleep(rng.choice([0, 0, rng.uniform(0, 0.3)]))
            process.send_signal(getattr(signal, _SIGNAL.value))
            break
        time.sleep(0.001)
    return process.wait()


def reached(moment: str, workdir: pathlib.Path, *before: int) -> bool:
    """Tells whether the moment has come; it has not while a folder is being removed."""
    try:
        return MOMENTS[moment](workdir, *before)
    except FileNotFoundError:
        return False


def compare(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """Lists what differs: in values, or in files that should have been removed."""
    differences = []
    names = {path.parent.name for path in one.glob("*/row.json")}
    if names != (others := {path.parent.name for path in other.glob("*/row.json")}):
        differences.append(f"networks: {sorted(names ^ others)}")
    for name in sorted(names & others):
        actual, expected = (everything(workdir / name) for workdir in (other, one))
        if actual.keys() != expected.keys():
            differences.append(f"{name}: {sorted(actual.keys() ^ expected.keys())}")
        shared = actual.keys() & expected.keys()
        differences += [f"{name}: {key}" for key in shared if not same(actual[key], expected[key])]
    leftover = [str(path) for path in other.glob("checkpoints/*")]
    return differences + [f"left over: {path}" for path in leftover]


def same(a, b) -> bool:
    """Tells whether two arrays are bit-equal, NaN included."""
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


def everything(folder: pathlib.Path) -> dict:
    """Reads all values of one treatment's results, by name."""
    row = json.loads((folder / "row.json").read_text())
    values = {f"row {k}": json.dumps(v) for k, v in row.items() if k not in NOT_COMPARED}
    arrays = load_file(folder / "predictions.safetensors")
    values |= {f"predictions {name}": array for name, array in arrays.items()}
    with (
        zipfile.ZipFile(folder / "network.keras") as archive,
        h5py.File(archive.open("model.weights.h5")) as weights,
    ):
        weights.visititems(
            lambda name, item: (
                values.update({f"weights {name}": item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    for tag in set(events.Tags()["tensors"]) - {"_hparams_/session_start_info"}:  # Has the time.
        points = [(e.step, e.tensor_proto.SerializeToString()) for e in events.Tensors(tag)]
        values[f"TensorBoard {tag}"] = repr(points)
    return values


if __name__ == "__main__":
    app.run(main)
