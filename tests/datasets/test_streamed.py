"""Pictures that stay on disk give the streams of pictures in memory, value for value."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from safetensors.numpy import load_file

from transfer_keras.config import make_experiment, memory
from transfer_keras.config.errors import UserError
from transfer_keras.datasets import records, sources
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.streamed import StreamedExamples
from transfer_keras.experiments.run import run_experiment
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
    index_file = source.builder.data_path / "index-train.npz"
    index = dict(np.load(index_file))
    np.savez(index_file, **{**index, "sizes": index["sizes"] + 1, "records": index["records"] + 1})
    assert np.array_equal(source.records("train").labels, first.labels)
    assert len(calls) == 5


def test_an_experiment_whose_pictures_stay_on_disk(tmp_path, data_dir, monkeypatch):
    """Weights and answers of the whole program, bit for bit."""
    settings = make_experiment(
        ["B2B"], dataset="formula_images/6x30x32", data_dir=data_dir, steps=4, batch_size=8,
        augment=True, group_memory=1, metrics_every=0,
    )  # fmt: skip
    for name, available in (("held", memory.process_memory()), ("streamed", 10**6)):
        monkeypatch.setattr(memory, "process_memory", lambda available=available: available)
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
