"""Imports run one way, from the programs down to `config` and `surgery`."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "transfer_keras"
PACKAGE = "transfer_keras"

MAY_IMPORT = {
    "config": set(),
    "surgery": set(),
    "files": {"config"},
    "datasets": {"config", "files"},
    "training": {"config", "files"},
    "results": {"config", "files"},
    "networks": {"config", "files", "surgery"},
    "experiments": {"config", "files", "surgery", "datasets", "training", "results", "networks"},
    "deployment": {"config", "files", "surgery", "datasets", "results", "networks"},
    "advice": {
        "config", "files", "surgery", "datasets", "training", "results", "networks", "experiments",
        "deployment",
    },
    # A program checks the folder of its results before it imports its package.
    "train": {"config", "results", "experiments"},
    "sweep": {"config", "results", "experiments"},
    "report": {"config", "results", "experiments"},
    "check_pictures": {"config", "files", "datasets"},
    "predict": {"config", "deployment"},
    "export": {"config", "deployment"},
    "advise": {"config", "results", "advice"},
}  # fmt: skip
# Modules that are imported where they are used: they define flags, or load Matplotlib.
IMPORTED_WHERE_USED = {
    "config": {"flags", "flag_types", "from_flags", "launch", "margin_flag", "run_flags"},
    "results": {"page", "summary", "charts", "figures"},
}
WITHOUT_TENSORFLOW = {"config", "files", "results"}
MAY_DEFINE_FLAGS = {
    "train.py", "sweep.py", "report.py", "advise.py",
    "check_pictures.py", "predict.py", "export.py",
    "config/flags.py", "config/flag_types.py", "config/launch.py",
    "config/margin_flag.py", "config/run_flags.py",
    "config/from_flags.py",
}  # fmt: skip
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def imports(path: pathlib.Path) -> set[str]:
    """Lists the full names of all that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def exported(package: str) -> set[str]:
    """Lists the names in `__all__` of a package."""
    for node in ast.parse((ROOT / package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{package} has no __all__")


EXPORTED = {
    package: exported(package) | IMPORTED_WHERE_USED.get(package, set())
    for package in MAY_IMPORT
    if (ROOT / package).is_dir()
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path):
    relative = path.relative_to(ROOT)
    own = relative.parts[0].removesuffix(".py")
    for name in sorted(imports(path)):
        parts = name.split(".")
        if "absl.flags" in name:
            assert str(relative) in MAY_DEFINE_FLAGS
        if own == "surgery":
            assert parts[0] not in ("tensorflow", "jax", "torch"), "surgery runs on any backend"
        assert parts[:2] != ["keras", "src"], "private parts of Keras"
        if parts[0] != PACKAGE or parts[1] == own:
            continue
        assert parts[1] in MAY_IMPORT[own], f"{own} imports {name}"
        assert len(parts) <= 3, f"{name}: import it from the package {parts[1]}"
        if len(parts) == 3:
            assert parts[2] in EXPORTED[parts[1]], f"{parts[1]} does not export {parts[2]}"


@pytest.mark.parametrize("package", sorted(IMPORTED_WHERE_USED))
def test_modules_that_are_imported_where_they_are_used(package):
    """None of them is exported as well, and all exist."""
    modules = IMPORTED_WHERE_USED[package]
    assert not modules & exported(package)
    existing = {path.stem for path in (ROOT / package).iterdir()}
    assert modules <= existing


@pytest.mark.parametrize("package", sorted(WITHOUT_TENSORFLOW))
def test_no_tensorflow(program, package):
    """Nothing in it loads what takes seconds, `report` and every check of flags included."""
    modules = [
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    code = (
        f"import sys, {', '.join(modules)}\n"
        "heavy = {'tensorflow', 'keras', 'tensorflow_datasets'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = program("-c", code)
    assert done.returncode == 0, done.stderr
