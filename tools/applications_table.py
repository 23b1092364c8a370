"""Transplants every network of `keras.applications`, and prints a table of what is right.

python tools/applications_table.py --results=applications.json

Each of them with random weights, with its top and without, at its first, middle and last cut,
frozen and fine-tuned. Right is a network whose lower weights are the donor's and whose upper
weights are not, of which just the upper ones are trained where the lower are frozen, and whose
lower part computes what the donor's does. Then the seconds and the memory that `transplant` takes,
for the largest. One process a network; what is in the file of results is not done again.
"""

import inspect
import json
import pathlib
import resource
import subprocess
import sys
import time

from absl import app, flags

_RESULTS = flags.DEFINE_string("results", None, "JSON file, read and written.", required=True)
_LARGEST = flags.DEFINE_integer("largest", 5, "Of how many time and memory are measured.", 0)
_CHILD = flags.DEFINE_string("child", None, "What this process does.")

_MODES = ("frozen", "fine_tune")
_GIB = 2**20  # KiB.


def main(_) -> None:
    """Does what is missing, and prints the tables."""
    if _CHILD.value:
        what, name = _CHILD.value.split(":")
        print(json.dumps({"check": _check, "measure": _measure}[what](name)))
        return
    path = pathlib.Path(_RESULTS.value)
    done = json.loads(path.read_text()) if path.exists() else {"check": {}, "measure": {}}

    def ask(what: str, name: str) -> None:
        if name not in done[what]:
            command = [sys.executable, __file__, f"--child={what}:{name}", f"--results={path}"]
            child = subprocess.run(command, capture_output=True, text=True)
            if child.returncode:
                raise SystemExit(f"{what} {name}: {child.stderr[-2000:]}")
            done[what][name] = json.loads(child.stdout.splitlines()[-1])
            path.write_text(json.dumps(done, indent=1) + "\n")

    for name in _names():
        ask("check", name)
        print(name, *(f"{case}: {said}" for case, said in done["check"][name]["cases"].items()),
              sep="\n  ", flush=True)  # fmt: skip
    said = [case for facts in done["check"].values() for case in facts["cases"].values()]
    print(f"\n{sum(case == 'right' for case in said)} of {len(said)} right.")
    largest = sorted(done["check"], key=lambda name: -done["check"][name]["parameters"])
    for name in largest[: _LARGEST.value]:
        ask("measure", name)
        facts = done["measure"][name]
        print(f"{name}: transplant {facts['seconds']:.1f} s; memory {facts['before']:.2f} GiB with "
              f"the donor, {facts['peak']:.2f} GiB at most")  # fmt: skip


def _names() -> list[str]:
    import keras

    found = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, _ in found]


def _check(name: str) -> dict:
    """Tries all cases of a network; each is "right", what is wrong, or the name of an error."""
    import keras

    cases, parameters = {}, 0
    for top in (True, False):
        keras.utils.set_random_seed(0)
        donor = _donor(name, top)
        parameters = max(parameters, donor.count_params())
        for n in _cuts(donor):
            for mode in _MODES:
                case = f"{'with' if top else 'without'} top, n = {n}, {mode}"
                cases[case] = _try(donor, n, mode)
    return {"parameters": parameters, "cases": cases}


def _donor(name: str, top: bool):
    """Makes a network with its usual input, and perturbs it, so that nothing is as it began."""
    import keras
    import numpy as np

    make = getattr(keras.applications, name)
    donor = make(weights=None, include_top=top)
    if None in donor.input_shape[1:3]:  # It takes any size.
        donor = make(weights=None, include_top=top, input_shape=(224, 224, 3))
    random = np.random.default_rng(0)
    for layer in donor.layers:
        # A Normalization computes with constants that it has derived from its weights.
        for weight in layer.weights if not hasattr(layer, "finalize_state") else ():
            value = keras.ops.convert_to_numpy(weight)
            weight.assign(value * random.uniform(0.9, 1.1, value.shape) + 1e-3)
    return donor


def _cuts(donor) -> list[int]:
    """Gives the first, a middle and the last n."""
    from transfer_keras import surgery

    count = len(surgery.units(donor))
    return sorted({1, count // 2, count - 1} - {0})


def _try(donor, n: int, mode: str) -> str:
    """Transplants, and says what is wrong."""
    import numpy as np

    from transfer_keras import surgery

    try:
        new, _ = surgery.transplant(donor, n, mode=mode, seed=1)
    except surgery.SurgeryError as error:
        return type(error).__name__
    below = {layer.name for layer in surgery.lower(donor, n).layers}
    wrong = []
    for old, layer in zip(donor.layers, new.layers, strict=True):
        same = [np.array_equal(a, b) for a, b in zip(old.weights, layer.weights, strict=True)]
        if not all(value == (layer.name in below) for value in same):
            wrong.append(f"weights of {layer.name}")
        trained = mode == "fine_tune" or layer.name not in below
        expected = len(old.trainable_weights) if trained else 0
        if len(layer.trainable_weights) != expected:
            wrong.append(f"flags of {layer.name}")
    picture = np.random.default_rng(0).uniform(0, 255, (1, *donor.input_shape[1:]))
    outputs = [surgery.lower(model, n)(picture, training=False) for model in (donor, new)]
    if not (np.isfinite(outputs[0]).all() and np.allclose(*outputs, rtol=1e-5)):
        wrong.append("outputs of the lower part")
    return ", ".join(wrong[:3]) or "right"


def _measure(name: str) -> dict:
    """Measures one transplant at the last cut."""
    from transfer_keras import surgery

    donor = _donor(name, top=True)
    n = _cuts(donor)[-1]
    before, begun = _peak(), time.monotonic()
    surgery.transplant(donor, n, mode="frozen", seed=1)
    return {"seconds": time.monotonic() - begun, "before": before, "peak": _peak()}


def _peak() -> float:
    """Gives the most memory that the process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _GIB


if __name__ == "__main__":
    app.run(main)
