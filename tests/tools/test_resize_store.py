"""The store of pictures at the size that networks are trained from."""

import functools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.paths import ROOT

from transfer_keras.datasets import sources
from transfer_keras.datasets.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Writes 18 for training and 6 for tests, in 3 classes, of several sizes."""
    root, rng = tmp_path_factory.mktemp("pictures") / "set", np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for name in "abc":
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 256, (5, 7, 3), np.uint8)
                picture = Image.fromarray(noise).resize((60 + number, 50), Image.BICUBIC)
                picture.save(root / split / name / f"{number}.png")
    return f"folder:{root}"


def maker(program, pictures, output):
    return functools.partial(
        program, str(ROOT / "tools" / "resize_store.py"), f"--dataset={pictures}",
        f"--output={output}", "--name=small", "--size=32", "--shards=4",
        environment={"PATH": ""},
    )  # fmt: skip


@pytest.fixture
def make(program, pictures, tmp_path):
    """Runs the tool to its end."""
    return maker(program, pictures, tmp_path)


@pytest.fixture(scope="module")
def made(module_program, pictures, tmp_path_factory):
    """Makes a store, which is to be copied."""
    folder = tmp_path_factory.mktemp("made")
    assert maker(module_program, pictures, folder)().returncode == 0
    return folder / "small"


def read(name, data_dir=None):
    """Reads pictures and labels of both splits, as "paper" stores them."""
    source, splits = sources.open_source(name, data_dir), []
    for split in (source.train, source.test):
        records = source.records(split)
        encoded = [
            records.encoded(records.fetch(tf.constant([i], tf.int64))[0]).numpy()
            for i in range(len(records))
        ]
        cut = Preprocessing(32, 32, kind="paper")
        images = [
            cut.store(tf.io.decode_image(data, channels=3, expand_animations=False)).numpy()
            for data in encoded
        ]
        splits.append((np.stack(images).astype(int), records.labels))
    return source, splits


@pytest.mark.parametrize(("kind", "worst"), [("bmp", 0), ("jpeg", 6)])
def test_it_is_read_like_any_dataset(make, pictures, tmp_path, kind, worst):
    done = make(f"--format={kind}")
    assert done.returncode == 0, done.stderr
    assert f"--dataset=small --data_dir={tmp_path}" in done.stdout
    source, splits = read("small", str(tmp_path))
    assert source.class_names == ("a", "b", "c")
    assert [len(labels) for _, labels in splits] == [18, 6]
    assert len(source.builder.info.splits["train"].filenames) == 4
    assert source.builder.info.features["image"].shape == (32, 32, 3)
    for (images, labels), (originals, expected) in zip(splits, read(pictures)[1], strict=True):
        assert np.array_equal(labels, expected)
        assert np.abs(images - originals).mean() <= worst
    held, labels, _ = sources.read(source, "train", Preprocessing(32, 32, kind="paper"))
    assert np.array_equal(held, splits[0][0])


def test_it_goes_on_where_it_was_and_mends_what_is_damaged(make, made, tmp_path):
    shutil.copytree(made, tmp_path / "small")
    folder = tmp_path / "small" / "1.0.0"
    first, *lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    assert (first["size"], first["preprocessing"]) == (32, "paper")
    files = {folder / line["file"]: (folder / line["file"]).read_bytes() for line in lines}
    assert len(files) == 5
    intact, missing, spoiled, *_ = files
    times = {path: path.stat().st_mtime_ns for path in files}
    missing.unlink()
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"x")
    assert make().returncode == 0
    assert {path: path.read_bytes() for path in files} == files
    changed = {path for path in files if path.stat().st_mtime_ns != times[path]}
    assert changed == {missing, spoiled}
    assert intact not in changed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size=30", "--format=bmp"], "--size=30: a BMP's rows are multiples of 4"),
        (["--name=cifar10"], "--name=cifar10: expected small letters"),
        (["--dataset=folder:/none"], "--dataset=folder:/none: no such folder"),
    ],
)
def test_bad_flags(make, tmp_path, flags, message):
    done = make(*flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_other_settings(make, made, tmp_path):
    shutil.copytree(made, tmp_path / "small")
    done = make("--preprocessing=modern")
    assert done.returncode == 2
    assert "holds another store: preprocessing is 'paper' there" in done.stderr
