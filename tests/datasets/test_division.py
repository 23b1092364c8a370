"""The division of a folder's pictures into folds, and by groups that stay together."""

import collections
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from transfer_keras.config import UserError
from transfer_keras.config.experiment import make_request
from transfer_keras.datasets.division import Division
from transfer_keras.datasets.folder import Folder

CLASSES = {"cat": 23, "dog": 41}


def write(root, counts=CLASSES, *, each=3):
    """Writes pictures of animals that were photographed so many times each, in both classes."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            path = root / name / f"animal{number // each}_{number}.png"
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    return f"folder:{root}"


def files(folder, split):
    """Lists (class, file name) of a split."""
    records = folder.records(split)
    return [tuple(records.name(place).split("/")[-2:]) for place in range(len(records))]


def fold(name, number, folds=4, **settings):
    folder = Folder(name, division=Division(folds=folds, fold=number, **settings))
    return files(folder, folder.train), files(folder, folder.test)


def test_each_picture_is_validated_on_once_and_classes_are_alike_in_all_folds(tmp_path):
    name = write(tmp_path / "set")
    folds = [fold(name, number) for number in range(4)]
    everything = sorted([*folds[0][0], *folds[0][1]])
    assert len(everything) == sum(CLASSES.values())
    assert sorted(itertools.chain.from_iterable(test for _, test in folds)) == everything
    for train, test in folds:
        assert sorted([*train, *test]) == everything
        counts = collections.Counter(label for label, _ in test)
        for label, count in CLASSES.items():
            assert abs(counts[label] - count / 4) < 1
    assert fold(name, 0) == folds[0]
    assert fold(name, 0, seed=1) != folds[0]


@pytest.mark.parametrize("pattern", [r"^animal\d+", r"animal(\d+)_"])
@pytest.mark.parametrize("settings", [{"folds": 4}, {"folds": None, "part": 0.25}])
def test_what_belongs_together_stays_on_one_side(tmp_path, pattern, settings):
    name = write(tmp_path / "set")
    train, test = fold(name, 1 if settings["folds"] else 0, group_by=pattern, **settings)
    animals = [{re.match(r"animal\d+", file)[0] for _, file in split} for split in (train, test)]
    assert not set.intersection(*animals)
    assert {label for label, _ in test} == set(CLASSES)
    assert 0.1 < len(test) / len([*train, *test]) < 0.4
    loose, held_out = fold(name, 0)
    animals = [{file.split("_")[0] for _, file in split} for split in (loose, held_out)]
    assert set.intersection(*animals), "else any division would do"


@pytest.mark.parametrize("third", [None, "test"])
def test_folds_are_of_train_and_val_together_and_never_of_test(tmp_path, third):
    for split in ("train", "val", *([third] if third else [])):
        write(tmp_path / "set" / split, {"cat": 6, "dog": 8})
    folder = Folder(f"folder:{tmp_path}/set", division=Division(folds=2))
    assert folder.size(folder.train) + folder.size(folder.test) == 28
    held_out = folder.held_out()
    assert (held_out is None) == (third is None)
    assert third is None or len(held_out) == 14


def test_where_test_is_all_that_is_beside_train_folds_leave_it_alone(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "set" / split, {"cat": 6, "dog": 8})
    name = f"folder:{tmp_path}/set"
    folder = Folder(name, division=Division(folds=2))
    assert folder.size(folder.train) + folder.size(folder.test) == 14
    assert {folder.records(split).name(0).split("/")[-3] for split in (folder.train, folder.test)} \
        == {"train"}  # fmt: skip
    assert len(folder.held_out()) == 14
    assert Folder(name).held_out() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 4, "group_by": "^horse"}, r"--group_by=\^horse: is found in the names of "
         r"all but 64 of 64 pictures of folder:\S+: animal0_0.png"),
        ({"folds": 20, "group_by": "^animal[0-9]+"}, "14 groups of pictures cannot be divided into "
         "20 parts"),
        ({"folds": 30}, "1 classes have fewer pictures than the 30 parts: cat. Give fewer --folds"),
        ({"group_by": "^animal"}, "1 groups of pictures cannot be divided into 5 parts"),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_so(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        Folder(write(tmp_path / "set"), division=Division(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "--folds=1: expected 2 or more"),
        ({"group_by": "("}, r"--group_by=\(: expected a regular expression"),
        ({"folds": 3, "dataset": "mnist"}, "--folds=3: is for a folder of pictures"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        make_request(["A1B"], **{"dataset": "folder:pictures", **settings})


def test_a_class_that_is_one_group_cannot_be_on_both_sides(tmp_path):
    for label in CLASSES:
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(6):
            image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
            image.save(tmp_path / "set" / label / f"{label}{number}.png")
    with pytest.raises(UserError, match="of 2 classes all pictures are on one side: cat, dog"):
        Folder(f"folder:{tmp_path}/set", division=Division(folds=2, group_by="^[a-z]+"))
