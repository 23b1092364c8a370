"""What an experiment leaves on disk, each file whole or not there.

WORKDIR/experiment.json         the settings that make it what it is, tasks, versions
WORKDIR/run.flags               the flags of the last run: `--flagfile=` repeats it
WORKDIR/<treatment>/row.json    the result; written last, so where it is, all is
WORKDIR/<treatment>/network.keras, predictions.npz, filters.png, TensorBoard's events
WORKDIR/experiment/, curve/     TensorBoard's events of all
WORKDIR/pixels-A.npz, …         what is normal in the pictures that a task is trained on
WORKDIR/curve.png               the transfer curve so far
WORKDIR/checkpoints/<group>/    of a group in training: its treatments, and its last checkpoints
WORKDIR/.lock                   who is training here
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from transfer_keras.config import UserError
from transfer_keras.results import lock
from transfer_keras.results.files import PARTIAL, whole, write_text
from transfer_keras.results.rows import Row

EXPERIMENT = "experiment.json"
_ROW = "row.json"
_NETWORK = "network.keras"
_PREDICTIONS = "predictions.npz"
_FILTERS = "filters.png"
_CHECKPOINTS = "checkpoints"
_GROUP = "group.json"


def check_workdir(workdir: pathlib.Path, identity: Mapping) -> None:
    """Refuses a folder that belongs to another experiment; writes nothing.

    Raises:
        UserError: naming every setting that differs, or what else is wrong with the folder.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: is a file. Give a folder.")
    path = workdir / EXPERIMENT
    if not path.exists():
        if not os.access(_nearest(workdir), os.W_OK):
            raise UserError(f"--workdir={workdir}: cannot be written. Give another folder.")
        if workdir.is_dir() and any(not _is_left_over(path) for path in workdir.iterdir()):
            raise UserError(
                f"--workdir={workdir}: holds other files and no {EXPERIMENT}. Give a new or "
                "empty folder, or one of an earlier run."
            )
        return
    there = read_experiment(workdir)["settings"]
    here = json.loads(json.dumps(identity))
    differing = [
        f"{key} is {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
    if differing:
        raise UserError(
            f"--workdir={workdir}: holds another experiment: {'; '.join(differing)}. "
            "Give another --workdir, or the settings that it was begun with."
        )


def read_experiment(workdir: pathlib.Path) -> dict:
    """The facts of an experiment: "settings", "data", "versions".

    Raises:
        UserError: if the file is damaged.
    """
    path = workdir / EXPERIMENT
    try:
        facts = json.loads(path.read_text())
        return {name: facts[name] for name in ("settings", "data", "versions")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--workdir={workdir}: {path} cannot be read ({error}).") from error


def _is_left_over(path: pathlib.Path) -> bool:
    """Whether it may lie in a workdir whose first run was killed before it wrote anything."""
    return path.name == lock.NAME or path.name.startswith(PARTIAL)


def _nearest(folder: pathlib.Path) -> pathlib.Path:
    """The folder, or the nearest above it that exists."""
    return next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())


def write_experiment(
    workdir: pathlib.Path, identity: Mapping, *, data: Mapping, versions: Mapping
) -> None:
    """Writes what the experiment is; where an earlier run has, checks that the data are the same.

    Args:
        workdir: the experiment's folder.
        identity: see `settings.Experiment.identity`.
        data: what the dataset turned out to be.
        versions: of packages, for the record.

    Raises:
        UserError: if the folder's results were made with other data.
    """
    path = workdir / EXPERIMENT
    if not path.exists():
        facts = {"settings": identity, "data": data, "versions": versions}
        write_text(path, json.dumps(facts, indent=2) + "\n")
        return
    there, here = read_experiment(workdir)["data"], json.loads(json.dumps(data))
    if there != here:
        differing = ", ".join(key for key in here if there.get(key) != here[key])
        raise UserError(
            f"--workdir={workdir}: its networks were trained on other data ({differing} differ). "
            "Give another --workdir, or the data that it was begun with."
        )


def network_path(workdir: pathlib.Path, treatment: str) -> pathlib.Path:
    """Where the treatment's trained network is."""
    return workdir / treatment / _NETWORK


def filters_path(workdir: pathlib.Path, treatment: str) -> pathlib.Path:
    """Where the picture of its first layer's filters is, if they are ones of grey or colour."""
    return workdir / treatment / _FILTERS


def pixels_path(workdir: pathlib.Path, task: str) -> pathlib.Path:
    """Where it is kept what is normal in the pictures that a task is trained on."""
    return workdir / f"pixels-{task}.npz"


def group_folder(workdir: pathlib.Path, names: Sequence[str]) -> pathlib.Path:
    """The folder for the checkpoints of a group."""
    digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]
    return workdir / _CHECKPOINTS / f"{names[0]}-{len(names)}-{digest}"


def begin_group(workdir: pathlib.Path, names: Sequence[str]) -> pathlib.Path:
    """The folder of a group, which says whose it is until it is removed."""
    folder = group_folder(workdir, names)
    folder.parent.mkdir(exist_ok=True)
    if not (folder / _GROUP).exists():
        write_text(folder / _GROUP, json.dumps(names) + "\n")
    return folder


def checkpoint_folders(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Those of all groups that were begun and not removed."""
    return sorted((workdir / _CHECKPOINTS).glob("*"))


def groups_begun(workdir: pathlib.Path) -> list[tuple[str, ...]]:
    """The treatments of each group that was begun and not finished."""
    paths = [folder / _GROUP for folder in checkpoint_folders(workdir)]
    return [tuple(json.loads(path.read_text())) for path in paths if path.exists()]


def remove_finished_groups(workdir: pathlib.Path) -> None:
    """Removes the checkpoints of groups that are done, and what a removal cut short has left."""
    for folder in checkpoint_folders(workdir):
        path = folder / _GROUP
        if not path.exists() or all(is_done(workdir, n) for n in json.loads(path.read_text())):
            shutil.rmtree(folder)


def remove_group(workdir: pathlib.Path, names: Sequence[str]) -> None:
    """Removes the checkpoints of a group that is done; others may be in training."""
    shutil.rmtree(group_folder(workdir, names), ignore_errors=True)


def is_done(workdir: pathlib.Path, treatment: str) -> bool:
    """Whether the treatment has all its files."""
    folder = workdir / treatment
    return all((folder / name).exists() for name in (_ROW, _NETWORK, _PREDICTIONS))


def done(workdir: pathlib.Path) -> list[str]:
    """Names of all treatments in the folder that are done, in alphabetical order."""
    return sorted(
        path.parent.name for path in workdir.glob(f"*/{_ROW}") if is_done(workdir, path.parent.name)
    )


def write_predictions(
    workdir: pathlib.Path, treatment: str, predictions: Mapping[str, np.ndarray]
) -> None:
    """Writes what a network says of the test images: arrays with an entry an image."""
    with whole(workdir / treatment / _PREDICTIONS) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **predictions)


def write_row(workdir: pathlib.Path, row: Row) -> None:
    """Writes the row, after all else of its treatment."""
    text = json.dumps(dataclasses.asdict(row), indent=2, allow_nan=False)
    write_text(workdir / row.treatment / _ROW, text + "\n")


def read_row(workdir: pathlib.Path, treatment: str) -> Row:
    """The row of a treatment that is done.

    Raises:
        UserError: if the file is damaged.
    """
    path = workdir / treatment / _ROW
    try:
        fields = json.loads(path.read_text())
        fields["validation"] = tuple(tuple(test) for test in fields["validation"])
        return Row(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Remove its folder to train it again."
        ) from error


def read_answers(workdir: pathlib.Path, treatment: str) -> tuple[np.ndarray, np.ndarray]:
    """(label, predicted), each int32 (test images,), in one order for all of a target.

    Raises:
        UserError: if the file is damaged.
    """
    path = workdir / treatment / _PREDICTIONS
    try:
        with np.load(path) as arrays:
            return arrays["label"], arrays["predicted"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Remove its folder to train it again."
        ) from error


def written_at(workdir: pathlib.Path, treatment: str) -> int:
    """When its row was written, in nanoseconds of the file system's clock."""
    return (workdir / treatment / _ROW).stat().st_mtime_ns
