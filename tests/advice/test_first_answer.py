"""What `advise` says of the pictures before anything else."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

from transfer_keras.advice.budget import Budget
from transfer_keras.advice.first_answer import check_pictures
from transfer_keras.config import make_experiment


@pytest.fixture
def pictures(tmp_path):
    """Makes two classes, of which one has a validation picture among those to train on."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for label in ("cats", "dogs"):
            folder = tmp_path / "my pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                small = Image.fromarray(rng.integers(30, 200, (6, 8, 3)).astype(np.uint8))
                small.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    shutil.copy(
        tmp_path / "my pictures/val/cats/1.png", tmp_path / "my pictures/train/cats/copy.png"
    )
    return tmp_path / "my pictures"


def said(dataset, seconds=600.0, **settings):
    lines = []
    experiment = make_experiment(["baseB"], dataset=dataset, **settings)
    found = check_pictures(experiment, Budget(seconds, time.monotonic()), lines.append)
    return found, lines


def test_a_leak_is_told_with_what_to_do(pictures):
    (found,), lines = said(f"folder:{pictures}")
    assert found.startswith("On both sides of the division: 2, as train/cats/copy.png = ")
    assert lines == [
        found,
        "See them, and make a list for --leave_out: python -m transfer_keras.check_pictures "
        f"--fix=list '--dataset=folder:{pictures}'",
    ]


def test_what_is_left_out_is_told_no_more(pictures, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("train/cats/copy.png\n")
    assert said(f"folder:{pictures}", leave_out=str(path)) == ([], [])


def test_other_datasets_are_not_looked_at():
    assert said("cifar10") == ([], [])


def test_without_time_it_says_how_many_were_seen(pictures):
    found, lines = said(f"folder:{pictures}", seconds=0.0)
    assert found == []
    assert lines == ["In the time that there is, 0 of 13 pictures were checked for copies."]
