"""Imports run one way (see the file map in the README)."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "transfer_keras"
PACKAGE = "transfer_keras"

PROGRAMS = {"train", "sweep", "report", "cli", "parsers", "launch", "advise"}
STORY = {"experiment", "study", "cluster", "summary", "settings", "grouping", "donors"}
STORY |= {"dashboard", "watching", "probes", "task_data", "group_models", "group_training"}
STORY |= {
    "devices",
    "own_donor",
    "donor_head",
    "donor_pixels",
    "hints",
    "logme",
    "advising",
    "budget",
    "model_card",
    "pace",
    "choosing",
    "recipes",
    "defaults",
}
STORY |= {"analysis", "paper", "reporting", "sweeping", "findings", "charts"}
MIDDLE = {"datasets", "networks", "surgery", "training", "monitors", "figures", "results"}
GROUND = {"treatments", "tasks", "plan", "statistics", "errors", "machine", "lock", "parts"}
LAYERS = [GROUND, MIDDLE, STORY, PROGRAMS]

# Loaded before the flags are checked; may not load TensorFlow or Keras.
LIGHT = [
    "train.py",
    "advise.py",
    "sweep.py",
    "cli.py",
    "parsers.py",
    "launch.py",
    "study.py",
    "analysis.py",
    "statistics.py",
    "settings.py",
    "defaults.py",
    "treatments.py",
    "tasks.py",
    "plan.py",
    "results.py",
    "errors.py",
    "machine.py",
    "lock.py",
    "training/interruption.py",
    "grouping.py",
    "networks/tables.py",
    "datasets/catalogue.py",
    "datasets/folder_layout.py",
    "datasets/formula.py",
]


def imports(path: pathlib.Path, *, top_level_only=False) -> set[str]:
    """Full names of all that a file imports, inside functions too."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def part(name: str) -> str | None:
    """ "transfer_keras.surgery.units" -> "surgery"; None for other packages."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == PACKAGE and len(pieces) > 1 else None


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in sorted(imports(path)):
        other = part(name)
        if other is None or other == own:
            continue
        if own == "surgery":
            pytest.fail(f"surgery imports {name}")
        assert level(other) <= level(own), f"{own} imports {name}, which is above it"
        if own in MIDDLE and other in MIDDLE:
            pytest.fail(f"{own} imports {other}: the packages in the middle stay apart")
        if own in GROUND and other in GROUND:
            assert (own, other) in {("plan", "treatments"), ("tasks", "errors"), ("lock", "errors")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_who_may_import_what(path):
    found = imports(path)
    relative = path.relative_to(ROOT)
    if any(name == "absl.flags" or name.startswith("absl.flags.") for name in found):
        assert relative.parts[0].removesuffix(".py") in PROGRAMS
    if relative.parts[0] == "surgery":
        assert not any(name.split(".")[0] == "tensorflow" for name in found)
    assert not any(name.startswith("keras.src") for name in found), "private parts of Keras"


@pytest.mark.parametrize("name", LIGHT)
def test_light_files_load_no_tensorflow(name):
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "tensorboard"}
    found = imports(ROOT / name, top_level_only=True)
    assert not heavy & {n.split(".")[0] for n in found}
    own = {n.replace(".", "/").removeprefix(f"{PACKAGE}/") + ".py" for n in found if part(n)}
    files = {n for n in own if (ROOT / n).is_file()}
    assert files <= set(LIGHT), "imports a file that is not itself light"
