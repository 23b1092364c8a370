"""What is promised of the recommended network on other pictures."""

import json
import shutil

import keras
import numpy as np
import pytest
from support.donor_studies import levels_at, make_runs
from support.networks import write_pictures

from transfer_keras.advice import accuracy
from transfer_keras.datasets import Preprocessing, TaskPair
from transfer_keras.results import (
    BALANCED,
    TOP1,
    Interval,
    NetworkResult,
    Role,
    Runs,
    TargetTask,
    accuracy_of_choice,
)

REACHED = Interval(0.7, 0.5, 0.9)
SMALL = Preprocessing(24, 24, augment=False)


@pytest.fixture
def held_out(tmp_path):
    write_pictures(tmp_path / "all")
    for number, split in enumerate(("train", "val", "test")):
        for folder in (tmp_path / "all").iterdir():
            target = tmp_path / "set" / split / folder.name
            target.mkdir(parents=True)
            for path in sorted(folder.iterdir())[4 * number : 4 * number + 4]:
                shutil.copy(path, target)
    return TaskPair(f"folder:{tmp_path / 'set'}", None, "donor").held_out("B", SMALL)


def save_constant(path, place):
    """A network that always answers with one class."""
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    x = keras.layers.Dense(3, kernel_initializer="zeros", name="out")(x)
    model = keras.Model(inputs, x)
    model.get_layer("out").bias.assign(np.eye(3)[place])
    model.save(path)


def test_it_is_measured_on_pictures_that_nothing_was_chosen_by(tmp_path, held_out):
    save_constant(tmp_path / "best.keras", 1)
    found = accuracy.accuracy_on_held_out(tmp_path, tmp_path / "best.keras", held_out, 5, TOP1)
    assert found.value == pytest.approx(4 / 12)
    assert found.low < 0.2 < 0.5 < found.high
    assert found.basis == "measured on the 12 pictures in test/, which nothing was chosen by"
    assert str(found) == f"0.333 (95 % {found.low:.3f} to {found.high:.3f})"


def test_where_classes_are_uneven_each_counts_the_same(tmp_path, held_out):
    for path in sorted((tmp_path / "set" / "test" / "right").iterdir())[1:]:
        path.write_bytes(b"no picture")
    save_constant(tmp_path / "best.keras", 1)
    top1, balanced = (
        accuracy.accuracy_on_held_out(tmp_path, tmp_path / "best.keras", held_out, 5, measure)
        for measure in (TOP1, BALANCED)
    )
    assert top1.value == pytest.approx(1 / 9)
    assert balanced.value == pytest.approx(1 / 3)
    assert json.loads((tmp_path / "test.json").read_text())[BALANCED][0] == balanced.value


def test_it_says_what_could_not_be_decoded_and_that_it_was_opened_before(tmp_path, held_out):
    broken = next((tmp_path / "set" / "test").rglob("*.png"))
    broken.write_bytes(b"no picture")
    save_constant(tmp_path / "best.keras", 2)
    for _ in range(2):
        found = accuracy.accuracy_on_held_out(tmp_path, tmp_path / "best.keras", held_out, 5, TOP1)
    assert found.basis.startswith("measured on the 11 pictures in test/")
    assert "; 1 that are there cannot be decoded; a network was tested there 1 times before" in (
        found.basis
    )


def test_without_them_the_choice_is_repeated():
    runs = make_runs(levels_at([3, 6]), seeds=2, noise=0.05)
    found = accuracy.accuracy_of_advice(runs, REACHED)
    best = Role("AnB+", 6)
    top1 = [result.top1 for result in runs.of(best)]
    assert found.low < found.value < max(top1) + 0.005
    alone = accuracy_of_choice([np.array([result.right for result in runs.of(best)])], REACHED)
    assert found.value == pytest.approx(alone.estimate, abs=0.01)
    assert "validation pictures" in found.basis


@pytest.mark.parametrize("right", [None, np.array([True])])
def test_nothing_is_promised_where_nothing_is_known(right):
    runs = Runs({TargetTask("donor", "B"): {0: {Role("AnB", 1): NetworkResult(1.0, right)}}})
    assert accuracy.accuracy_of_advice(runs, REACHED) is None
