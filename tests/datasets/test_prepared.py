import fcntl
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from support.forged_pictures import encode

from transfer_keras.config import UserError
from transfer_keras.datasets import sources, task_pair
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

NAME = "formula_images/4x12x8"
PREPARE = f"""
import sys
from transfer_keras.datasets import TaskPair, Preprocessing
pair = TaskPair("{NAME}", sys.argv[1], "whole")
train, _ = pair.read(Preprocessing(8, 8), batch_size=2)
print(len(train["A"]))
"""


def version_folder(folder):
    return pathlib.Path(folder) / NAME / "2.0.0"


@pytest.fixture
def prepared(tmp_path, data_dir):
    """Gives the folder of a version that is prepared, and the folder of datasets."""
    if not version_folder(data_dir).exists():
        sources.open_source(NAME, data_dir).prepare()
    folder = tmp_path / "tfds"
    shutil.copytree(pathlib.Path(data_dir) / "formula_images", folder / "formula_images")
    return version_folder(folder), str(folder)


def read(folder, *, fits=True, monkeypatch=None):
    if monkeypatch:
        monkeypatch.setattr(task_pair, "_fits", lambda *_: fits)
    return TaskPair(NAME, folder, "whole").read(Preprocessing(8, 8, augment=False), batch_size=2)


def test_two_processes_prepare_one_dataset_at_once(program):
    folder = program.folder / "tfds"
    folder.mkdir()
    both = [program.start("-c", PREPARE, str(folder)) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [output.splitlines()[-1] for output, _ in outputs] == ["40", "40"]
    waited = [output for output, _ in outputs if "Waiting for another process" in output]
    generated = [errors for _, errors in outputs if "Generating" in errors]
    assert len(waited) <= 1
    assert len(generated) == 1
    left = [path.name for path in version_folder(folder).parent.iterdir()]
    assert sorted(left) == [".2.0.0.preparing", "2.0.0"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    source = sources.open_source(NAME, str(tmp_path))
    folder = version_folder(tmp_path)
    others = [
        folder.with_name(name)
        for name in (
            "incomplete.ABC123_2.0.0",
            "incomplete.XYZ789_1.0.0",
            "incomplete.mine",
            "1.0.0",
        )
    ]
    for other in others:
        other.mkdir(parents=True)
    # As a process has it that was killed while TFDS was writing.
    lock = folder.with_name(".2.0.0.preparing")
    lock.write_text(json.dumps([others[0].name]))
    dead = folder.with_name("incomplete.DEAD00_2.0.0")
    dead.mkdir()
    (dead / "part").touch()
    source.prepare()
    assert folder.is_dir()
    assert not dead.exists()
    assert all(other.is_dir() for other in others)
    assert lock.read_text() == ""


def test_what_is_left_is_removed_though_all_is_prepared_since(prepared):
    folder, data_dir = prepared
    lock, dead = folder.with_name(".2.0.0.preparing"), folder.with_name("incomplete.DEAD00_2.0.0")
    lock.write_text("[]")
    dead.mkdir()
    read(data_dir)
    assert not dead.exists()
    assert lock.read_text() == ""


@pytest.mark.parametrize("content", ["{", "null", '{"a": 1}', ""])
def test_a_lock_that_says_nothing_removes_nothing(prepared, content):
    folder, data_dir = prepared
    lock, other = folder.with_name(".2.0.0.preparing"), folder.with_name("incomplete.OTHER0_2.0.0")
    lock.write_text(content)
    other.mkdir()
    read(data_dir)
    assert other.is_dir()


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    folder = version_folder(tmp_path)
    folder.parent.mkdir(parents=True)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    folder.with_name(".2.0.0.preparing").symlink_to(mine)
    with pytest.raises(UserError, match=r"\.2\.0\.0\.preparing: is a link, expected a file"):
        sources.open_source(NAME, str(tmp_path)).prepare()
    assert mine.read_text() == "mine"
    assert not folder.exists()


def test_nothing_is_waited_for_once_a_dataset_is_prepared(prepared):
    folder, data_dir = prepared
    with open(folder.with_name(".2.0.0.preparing"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        read(data_dir)


def test_no_warning_of_tfds(program):
    folder = program.folder / "tfds"
    folder.mkdir()
    for _ in range(2):
        done = program("-c", PREPARE, str(folder))
        assert done.returncode == 0
        assert not re.search(
            "custom data configuration|WARNING:tensorflow|retracing", done.stderr
        ), done.stderr


def change(path, edit):
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def write_records(folder, labels, picture=None):
    (path,) = folder.glob("*-train.tfrecord*")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for label in labels:
            example = tf.train.Example()
            picture = picture or encode("PNG", (8, 8))
            example.features.feature["image"].bytes_list.value.append(picture)
            example.features.feature["label"].int64_list.value.append(label)
            writer.write(example.SerializeToString())


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def remove(path):
    path.unlink()


def make_folder(path):
    path.unlink()
    path.mkdir()


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


EVEN = [k % 4 for k in range(40)]
INFO, FEATURES = "dataset_info.json", "features.json"
DAMAGES = [
    (
        lambda f: (f / INFO).write_text("{"),
        r"/dataset_info\.json: is damaged: Input data was trunc",
    ),
    (lambda f: make_folder(f / INFO), r"/dataset_info\.json: is a folder, expected a file"),
    *(
        (lambda f, name=name: make_pipe(f / name), rf"/{re.escape(name)}: is no regular file")
        for name in (INFO, FEATURES, "label.labels.txt")
    ),
    (lambda f: make_pipe(next(f.glob("*-train.tfrecord*"))), r"-train\.tfrecord.* is no file"),
    (
        lambda f: change(f / INFO, lambda info: info["splits"][0].update(shardLengths=["-1"])),
        r"/dataset_info\.json: is damaged: Expected `str` matching .*shardLengths",
    ),
    (
        lambda f: change(f / INFO, lambda info: info["splits"][0].update(shardLengths=["39"])),
        r"(has 40 records, .* says 39|expected to contain 39 elements)",
    ),
    (
        lambda f: change(f / INFO, lambda info: info.update(splits=[])),
        r"2\.0\.0 has no example",
    ),
    (
        lambda f: change(f / FEATURES, lambda v: v.update(pythonClassName="antigravity.X")),
        r"/features\.json: names the class 'antigravity\.X', expected TFDS's",
    ),
    (
        lambda f: change(
            f / FEATURES,
            lambda v: v["featuresDict"]["features"]["label"]["classLabel"].update(
                numClasses="100000000"
            ),
        ),
        r"/features\.json: has 100000000 classes, expected at most 100,000",
    ),
    (lambda f: cut(next(f.glob("*-train.tfrecord*"))), r"cannot be read \(truncated record"),
    (lambda f: remove(next(f.glob("*-train.tfrecord*"))), r"-train\.tfrecord.* is missing"),
    (lambda f: make_folder(next(f.glob("*-train.tfrecord*"))), r"-train\.tfrecord.* is no file"),
    (
        lambda f: write_records(f, [*EVEN[:-1], 4]),
        r"record 39 of train has the label 4, and there are 4 classes",
    ),
    (
        lambda f: write_records(f, EVEN[:30]),
        r"(has 30 records, .* says 40|expected to contain 40 elements)",
    ),
]


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize(("spoil", "message"), DAMAGES)
def test_damaged_files_are_named_in_one_line(prepared, spoil, message, fits, monkeypatch):
    folder, data_dir = prepared
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        read(data_dir, fits=fits, monkeypatch=monkeypatch)
    assert len(str(error.value).splitlines()) == 1
    assert re.search(r"Remove (that|the) folder.* (it is|they are) made again\.", str(error.value))


def test_what_was_damaged_is_made_again_once_it_is_removed(prepared):
    folder, data_dir = prepared
    expected = read(data_dir)[0]["A"].images
    (folder / INFO).write_text("{")
    shutil.rmtree(folder)
    assert np.array_equal(read(data_dir)[0]["A"].images, expected)


def test_without_progress_bars_all_pictures_are_read(program, prepared):
    """Of a bar that is not shown the count stands still."""
    code = """
import sys
from transfer_keras.datasets import TaskPair, Preprocessing, task_pair
for fits in (True, False):
    task_pair._fits = lambda *_: fits
    pair = TaskPair(sys.argv[1], sys.argv[2], "whole")
    train, _ = pair.read(Preprocessing(8, 8, augment=False), batch_size=2)
    examples = train["A"] if fits else train["A"].in_memory("")
    print(examples.images.sum(axis=(1, 2, 3)).tolist())
"""
    arguments = ("-c", code, NAME, prepared[1])
    shown = program(*arguments).stdout
    assert len(set(shown.splitlines()[0].split(","))) > 30
    assert program(*arguments, environment={"TQDM_DISABLE": "1"}).stdout == shown
