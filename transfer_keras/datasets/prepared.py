"""Prepares datasets with TFDS, one process at a time, and checks what lies prepared on disk."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Annotated

import google.protobuf.json_format
import google.protobuf.message
import msgspec
import tensorflow as tf
import tensorflow_datasets as tfds

from transfer_keras.config import UserError, first_few, image_folders, one_line
from transfer_keras.files import DamagedFile, open_regular, open_to_append, read_json

_INFO, _FEATURES = "dataset_info.json", "features.json"
# TFDS imports the module of any class that a file of features names.
_CLASSES = "tensorflow_datasets.core.features."
# What TFDS raises of files that are not as it wrote them.
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ImportError),
    *(RecursionError, OverflowError, NotImplementedError, tf.errors.OpError),
    *(google.protobuf.json_format.Error, google.protobuf.message.Error),
)
# And where it cannot make them.
_FAILURES = (
    OSError, AssertionError, ImportError, ValueError, RuntimeError,
    tf.errors.OpError, tfds.download.DownloadError,
)  # fmt: skip
_Count = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,15}$")]


class _Split(msgspec.Struct):
    """A split in `dataset_info.json`."""

    name: str
    shardLengths: list[_Count]  # noqa: N815
    # It names files in the same folder.
    filepathTemplate: Annotated[str, msgspec.Meta(pattern=r"^[^/]*$")] = ""  # noqa: N815


class _Info(msgspec.Struct):
    """The part of `dataset_info.json` that says which files there are, and what is in them."""

    name: str
    version: str
    splits: list[_Split] = []
    fileFormat: str = "tfrecord"  # noqa: N815


def make_builder(
    name: str, make: Callable, *args: object, data_dir: str | None = None, **kwargs: object
) -> tfds.core.DatasetBuilder:
    """Makes a builder, which reads what is prepared already.

    Args:
        name: of the dataset, as it was asked for.
        make: gives the builder, of the other arguments.
        data_dir: the folder of prepared datasets; None: TFDS's own.

    Raises:
        UserError: if there is no such dataset; or if its files are damaged, naming one.
    """
    root = pathlib.Path(os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR))
    folder = root / name.partition("/")[0]
    # TFDS opens these as it makes the builder, and would wait for a pipe without end.
    for path in (*_find_files(folder, "*.json"), *_find_files(folder, "*.txt")):
        open_regular(path, _remedy(path)).close()
    _check_features(folder)
    try:
        return make(*args, data_dir=data_dir, **kwargs)
    except UserError:
        raise
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(f"--dataset={name}: {one_line(error, 300)}") from error
    except _DAMAGE as error:
        found = _find_files(folder, _INFO)
        for path in found:
            check_info(path)
        if not found:
            raise UserError(f"--dataset={name}: {one_line(error, 300)}") from error
        raise UserError(
            f"--dataset={name}: {first_few([*map(str, found)])} cannot be read "
            f"({type(error).__name__}: {one_line(error, 200)}). Remove {folder}, and it is made "
            "again."
        ) from error


def check_info(path: pathlib.Path) -> None:
    """Checks a `dataset_info.json`.

    Raises:
        DamagedFile: if it is none.
    """
    read_json(path, _Info, _remedy(path))


def check_files(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Checks that a prepared dataset has splits, and all their files.

    Raises:
        UserError: naming what is missing.
    """
    folder = pathlib.Path(builder.data_path)
    if not folder.is_dir():
        return
    check_info(folder / _INFO)
    splits = builder.info.splits
    if not any(split.num_examples for split in splits.values()):
        raise UserError(f"--dataset={name}: {folder} has no example. {_remedy(folder / _INFO)}")
    for split in splits.values():
        try:
            paths = split.filepaths
        except (ValueError, LookupError) as error:
            raise DamagedFile(
                folder / _INFO, f"is damaged: {error}", _remedy(folder / _INFO)
            ) from error
        for path in paths:
            if not os.path.isfile(path):
                what = "is no file" if os.path.lexists(path) else "is missing"
                raise UserError(f"--dataset={name}: {path} {what}. {_remedy(folder / _INFO)}")


def prepare(name: str, builder: tfds.core.DatasetBuilder, log: Callable[[str], None]) -> None:
    """Makes or downloads the files of a dataset that are not on disk.

    Another process that does the same is waited for. What a process left unfinished that was
    killed is removed.

    Args:
        name: of the dataset, as it was asked for.
        builder: of the dataset.
        log: called with a line where another process is waited for.

    Raises:
        UserError: if TFDS cannot.
    """
    folder = pathlib.Path(builder.data_path)
    lock = folder.with_name(f".{folder.name}.preparing")
    try:
        if not folder.exists() or _was_killed(lock):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _hold(lock, folder, log):
                if not folder.exists():
                    builder.download_and_prepare()
        if folder.exists() and not builder.info.initialized:  # Another process has made it.
            builder.info.read_from_directory(folder)
    except UserError:
        raise
    except _FAILURES as error:
        raise UserError(
            f"--dataset={name}: TFDS could not prepare it in {builder.data_dir}: "
            f"{one_line(error, 500)}"
        ) from error
    check_files(name, builder)


def _was_killed(lock: pathlib.Path) -> bool:
    """Tells whether a process that was preparing a dataset did not end by itself."""
    try:
        return lock.stat().st_size > 0 and os.access(lock, os.W_OK)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _hold(lock: pathlib.Path, folder: pathlib.Path, log: Callable[[str], None]) -> Iterator[None]:
    """Lets one process at a time prepare a folder; the system releases the lock if it ends.

    TFDS writes to a folder beside it with a random name. The lock's file says which of these were
    there before; so the next process knows those of one that was killed.
    """
    with open_to_append(lock) as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    log(f"Waiting for another process that prepares {folder} …")
                waiting = True
                time.sleep(0.5)
        file.seek(0)
        _remove_unfinished(folder, file.read(2**20))
        file.truncate(0)
        file.write(json.dumps([path.name for path in _unfinished(folder)]))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _unfinished(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the folders in which TFDS prepares another one, or did."""
    name = re.compile(rf"incomplete\.[A-Z0-9]{{6}}_{re.escape(folder.name)}")
    beside = folder.parent.iterdir()
    return [p for p in beside if name.fullmatch(p.name) and p.is_dir() and not p.is_symlink()]


def _remove_unfinished(folder: pathlib.Path, before: str) -> None:
    """Removes what a process left that was killed.

    Args:
        folder: that it prepared.
        before: what the lock's file says; "": the last process ended by itself.
    """
    try:
        others = msgspec.json.decode(before, type=list[str])
    except msgspec.MsgspecError:
        return
    for path in _unfinished(folder):
        if path.name not in others:
            shutil.rmtree(path)


def _check_features(folder: pathlib.Path) -> None:
    """Checks that files of features name classes of TFDS only, and not too many labels."""
    for path in _find_files(folder, _FEATURES):
        _check_feature(path, read_json(path, dict, _remedy(path)))


def _check_feature(path: pathlib.Path, feature: object) -> None:
    to_visit = [feature]
    while to_visit:
        part = to_visit.pop()
        if isinstance(part, list):
            to_visit += part
        if not isinstance(part, dict):
            continue
        to_visit += part.values()
        kind = part.get("pythonClassName", _CLASSES)
        if not isinstance(kind, str) or not kind.startswith(_CLASSES):
            raise DamagedFile(path, f"names the class {kind!r}, expected TFDS's", _remedy(path))
        count = part.get("numClasses", "0")
        most = image_folders.MOST_CLASSES
        if not re.fullmatch("[0-9]{1,18}", str(count)) or int(count) > most:
            found = f"has {str(count)[:20]} classes, expected at most {most:,}"
            raise DamagedFile(path, found, _remedy(path))


def _find_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Finds files of a name, or pattern, in the folders of a dataset's versions:
    dataset/[config/]version."""
    return sorted([*folder.glob(f"*/{name}"), *folder.glob(f"*/*/{name}")])


def _remedy(path: str | os.PathLike) -> str:
    return f"Remove the folder {pathlib.Path(path).parent}, and it is made again."
