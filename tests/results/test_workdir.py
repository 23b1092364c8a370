import os

import pytest
from support.rows import make_row, write

from transfer_keras.config import UserError, parse_treatment
from transfer_keras.files import write_text, write_whole
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


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x" / "file.txt"
    write_text(path, "old")

    def stopped_in_the_middle():
        with write_whole(path) as partial:
            partial.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_in_the_middle()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


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
