import dataclasses
import os
import pathlib
import shutil

import numpy as np
import pytest
from support.rows import make_row
from support.studies import SETTINGS, write_experiment, write_study

from transfer_keras.config import UserError
from transfer_keras.files import read_arrays, write_arrays
from transfer_keras.results import Workdir, study
from transfer_keras.results.comparison import TargetTask
from transfer_keras.results.page import write_report
from transfer_keras.results.roles import BASE, Role
from transfer_keras.results.study import Kind, check_study, read_study


def test_what_is_on_disk(tmp_path):
    write_study(tmp_path)
    write_experiment(
        tmp_path / "n", split="natural", seed=0, levels={"baseA": 0.5, "baseB": 0.5, "R2B": 0.1},
        outcomes={"R2B": "at chance"},
    )  # fmt: skip
    on_disk = read_study(tmp_path)
    assert on_disk.settings == SETTINGS
    assert len(on_disk.networks) == 4 * 26 + 3
    assert set(on_disk.runs) == {Kind("random"), Kind("natural")}
    assert set(on_disk.runs[Kind("random")].targets()) == {
        TargetTask(s, t) for s in "01" for t in "AB"
    }
    seeds = on_disk.runs[Kind("random")].by_seed(TargetTask("1", "A"))
    assert set(seeds) == {0, 1}
    result = seeds[1][Role("AnB+", 3)]  # Of target A, so it is B3A+.
    workdir = Workdir(tmp_path / "split1-seed1")
    assert result.top1 == workdir.row("B3A+").top1
    label, predicted = workdir.predictions("B3A+")
    assert np.array_equal(result.right, label == predicted)
    natural = on_disk.runs[Kind("natural")].by_seed(TargetTask("natural", "B"))[0]
    assert set(natural) == {BASE}, "a network that did not train is no result"
    assert [n.row.treatment for n in on_disk.networks if not n.trained] == ["R2B"]


def test_a_split_that_lists_classes_has_a_short_name(tmp_path):
    for name, classes in (("a", ["x", "y"]), ("b", ["x", "z"])):
        write_experiment(tmp_path / name, split=classes, seed=0, levels={"baseA": 0.5})
    names = {network.split for network in read_study(tmp_path).networks}
    assert len(names) == 2
    assert all(len(name) < 15 for name in names)


def test_one_workdir_is_a_study_too(tmp_path):
    write_experiment(tmp_path / "one", split="0", seed=0, levels={"baseB": 0.5})
    assert len(read_study(tmp_path / "one").networks) == 1


def test_experiments_of_other_settings_are_no_study(tmp_path):
    write_study(tmp_path, splits=["0"], seeds=[0])
    levels = {"baseA": 0.5}
    write_experiment(tmp_path / "z", split="1", seed=0, levels=levels, settings={"steps": 99})
    with pytest.raises(UserError, match="steps is 10 in split0-seed0 and 99 in z"):
        read_study(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"no experiment.json here or one folder below"):
        read_study(tmp_path)
    write_experiment(tmp_path / "one", split="0", seed=0, levels={})
    with pytest.raises(UserError, match="no network is done yet"):
        read_study(tmp_path)


@pytest.mark.parametrize("name", ["predictions.safetensors", "network.keras"])
def test_networks_of_which_a_file_was_removed(tmp_path, name):
    write_experiment(tmp_path / "one", split="0", seed=0, levels={"baseB": 0.5, "A2B": 0.4})
    assert not read_study(tmp_path).incomplete
    path = tmp_path / "one" / "A2B" / name
    path.unlink()
    read = read_study(tmp_path)
    assert read.incomplete == [path]
    assert [network.row.treatment for network in read.networks] == ["baseB"]
    text = write_report(tmp_path, tmp_path / "report")
    assert text.startswith(f"Left out, because a file is missing that was there: {path}\n")
    (tmp_path / "one" / "baseB" / name).unlink()
    with pytest.raises(UserError, match=rf"no network has all its files; .*A2B/{name} is missing"):
        read_study(tmp_path)


def test_experiments_whose_files_were_exchanged_are_named(tmp_path):
    write_study(tmp_path, splits=["0"], seeds=[0, 1])
    one, other = (tmp_path / name / "experiment.json" for name in ("split0-seed0", "split0-seed1"))
    texts = one.read_text(), other.read_text()
    one.write_text(texts[1])
    other.write_text(texts[0])
    says = r"experiment\.json do not belong together: seed is 0 here, 1 there\. Put back"
    with pytest.raises(UserError, match=says):
        read_study(tmp_path)


def test_rows_that_were_exchanged_are_named(tmp_path):
    """Though the networks are right as often."""
    for seed, loss in ((0, 0.5), (1, 0.25)):
        folder = tmp_path / f"split0-seed{seed}"
        write_experiment(folder, split="0", seed=seed, levels={"baseB": 1.1})
        workdir = Workdir(folder)
        row = dataclasses.replace(workdir.row("baseB"), loss=loss)
        label, predicted = workdir.predictions("baseB")
        workdir.write_predictions("baseB", {"label": label, "predicted": predicted}, loss)
        workdir.write_row(row)
    assert len(read_study(tmp_path).networks) == 2
    one, other = (tmp_path / f"split0-seed{seed}" / "baseB" / "row.json" for seed in (0, 1))
    one.write_bytes(other.read_bytes())
    with pytest.raises(
        UserError, match=r"row\.json do not belong together: loss is 0\.5 here, 0\.25"
    ):
        read_study(tmp_path)


def test_predictions_that_do_not_say_their_experiment_are_read(tmp_path):
    write_experiment(tmp_path / "one", split="0", seed=0, levels={"baseB": 0.5})
    path = tmp_path / "one" / "baseB" / "predictions.safetensors"
    write_arrays(path, read_arrays(path).arrays, {"treatment": "baseB"})
    assert len(read_study(tmp_path).networks) == 1


def test_what_lies_in_the_place_of_a_networks_files_is_named(tmp_path):
    write_experiment(tmp_path / "one", split="0", seed=0, levels={"baseB": 0.5, "A2B": 0.4})
    row = tmp_path / "one" / "A2B" / "row.json"
    row.rename(tmp_path / "row")
    row.symlink_to("nothing")
    with pytest.raises(UserError, match=r"A2B/row\.json: is no regular file, expected a file"):
        read_study(tmp_path)
    shutil.rmtree(row.parent)
    for make in (os.mkfifo, pathlib.Path.touch, lambda path: path.symlink_to("nothing")):
        make(row.parent)
        with pytest.raises(UserError, match="A2B: is no folder, expected that of a network"):
            read_study(tmp_path)
        row.parent.unlink()
    assert len(read_study(tmp_path).networks) == 1


def test_a_damaged_experiment(tmp_path):
    write_experiment(tmp_path / "one", split="0", seed=0, levels={"baseA": 0.5})
    (tmp_path / "one" / "experiment.json").write_text("{")
    with pytest.raises(UserError, match=r"one.experiment.json: is damaged"):
        read_study(tmp_path)


def test_two_of_the_same_split_and_seed(tmp_path):
    for name in ("a", "copy of a"):
        write_experiment(tmp_path / name, split="0", seed=0, levels={"baseA": 0.5})
    with pytest.raises(UserError, match="a and copy of a are of the same split, seed and num"):
        read_study(tmp_path)


def test_other_images_and_damaged_predictions(tmp_path):
    for seed in (0, 1):
        write_experiment(tmp_path / str(seed), split="0", seed=seed, levels={"baseA": 0.5})
    workdir = Workdir(tmp_path / "1")
    label, predicted = workdir.predictions("baseA")
    other_images = {"label": 1 - label, "predicted": 1 - predicted}
    workdir.write_predictions("baseA", other_images)
    with pytest.raises(UserError, match=r"1.baseA was tested on other images"):
        read_study(tmp_path)
    path = tmp_path / "1" / "baseA" / "predictions.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"predictions.safetensors: is damaged.*train it again"):
        read_study(tmp_path)


def test_fewer_examples_are_another_kind(tmp_path):
    for amount in (None, 5):
        write_experiment(
            tmp_path / str(amount), split="0", seed=0, levels={"baseA": 0.5, "baseB": 0.5},
            settings={"examples_per_class": amount},
        )  # fmt: skip
    on_disk = read_study(tmp_path)
    assert set(on_disk.runs) == {Kind("random"), Kind("random", 5)}
    assert [str(kind) for kind in on_disk.runs] == ["random, 5 a class", "random"]
    assert "examples_per_class" not in on_disk.settings


def test_whether_an_experiment_belongs_to_a_study(tmp_path):
    first, other = {**SETTINGS, "split": "0", "seed": 0}, {**SETTINGS, "split": "5", "seed": 7}
    check_study(tmp_path / "none", {"split0-seed0": first})
    write_study(tmp_path, splits=["0"], seeds=[0])
    check_study(tmp_path, {"split0-seed0": first, "split5-seed7": other})
    with pytest.raises(UserError, match="steps is 10 in split0-seed0 and 9 in what is asked for"):
        check_study(tmp_path, {"split0-seed0": {**first, "steps": 9}})
    with pytest.raises(UserError, match="is the workdir of one experiment"):
        check_study(tmp_path / "split0-seed0", {"split0-seed0": first})
    with pytest.raises(UserError, match="split0-seed0 and a are the same classes, seed and number"):
        check_study(tmp_path, {"a": first})
    with pytest.raises(UserError, match="a and b are the same classes"):
        check_study(tmp_path, {"a": other, "b": other})
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: is a file\. Give a folder"):
        check_study(tmp_path / "file", {"a": first})


@pytest.mark.parametrize(("tests", "best"), [(2, 1), (45, 1), (450, 10), (900, 20)])
def test_the_best_tests_are_10_of_450(tests, best):
    top1 = np.random.default_rng(0).random(tests)
    row = make_row(validation=tuple((i, 0.1, value) for i, value in enumerate(top1)))
    assert study.best_tests(row) == pytest.approx(np.mean(np.sort(top1)[-best:]))
