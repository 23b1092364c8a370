import os
import shutil

import numpy as np
import pytest
from support.rows import make_row, write

from transfer_keras.config import UserError, parse_treatment
from transfer_keras.files import write_arrays
from transfer_keras.results import Workdir


def test_round_trip(tmp_path):
    row = make_row()
    workdir = Workdir(tmp_path)
    assert not workdir.is_done("A3B")
    write(tmp_path, row, [1, 1, 0, 1], network=False)
    assert not workdir.is_done("A3B")
    workdir.network_path("A3B").touch()
    assert workdir.is_done("A3B")
    assert workdir.done == ["A3B"]
    assert workdir.row("A3B") == row
    label, predicted = workdir.predictions("A3B")
    assert (label == predicted).tolist() == [True, True, False, True]
    assert sorted(p.name for p in (tmp_path / "A3B").iterdir()) == [
        "network.keras",
        "predictions.safetensors",
        "row.json",
    ]
    (tmp_path / "A3B" / "row.json").write_text("{")
    with pytest.raises(UserError, match=r"row.json: is damaged.*train it again"):
        workdir.row("A3B")


def test_workdir_of_another_experiment(tmp_path):
    workdir = Workdir(tmp_path)
    identity = {"seed": 0, "steps": 100, "dataset": "cifar10"}
    Workdir(tmp_path / "new").check(identity)
    assert not (tmp_path / "new").exists()
    data = {"dataset": "cifar10/3.0.2", "A": ["cat", "dog"]}
    workdir.write_facts(identity, data=data, versions={"keras": "3"})
    before = (tmp_path / "experiment.json").read_bytes()
    workdir.check(identity)
    with pytest.raises(UserError) as error:
        workdir.check({**identity, "steps": 200, "seed": 1})
    assert "seed is 0 there, 1 here; steps is 100 there, 200 here" in str(error.value)
    assert "dataset" not in str(error.value)
    workdir.write_facts(identity, data=data, versions={"keras": "4"})
    with pytest.raises(UserError, match=r"trained on other data \(A differ\)"):
        workdir.write_facts(identity, data={**data, "A": ["cat"]}, versions={})
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_workdir_of_something_else(tmp_path):
    workdir = Workdir(tmp_path)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        workdir.check({})
    with pytest.raises(UserError, match="is a file"):
        Workdir(tmp_path / "thesis.tex").check({})
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        workdir.check({})


def test_what_is_missing_keeps_its_order(tmp_path):
    workdir = Workdir(str(tmp_path))
    assert (workdir.path, str(workdir), workdir / "x") == (tmp_path, str(tmp_path), tmp_path / "x")
    treatments = [parse_treatment(name) for name in ("baseB", "A3B+", "A3B")]
    assert workdir.missing(treatments) == treatments
    write(workdir.path, make_row(treatment="A3B+"), [1], network=False)
    assert workdir.missing(treatments) == treatments, "its network is not written yet"
    workdir.network_path("A3B+").touch()
    assert workdir.missing(treatments) == [treatments[0], treatments[2]]


def test_groups_in_training(tmp_path):
    workdir = Workdir(tmp_path)
    assert workdir.groups == workdir.checkpoint_folders == []
    finished, running = ("baseB",), ("A3B", "A3B+")
    for names in (finished, running):
        assert workdir.begin_group(names) == workdir.group_folder(names)
    assert set(workdir.groups) == {finished, running}
    write(tmp_path, make_row(treatment="baseB"), [1])
    workdir.network_path("baseB").touch()
    # A removal that was cut short has removed the names first.
    cut_short = workdir.group_folder(["A5B"])
    cut_short.mkdir()
    workdir.clean_up(print)
    assert workdir.checkpoint_folders == [workdir.group_folder(running)]
    workdir.remove_group(running)
    workdir.remove_group(running)
    assert workdir.checkpoint_folders == []


def test_files_of_others_are_left(tmp_path):
    workdir, lines = Workdir(tmp_path), []
    folder = workdir.begin_group(["A3B", "A3B+"])
    features = workdir.features_folder(["A3B", "A3B+"]) / "0123abcd"
    features.mkdir(parents=True)
    own = [folder / "0000000010.safetensors", folder / ".lock", features / "00ff.features"]
    others = [
        tmp_path / "checkpoints" / ".DS_Store", tmp_path / "checkpoints" / "notes" / "ideas.txt",
        tmp_path / "A3B" / "mine.txt", tmp_path / "A3B" / "photographs" / "row.json",
    ]  # fmt: skip
    network = tmp_path / "A3B" / "network.keras"
    for path in (*own, *others, network):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    workdir.clear_treatment("A3B")
    assert not network.exists()
    for name in ("A3B", "A3B+"):
        write(tmp_path, make_row(treatment=name), [1])
        workdir.network_path(name).touch()
    workdir.clean_up(lines.append)
    assert not folder.exists()
    workdir.remove_group(["A3B", "A3B+"])
    assert all(path.read_text() == "x" for path in others)

    # In the folder of a group itself.
    folder = workdir.begin_group(["A3B"])
    (folder / "mine.npz").write_text("x")
    workdir.clean_up(lines.append)
    assert [path.name for path in folder.iterdir()] == ["mine.npz"]
    assert not lines


@pytest.mark.parametrize("text", ["{", "[]", '["A4B"]', '["A3B", 1]', '"A3B"', '["../../x"]'])
def test_a_damaged_group_is_planned_again(tmp_path, text):
    workdir, lines = Workdir(tmp_path), []
    folder = workdir.begin_group(["A3B"])
    (folder / "0000000010.safetensors").write_text("")
    (folder / "group.json").write_text(text)
    with pytest.raises(UserError, match=r"group.json: (is damaged|names other)"):
        workdir.groups  # noqa: B018
    workdir.clean_up(lines.append)
    (line,) = lines
    assert "renamed to group.json.damaged, and the group is planned again" in line
    assert workdir.groups == []
    workdir.clean_up(lines.append)
    assert workdir.begin_group(["A3B"]) == folder
    assert (folder / "0000000010.safetensors").exists(), "it goes on from there"
    assert workdir.groups == [("A3B",)]
    workdir.remove_group(["A3B"])
    assert not folder.exists()
    assert len(lines) == 1


def test_a_damaged_row(tmp_path):
    workdir = Workdir(tmp_path)
    write(tmp_path, make_row(treatment="A3B"), [1])
    path = tmp_path / "A3B" / "row.json"
    sound = path.read_text()
    for old, new in {
        '"A3B"': '"A4B"', '"frozen"': '"melted"', '"top1": 1.0': '"top1": 7.0',
        '"n": 3': '"n": null', '"n": 3,': '"n": 2,', '"steps": 10': '"steps": ' + "9" * 400,
        '"steps": ': '"steps": -', '"trained"': '"tired"', '"validation": [': '"validation": [[]',
    }.items():  # fmt: skip
        assert old in sound
        path.write_text(sound.replace(old, new))
        with pytest.raises(UserError, match=r"row.json: is .*Remove its folder to train it again"):
            workdir.row("A3B")


def test_predictions_of_another_row(tmp_path):
    workdir, row = Workdir(tmp_path), make_row(classes=2)
    for label, predicted, found in (
        ([0, 1], [0, 3], "classes that are none of the 2"),
        ([0, 1], [0, -1], "classes that are none of the 2"),
        ([0, 1], [1, 0], "other predictions than those of the row"),
        ([0, 1, 1], [0, 1, 1], "no label and prediction of each image"),
        ([0.0, 1.0], [0, 1], "no label and prediction of each image"),
    ):
        write(tmp_path, row, [1, 1])
        arrays = {"label": np.array(label), "predicted": np.array(predicted)}
        workdir.write_predictions("A3B", arrays)
        with pytest.raises(UserError, match=found):
            workdir.predictions("A3B")
    write(tmp_path, make_row(treatment="A2B"), [1, 1])
    path = tmp_path / "A3B" / "predictions.safetensors"
    shutil.copy(tmp_path / "A2B" / path.name, path)
    with pytest.raises(UserError, match="holds the predictions of another network"):
        workdir.predictions("A3B")
    write_arrays(path, {"label": np.array([0, 1])})
    with pytest.raises(UserError, match="no label and prediction of each image"):
        workdir.predictions("A3B")


def test_folders_where_files_are_to_be_written(tmp_path):
    workdir, treatments = Workdir(tmp_path), [parse_treatment("A3B")]
    workdir.check_places(treatments)
    for name in ("row.json", "network.keras", "predictions.safetensors", "filters.png"):
        folder = tmp_path / "A3B" / name
        folder.mkdir(parents=True)
        found = "a folder" if name == "filters.png" else "no regular file"
        with pytest.raises(UserError, match=rf"{name}: is {found}, expected a file\. Move it"):
            workdir.check_places(treatments)
        folder.rmdir()
    for name in ("run.flags", "curve.png"):
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=rf"{name}: is a folder, expected a file\. Move it"):
            workdir.check_places(treatments)
        (tmp_path / name).rmdir()
    os.mkfifo(tmp_path / "A3B" / "row.json")
    with pytest.raises(UserError, match=r"row\.json: is no regular file"):
        workdir.missing(treatments)
    (tmp_path / "A3B" / "row.json").unlink()
    lock = workdir.begin_group(["A3B"]) / ".lock"
    os.mkfifo(lock)
    with pytest.raises(UserError, match=r"\.lock: is no regular file.* Remove it if no"):
        workdir.check_places(treatments)
    lock.unlink()
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").touch()
    with pytest.raises(UserError, match="checkpoints: is no folder"):
        workdir.check_places(treatments)
    (tmp_path / "checkpoints").unlink()
    (tmp_path / "A3B").rmdir()
    (tmp_path / "A3B").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="A3B: is a link, expected a folder"):
        workdir.check_places(treatments)


def test_pixels_are_measured_once_and_again_if_damaged(tmp_path):
    workdir, measured, lines = Workdir(tmp_path), [], []

    def pixels(mean=0.25, variance=(1.0, 2.0, 3.0)):
        def measure():
            measured.append(mean)
            return {"mean": np.full(3, mean), "variance": np.array(variance)}

        return workdir.pixels("A", measure, lines.append)

    assert pixels()["mean"].tolist() == pixels(0.75)["mean"].tolist() == [0.25] * 3
    path = tmp_path / "pixels-A.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert pixels(0.5)["mean"][0] == 0.5
    write_arrays(path, {"mean": np.full(4, 0.25), "variance": np.ones(3)})
    assert pixels(0.125)["mean"][0] == 0.125
    assert measured == [0.25, 0.5, 0.125]
    assert all("and the pixels are measured again" in line for line in lines)
    assert len(lines) == 2


def test_files_of_version_0_1_0(tmp_path):
    workdir = Workdir(tmp_path)
    write(tmp_path, make_row(), [1, 0])
    workdir.network_path("A3B").touch()
    written = workdir.predictions("A3B")
    path = tmp_path / "A3B" / "predictions.safetensors"
    np.savez_compressed(path.with_suffix(".npz"), label=written[0], predicted=written[1])
    path.unlink()
    assert workdir.is_done("A3B")
    assert np.array_equal(workdir.predictions("A3B"), written)
    np.savez_compressed(tmp_path / "pixels-A.npz", mean=np.ones(3), variance=np.ones(3))
    assert workdir.pixels("A", None, None)["mean"].tolist() == [1, 1, 1]


def test_a_lock_that_is_no_file(tmp_path):
    workdir, precious = Workdir(tmp_path), tmp_path / "precious"
    precious.write_text("mine")
    lock = tmp_path / ".lock"
    for make in (lambda: lock.symlink_to(precious), lock.mkdir, lambda: os.mkfifo(lock)):
        make()
        for use in (workdir.check_lock, lambda: workdir.lock(log=print).__enter__()):
            with pytest.raises(UserError, match=r"\.lock: is .*Remove it"):
                use()
        lock.rmdir() if lock.is_dir() and not lock.is_symlink() else lock.unlink()
    assert precious.read_text() == "mine"


def test_one_process_at_a_time(tmp_path):
    workdir, lines = Workdir(tmp_path), []
    workdir.check_lock()
    with workdir.lock(log=lines.append):
        assert f"process {os.getpid()} on" in (workdir / ".lock").read_text()
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()} .*Wait for it"):
            workdir.check_lock()
    workdir.check_lock()
    assert lines == []
    (workdir / ".lock").write_text("process 1 on a machine that died")
    with workdir.lock(log=lines.append):
        pass
    (line,) = lines
    assert "process 1 on a machine that died, was cut off; going on from what it left" in line
