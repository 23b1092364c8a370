import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image
from support.tiny_imagenet import WNIDS, make_files, write_zip

from transfer_keras.config import UserError, make_experiment
from transfer_keras.datasets import contents, sources
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.experiments.run import run_experiment
from transfer_keras.files import write_arrays
from transfer_keras.results import Workdir

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture(autouse=True)
def fine_clock(monkeypatch):
    """Counts files as settled that were written a moment ago, as those of a person are."""
    monkeypatch.setattr(contents, "_COARSE", -(10**12))


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.bmp").write_bytes(bytes([number]) * 100)
    return {path.name.encode(): path for path in sorted(folder.iterdir())}


def read(files, kept):
    seen = contents.read_contents(files, kept, where="--dataset=x")
    seen.keep(kept)
    return seen


def test_each_file_is_read_once(files, tmp_path):
    kept = tmp_path / contents.KEPT
    first = read(files, kept)
    again = read(files, kept)
    assert (first.read, again.read) == (5, 0)
    assert first.digest == again.digest
    path = files[b"2.bmp"]
    path.write_bytes(path.read_bytes())
    touched = read(files, kept)
    assert (touched.read, touched.digest) == (1, first.digest)


def test_a_change_is_seen_though_size_and_time_are_the_same(files, tmp_path):
    kept = tmp_path / contents.KEPT
    first = read(files, kept)
    path = files[b"2.bmp"]
    before = path.stat()
    path.write_bytes(b"x" * 100)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = read(files, kept)
    assert (changed.read, changed.digest != first.digest) == (1, True)


def test_an_exchange_by_renaming_is_seen(files, tmp_path):
    kept = tmp_path / contents.KEPT
    for path in files.values():
        os.utime(path, (1e9, 1e9))
    first = read(files, kept)
    one, two = files[b"1.bmp"], files[b"2.bmp"]
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    changed = read(files, kept)
    assert (changed.read, changed.digest != first.digest) == (2, True)


def test_files_that_may_still_change_are_not_kept(files, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "_COARSE", 10**12)
    kept = tmp_path / contents.KEPT
    assert [read(files, kept).read for _ in range(2)] == [5, 5]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: write_arrays(path, {"names": np.zeros(())}),
        lambda path: write_arrays(path, {}),
        lambda path: write_arrays(
            path,
            {
                "names": np.zeros((2, 32), np.uint8),
                "digests": np.zeros((1, 32), np.uint8),
                "stamps": np.zeros((2, 4), np.int64),
            },
        ),
    ],
)
def test_what_was_kept_and_is_damaged_is_set_aside(files, tmp_path, capsys, spoil):
    kept = tmp_path / contents.KEPT
    first = read(files, kept)
    spoil(kept)
    again = read(files, kept)
    assert (again.read, again.digest) == (5, first.digest)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{kept}: ")
    assert line.endswith("and all data are read again.")
    assert read(files, kept).read == 0


def test_a_file_that_cannot_be_read_is_named(files, tmp_path):
    files[b"x.bmp"] = tmp_path / "x.bmp"
    with pytest.raises(UserError, match=r"^--dataset=x: .*/x.bmp cannot be read \(No such file"):
        read(files, tmp_path / contents.KEPT)


# Whole runs.


def write_bmps(root):
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("RGB", (16, 16), (50 * label, 9 * number, 0))
            picture.save(root / name / f"{number}.bmp")
            os.utime(root / name / f"{number}.bmp", (1e9, 1e9))


def train(root, workdir, treatments=("baseA",)):
    settings = make_experiment(
        treatments, dataset=f"folder:{root}", image_size=16, steps=2, batch_size=4
    )
    run_experiment(settings, Workdir(workdir), log=lambda line: None)


def exchange(one, two):
    one.rename(one.parent / "other")
    two.rename(one)
    (one.parent / "other").rename(two)


def test_classes_whose_pictures_were_exchanged_are_refused(tmp_path):
    root, workdir = tmp_path / "set", tmp_path / "run"
    write_bmps(root)
    train(root, workdir)
    exchange(root / "ant", root / "dog")
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as error:
        train(root, workdir, ("baseA", "baseB"))
    assert str(error.value) == (
        f"--workdir={workdir}: its networks were trained on other data (contents differ), says "
        "experiment.json. Give another --workdir, or the data that it was begun with."
    )
    lock = workdir / ".lock"
    after = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
    assert before.keys() == after.keys()
    assert all(before[path] == after[path] for path in before if path != lock)
    exchange(root / "ant", root / "dog")
    train(root, workdir, ("baseA", "baseB"))


def test_a_workdir_of_before_goes_on_and_knows_its_data_from_then_on(tmp_path):
    root, workdir = tmp_path / "set", tmp_path / "run"
    write_bmps(root)
    train(root, workdir)
    path = workdir / "experiment.json"
    facts = json.loads(path.read_text())
    whole = dict(facts["data"])
    del facts["data"]["contents"]
    path.write_text(json.dumps(facts))
    (workdir / contents.KEPT).unlink()
    train(root, workdir, ("baseA", "baseB"))
    assert json.loads(path.read_text())["data"] == whole
    exchange(root / "ant", root / "dog")
    with pytest.raises(UserError, match=r"other data \(contents differ\)"):
        train(root, workdir, ("baseA", "baseB", "A1B"))


# Tiny ImageNet.


@pytest.mark.usefixtures("prepared_elsewhere")
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_wnids_that_were_exchanged_are_prepared_anew(tmp_path, form):
    files = make_files()
    path, notes = tmp_path / "tiny", "val/val_annotations.txt"
    labels, names, identities = [], [], []
    for _ in range(2):
        if form == "zip":
            write_zip(path, files)
        else:
            for name, content in files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(content)
        source = sources.open_source("tiny_imagenet", str(path))
        source.prepare()
        labels.append(sources.read(source, source.test, Preprocessing(64, 64))[1].tolist())
        names.append(source.builder.builder_config.name)
        identities.append(source.identity)
        first, second = (wnid.encode() for wnid in WNIDS[:2])
        files[notes] = (
            files[notes].replace(first, b"?").replace(second, first).replace(b"?", second)
        )
    assert labels[0] != labels[1]
    assert names[0] != names[1]
    # The name that workdirs have of the data is that of version 0.1.0; see the facts "contents".
    assert identities[0] == identities[1]


@pytest.mark.usefixtures("prepared_elsewhere")
def test_a_folder_of_tiny_imagenet_is_read_once(tmp_path):
    for name, content in make_files().items():
        path = tmp_path / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for expected in (len(make_files()), 0):
        source = sources.open_source("tiny_imagenet", str(tmp_path / "tiny"))
        assert source.builder.builder_config.contents.read == expected
        source.prepare()
    (kept,) = pathlib.Path(tmp_path / "tfds" / "tiny_imagenet").glob(f".*{contents.KEPT}")
    assert kept.is_file()
