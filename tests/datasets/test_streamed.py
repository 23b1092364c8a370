"""Pictures that stay on disk give the streams of pictures in memory, value for value."""

import dataclasses
import itertools
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from safetensors.numpy import load_file

from transfer_keras.config import make_experiment
from transfer_keras.config.errors import UserError
from transfer_keras.datasets import records, sources, task_pair
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.streamed import StreamedExamples
from transfer_keras.experiments.run import run_experiment
from transfer_keras.files import write_arrays
from transfer_keras.results import Workdir

CLASSES = (3, 1, 4)


class Sharded(tfds.core.GeneratorBasedBuilder):
    """Coloured pictures of any size in five files, as a large dataset has them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        label = tfds.features.ClassLabel(names=list("abcdef"))
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(90), "test": self._generate_examples(30)}

    def _generate_examples(self, count):
        rng = np.random.default_rng(count)
        for number in range(count):
            pixels = rng.integers(0, 256, (*rng.integers(30, 60, 2), 3), np.uint8)
            yield number, {"image": pixels, "label": int(rng.integers(6))}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    config = tfds.download.DownloadConfig(num_shards=5)
    Sharded(data_dir=folder).download_and_prepare(download_config=config)
    opened = sources.open_source("sharded", folder)
    assert len(opened.builder.info.splits["train"].filenames) == 5
    return opened


@pytest.fixture(
    params=itertools.product(["train", "train[10:70]", "test"], ["paper", "modern"]), ids=" ".join
)
def pair(request, source):
    """Gives the same examples in memory and on disk, as squares."""
    split, kind = request.param
    cut = Preprocessing(28, 36, pad=2 if kind == "modern" else 0, augment=True, kind=kind)
    images, labels, _ = sources.read(source, split, cut)
    on_disk = source.records(split)
    assert np.array_equal(on_disk.labels, labels)
    return (
        Examples.of_classes(images, labels, CLASSES, cut, first=9),
        StreamedExamples.of_classes(on_disk, CLASSES, cut, first=9),
    )


def assert_same(one, other):
    for (images, labels), (other_images, other_labels) in zip(one, other, strict=True):
        assert images.dtype == other_images.dtype
        assert np.array_equal(images, other_images)
        assert np.array_equal(labels, other_labels)


@pytest.mark.parametrize("start", [0, 7])
def test_training(pair, start):
    mean = np.random.default_rng(0).uniform(90, 150, (36, 36, 3)).astype(np.float32)
    for more in ({}, {"mean": mean}):
        held, streamed = (
            list(itertools.islice(e.training(batch_size=4, seed=5, start=start, **more), 20))
            for e in pair
        )
        assert_same(held, streamed)


def test_a_view_is_an_epoch_in_order(pair):
    held, streamed = pair
    mean = np.random.default_rng(0).uniform(90, 150, (36, 36, 3)).astype(np.float32)
    for more in ({}, {"mean": mean}):
        views = [[*e.view(2, batch_size=5, seed=5, **more)] for e in pair]
        assert_same(*views)
        crops = np.concatenate([images for images, _ in views[0]])
        labels = np.concatenate([labels for _, labels in views[0]])
        assert np.array_equal(labels, held.labels)
        size = len(held)
        (epoch, epoch_labels), *_ = held.training(batch_size=size, seed=5, start=2, **more).take(1)
        by_value = sorted(zip(epoch_labels.numpy(), map(bytes, epoch.numpy()), strict=True))
        assert by_value == sorted(zip(labels, map(bytes, crops), strict=True))
    first = streamed.digest
    assert dataclasses.replace(streamed).digest == first
    assert dataclasses.replace(streamed, numbers=streamed.numbers[::-1]).digest != first


def test_evaluation_statistics_and_memory(pair):
    held, streamed = pair
    tests = (examples.shuffled().evaluation(batch_size=5) for examples in pair)
    assert_same(*tests)
    for statistic, expected in zip(streamed.pixels(), held.pixels(), strict=True):
        assert np.array_equal(statistic, expected)
    again = streamed.in_memory("reading")
    for name in ("images", "labels", "numbers"):
        assert np.array_equal(getattr(again, name), getattr(held, name)), name


def test_only_pictures_of_the_task_are_read(source):
    """One pass over half of the classes reads their pictures, each once, and no other."""
    on_disk, seen = source.records("train"), []

    def note(index):
        seen.extend(index.tolist())
        return index

    def fetch(index):
        return on_disk.fetch(
            tf.ensure_shape(tf.numpy_function(note, [index], tf.int64), index.shape)
        )

    half = StreamedExamples.of_classes(
        dataclasses.replace(on_disk, fetch=fetch), CLASSES, Preprocessing(28, 36)
    )
    assert 0 < len(half) < len(on_disk)
    count = sum(len(labels) for _, labels in half.evaluation(batch_size=7))
    assert count == len(half)
    assert sorted(seen) == np.flatnonzero(np.isin(on_disk.labels, CLASSES)).tolist()
    seen.clear()
    per_epoch = len(half) // 5
    list(half.training(batch_size=5, seed=0).take(per_epoch))
    assert len(set(seen[: 5 * per_epoch])) == 5 * per_epoch
    assert set(seen) <= set(half.numbers.tolist())


def test_the_index_is_cached_and_made_again_when_the_files_change(source, monkeypatch):
    first = source.records("train")
    calls = []
    whole = records.tf.data.TFRecordDataset
    monkeypatch.setattr(
        records.tf.data, "TFRecordDataset", lambda path: calls.append(path) or whole(path)
    )
    assert np.array_equal(source.records("train").labels, first.labels)
    assert calls == []
    index_file = pathlib.Path(source.builder.data_path / "index-train.safetensors")
    whole_index = index_file.read_bytes()
    path = source.builder.info.splits["train"].filepaths[2]
    os.utime(path, (1e9, 1e9))  # As of another file of the same size.
    assert np.array_equal(source.records("train").labels, first.labels)
    assert len(calls) == 5
    assert index_file.read_bytes() != whole_index


def edit_index(path, **changes):
    arrays = load_file(path)
    write_arrays(path, {name: changes.get(name, lambda a: a)(arrays[name]) for name in arrays})


def longer_first_record(index):
    index = index.copy()
    index[0, 0] += 1
    return index


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: edit_index(path, ends=lambda ends: ends[::-1]),
        lambda path: edit_index(path, ends=lambda ends: ends.astype(np.float32)),
        lambda path: edit_index(path, records=longer_first_record),
        lambda path: edit_index(path, records=lambda index: index[:, :-1]),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_index_is_set_aside_and_made_again(source, spoil, capsys):
    first = source.records("train")
    index_file = pathlib.Path(source.builder.data_path / "index-train.safetensors")
    whole = index_file.read_bytes()
    spoil(index_file)
    again = source.records("train")
    assert np.array_equal(again.labels, first.labels)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{index_file}: ")
    assert line.endswith(
        "was renamed to index-train.safetensors.damaged, and the files are indexed again."
    )
    assert index_file.read_bytes() == whole
    aside = index_file.with_name(f"{index_file.name}.damaged")
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()


def test_an_experiment_whose_pictures_stay_on_disk(tmp_path, data_dir, monkeypatch):
    """Weights and answers of the whole program, bit for bit."""
    settings = make_experiment(
        ["B2B"], dataset="formula_images/6x30x32", data_dir=data_dir, steps=4, batch_size=8,
        augment=True, group_memory=1, metrics_every=0,
    )  # fmt: skip
    for name, fits in (("held", True), ("streamed", False)):
        monkeypatch.setattr(task_pair, "_fits", lambda *_, fits=fits: fits)
        run_experiment(settings, Workdir(tmp_path / name), log=lambda _: None)
    for name in ("baseB", "B2B"):
        held, streamed = (
            load_file(tmp_path / folder / name / "predictions.safetensors")
            for folder in ("held", "streamed")
        )
        for key in held:
            assert np.array_equal(held[key], streamed[key]), (name, key)
        rows = [Workdir(tmp_path / folder).row(name) for folder in ("held", "streamed")]
        assert rows[0].validation == rows[1].validation


def test_other_formats_are_refused(source, monkeypatch):
    monkeypatch.setattr(type(source.builder.info), "file_format", tfds.core.FileFormat.ARRAY_RECORD)
    with pytest.raises(UserError, match="too large for the memory, and its files are array_record"):
        source.records("train")
