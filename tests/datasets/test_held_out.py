"""Pictures in `test/`, beside `train/` and `val/`: nothing but the very end sees them."""

import shutil

import numpy as np
import pytest
from PIL import Image
from support.picture_folders import CLASSES, read, write, write_flat

from transfer_keras.config import UserError
from transfer_keras.datasets import Preprocessing, TaskPair

SMALL = Preprocessing(32, 32, augment=False)


@pytest.fixture
def pictures(tmp_path):
    """A folder whose `test` has other pictures than `val`."""
    name = write(tmp_path / "set")
    write(tmp_path / "more", train=1, val=2)
    shutil.copytree(tmp_path / "more" / "val", tmp_path / "set" / "Test")
    return name, tmp_path / "set" / "Test"


def open_pair(name, **arguments):
    return TaskPair(name, None, "donor", **arguments)


def test_they_are_those_of_the_folder_and_of_no_split(pictures):
    name, folder = pictures
    pair, train, test = read(name)
    assert {task: len(of_task) for task, of_task in train.items()} == {"A": 12, "B": 12}
    assert {task: len(of_task) for task, of_task in test.items()} == {"A": 6, "B": 6}
    before = pair.identity
    held_out = open_pair(name).held_out("B", SMALL)
    (batch,) = held_out.evaluation(batch_size=100)
    images, labels = batch
    assert labels.numpy().tolist() == np.repeat(range(4), 2).tolist()
    colours = {
        tuple(np.array(Image.open(path))[0, 0])
        for label in CLASSES
        for path in (folder / label).iterdir()
    }
    assert {tuple(image[0, 0]) for image in images.numpy().astype(int)} == colours
    shutil.rmtree(folder)
    assert open_pair(name).held_out("B", SMALL) is None
    assert read(name)[0].identity == before


def test_test_is_validated_on_where_there_is_no_val(pictures):
    name, folder = pictures
    shutil.rmtree(folder.parent / "val")
    assert open_pair(name).held_out("B", SMALL) is None


def test_none_where_the_folder_is_divided_here(tmp_path):
    assert open_pair(write_flat(tmp_path / "set")).held_out("B", SMALL) is None


def flatten(folder):
    """Leaves pictures that have no class, as those of many competitions."""
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(folder / f"{number}.png")
    for empty in [path for path in folder.iterdir() if path.is_dir()]:
        empty.rmdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "dog"), r"Test/ is not used: expected a folder f"),
        (lambda folder: (folder / "new").mkdir(), r"Test/ is not used: .* found .* and 2 more"),
        (
            lambda folder: [path.unlink() for path in folder.rglob("*.png")],
            r"Test/ is not used: it has no picture",
        ),
        (lambda folder: flatten(folder), r"Test/ is not used: expected .*; found no folder"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_and_disturbs_nothing(pictures, spoil, message):
    name, folder = pictures
    spoil(folder)
    pair = open_pair(name)
    with pytest.raises(UserError, match=message):
        pair.held_out("B", SMALL)
    pair.read(SMALL, batch_size=4)


def test_pictures_that_cannot_be_decoded_are_left_out(pictures):
    name, folder = pictures
    (folder / "dog" / "0.png").write_bytes(b"no picture")
    (folder / "dog" / "x.tiff").write_bytes(b"not decoded")
    held_out = open_pair(name).held_out("B", SMALL)
    assert len(held_out) == 8
    sound = held_out.without_faults("checking")
    assert sound.labels.tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert sum(len(labels) for _, labels in sound.evaluation(batch_size=3)) >= 7
