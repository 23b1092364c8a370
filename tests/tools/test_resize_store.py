"""The store of pictures at the size that networks are trained from."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.paths import ROOT

from transfer_keras.datasets import sources
from transfer_keras.datasets.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """18 for training and 6 for tests, in 3 classes, of several sizes."""
    root, rng = tmp_path_factory.mktemp("pictures") / "set", np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for name in "abc":
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 256, (5, 7, 3), np.uint8)
                picture = Image.fromarray(noise).resize((60 + number, 50), Image.BICUBIC)
                picture.save(root / split / name / f"{number}.png")
    return f"folder:{root}"


def make(pictures, output, *more, name="small"):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "resize_store.py"), f"--dataset={pictures}",
         f"--output={output}", f"--name={name}", "--size=32", "--shards=4", *more],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip


def read(name, data_dir=None):
    """Pictures and labels of both splits, as "paper" stores them."""
    source, found = sources.open_source(name, data_dir), []
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
        found.append((np.stack(images).astype(int), records.labels))
    return source, found


@pytest.mark.parametrize(("kind", "worst"), [("bmp", 0), ("jpeg", 6)])
def test_it_is_read_like_any_dataset(pictures, tmp_path, kind, worst):
    done = make(pictures, tmp_path, f"--format={kind}")
    assert done.returncode == 0, done.stderr
    assert f"--dataset=small --data_dir={tmp_path}" in done.stdout
    source, found = read("small", str(tmp_path))
    assert source.class_names == ("a", "b", "c")
    assert [len(labels) for _, labels in found] == [18, 6]
    assert len(source.builder.info.splits["train"].filenames) == 4
    assert source.builder.info.features["image"].shape == (32, 32, 3)
    for (images, labels), (originals, expected) in zip(found, read(pictures)[1], strict=True):
        assert np.array_equal(labels, expected)
        assert np.abs(images - originals).mean() <= worst
    held, labels, _ = sources.read(source, "train", Preprocessing(32, 32, kind="paper"))
    assert np.array_equal(held, found[0][0])


def test_it_goes_on_where_it_was_and_mends_what_is_damaged(pictures, tmp_path):
    assert make(pictures, tmp_path).returncode == 0
    folder = tmp_path / "small" / "1.0.0"
    first, *lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    assert (first["size"], first["preprocessing"]) == (32, "paper")
    files = {folder / line["file"]: (folder / line["file"]).read_bytes() for line in lines}
    assert len(files) == 5
    kept, gone, spoiled, *_ = files
    times = {path: path.stat().st_mtime_ns for path in files}
    gone.unlink()
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"x")
    assert make(pictures, tmp_path).returncode == 0
    assert {path: path.read_bytes() for path in files} == files
    changed = {path for path in files if path.stat().st_mtime_ns != times[path]}
    assert changed == {gone, spoiled}
    assert kept not in changed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size=30", "--format=bmp"], "--size=30: a BMP's rows are multiples of 4"),
        (["--name=cifar10"], "--name=cifar10: expected small letters"),
        (["--dataset=folder:/none"], "--dataset=folder:/none: no such folder"),
    ],
)
def test_bad_flags(pictures, tmp_path, flags, message):
    done = make(pictures, tmp_path, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_other_settings(pictures, tmp_path):
    assert make(pictures, tmp_path).returncode == 0
    done = make(pictures, tmp_path, "--preprocessing=modern")
    assert done.returncode == 2
    assert "holds another store: preprocessing is 'paper' there" in done.stderr
