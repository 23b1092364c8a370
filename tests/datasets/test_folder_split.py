"""Folders of pictures in `class/file`, of which some are taken for validation."""

import contextlib
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from transfer_keras.config import memory
from transfer_keras.config.errors import UserError
from transfer_keras.datasets.division import Division
from transfer_keras.datasets.folder import Folder
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

COUNTS = {"Ärger": 2, "b c": 3, "dog": 7, "emu": 8, "fox": 13}


def write(root, counts=COUNTS):
    """Writes pictures of one colour each, which encodes class and number."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            colour = (40 * label, 19 * number, 90)
            Image.new("RGB", (33 + number, 40), colour).save(root / name / f"{number}.png")
    return f"folder:{root}"


def files(folder, split):
    """Lists the names of the files of each class, in the order of the records."""
    by_class = {name: [] for name in folder.class_names}
    records = folder.records(split)
    for place, label in enumerate(records.labels):
        path = pathlib.Path(records.name(place))
        assert path.parent.name == folder.class_names[label]
        by_class[path.parent.name].append(path.name)
    return by_class


def both(name, **arguments):
    folder = Folder(name, **arguments)
    return files(folder, folder.train), files(folder, folder.test)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.2, [1, 1, 1, 2, 3]), (0.5, [1, 2, 4, 4, 6]), (0.01, [1] * 5), (0.99, [1, 2, 6, 7, 12])],
)
def test_each_picture_is_in_one_split(tmp_path, fraction, expected):
    folder = Folder(write(tmp_path / "set"), division=Division(fraction))
    assert folder.class_names == ("b c", "dog", "emu", "fox", "Ärger")
    assert (folder.train, folder.test) == ("train", "validation")
    train, test = (files(folder, split) for split in ("train", "validation"))
    assert [len(test[name]) for name in COUNTS] == expected
    assert [folder.size(split) for split in ("train", "validation")] == [
        33 - sum(expected),
        sum(expected),
    ]
    for name, count in COUNTS.items():
        assert sorted(train[name] + test[name]) == sorted(f"{n}.png" for n in range(count))
        assert train[name] == sorted(train[name])
        assert test[name] == sorted(test[name])


def test_the_split_is_what_it_was_in_the_first_version(tmp_path):
    """By `printf '0\\0%s\\0%s' dog 0.png | sha256sum` of each, sorted."""
    assert both(write(tmp_path / "set"))[1] == {
        "Ärger": ["0.png"],
        "b c": ["2.png"],
        "dog": ["0.png"],
        "emu": ["2.png", "6.png"],
        "fox": ["10.png", "7.png", "9.png"],
    }


@pytest.mark.parametrize("kind", ["paper", "modern"])
@pytest.mark.parametrize("available", [10**12, 0])
def test_the_pictures_of_each_split_are_of_its_files(tmp_path, kind, available, monkeypatch):
    monkeypatch.setattr(memory, "process_memory", lambda: available)
    name = write(tmp_path / "set")
    pair = TaskPair(name, None, "0", division=Division(0.4, 5))
    cut = Preprocessing(32, 32, augment=False, kind=kind)
    for by_task, expected in zip(
        pair.read(cut, batch_size=4),
        both(name, division=Division(0.4, 5)),
        strict=True,
    ):
        seen = []
        for task, examples in by_task.items():
            for images, labels in examples.evaluation(batch_size=5):
                for image, label in zip(images.numpy(), labels.numpy(), strict=True):
                    if label < 0:
                        continue  # Fills the last batch.
                    assert (image == image[0, 0]).all()
                    red, green, _ = map(int, image[0, 0])
                    assert list(COUNTS)[red // 40] == pair.tasks[task].class_names[label]
                    seen.append((list(COUNTS)[red // 40], f"{green // 19}.png"))
        assert sorted(seen) == sorted((c, file) for c, names in expected.items() for file in names)


def test_neither_the_place_nor_the_order_of_listing_matters(tmp_path, monkeypatch):
    folder = Folder(write(tmp_path / "set"))
    shutil.copytree(tmp_path / "set", tmp_path / "else" / "where" / "set")
    scandir = os.scandir

    @contextlib.contextmanager
    def backwards(path):
        with scandir(path) as entries:
            yield iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(os, "scandir", backwards)
    copy = Folder(f"folder:{tmp_path}/else/../else/where/set/")
    assert copy.identity == folder.identity
    assert copy.class_names == folder.class_names
    for split in ("train", "validation"):
        assert files(copy, split) == files(folder, split)
        assert np.array_equal(copy.records(split).labels, folder.records(split).labels)


def test_another_seed_or_part_is_another_split(tmp_path):
    name = write(tmp_path / "set")
    divisions = (Division(), Division(seed=1), Division(seed=2), Division(0.3))
    settings = [{"division": division} for division in divisions]
    assert len({Folder(name, **setting).identity for setting in settings}) == len(settings)
    chosen = [both(name, **setting)[1] for setting in settings]
    assert chosen[0] != chosen[1] != chosen[2] != chosen[0]
    counts = [[len(names) for names in by_class.values()] for by_class in chosen]
    assert counts[0] == counts[1] == counts[2]
    for name, names in chosen[0].items():  # A larger part holds the smaller one.
        assert {*names} <= {*chosen[3][name]}


def test_the_identity_is_of_the_files_in_each_split(tmp_path):
    name = write(tmp_path / "set")
    before = Folder(name).identity
    Image.new("RGB", (900, 900)).save(tmp_path / "set" / "dog" / "0.png")
    assert Folder(name).identity != before
    assert Folder(name, division=Division(0.2, 0)).identity == Folder(name).identity


def test_one_more_picture_moves_one_other_at_most(tmp_path):
    name = write(tmp_path / "set")
    before = both(name)
    moves = []
    for extra in range(40):
        path = tmp_path / "set" / "fox" / f"more {extra}.png"
        Image.new("RGB", (40, 40)).save(path)
        train, test = both(name)
        assert {*train["fox"], *test["fox"]} == {*before[0]["fox"], *before[1]["fox"], path.name}
        moves.append(len({*train["fox"]} & {*before[1]["fox"]}))
        moves[-1] += len({*test["fox"]} & {*before[0]["fox"]})
        for other in COUNTS.keys() - {"fox"}:
            assert (train[other], test[other]) == (before[0][other], before[1][other])
        before = train, test
    assert set(moves) == {0, 1}


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 20])
def test_a_part_that_is_none(tmp_path, fraction):
    with pytest.raises(ValueError, match=rf"Received: validation_split={fraction}"):
        Folder(write(tmp_path / "set"), division=Division(fraction))


def test_where_there_is_a_split_none_is_taken(tmp_path):
    for split in ("train", "val"):
        write(tmp_path / "set" / split, dict.fromkeys(COUNTS, 1))
    name = f"folder:{tmp_path}/set"
    folder = Folder(name, division=Division(0.9, 7))
    assert folder.identity == Folder(name).identity
    assert (folder.train, folder.test) == ("train", "val")
    assert [folder.size("train"), folder.size("val")] == [5, 5]


def spoil(path):
    path.write_bytes(path.read_bytes()[:40])


def test_a_bad_picture_is_named_or_left_out(tmp_path):
    name = write(tmp_path / "set")
    bad = tmp_path / "set" / "fox" / both(name)[0]["fox"][3]
    spoil(bad)
    cut = Preprocessing(32, 32, augment=False, kind="paper")
    with pytest.raises(UserError, match=rf"1 pictures cannot be used: {bad} cannot be decoded"):
        TaskPair(name, None, "0").read(cut, batch_size=2)
    pair = TaskPair(name, None, "0", bad_images="skip")
    train, test = pair.read(cut, batch_size=2)
    assert (sum(map(len, train.values())), sum(map(len, test.values()))) == (24, 8)
    (line,) = pair.skipped
    assert line.startswith(f"{bad} cannot be decoded")


def test_a_class_whose_validation_is_all_bad_is_named(tmp_path):
    name = write(tmp_path / "set")
    (only,) = both(name)[1]["dog"]
    spoil(tmp_path / "set" / "dog" / only)
    pair = TaskPair(name, None, "0", bad_images="skip")
    with pytest.raises(UserError, match=r"1 of . classes of task . have no test image: dog\."):
        pair.read(Preprocessing(32, 32), batch_size=2)
