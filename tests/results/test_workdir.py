import pytest
from support.rows import make_row, write

from transfer_keras import results
from transfer_keras.config.errors import UserError


def test_round_trip(tmp_path):
    row = make_row()
    assert not results.is_done(tmp_path, "A3B")
    write(tmp_path, row, [1, 1, 0, 1])
    assert not results.is_done(tmp_path, "A3B")
    results.network_path(tmp_path, "A3B").touch()
    assert results.is_done(tmp_path, "A3B")
    assert results.done(tmp_path) == ["A3B"]
    assert results.read_row(tmp_path, "A3B") == row
    label, predicted = results.read_answers(tmp_path, "A3B")
    assert (label == predicted).tolist() == [True, True, False, True]
    assert sorted(p.name for p in (tmp_path / "A3B").iterdir()) == [
        "network.keras",
        "predictions.npz",
        "row.json",
    ]
    (tmp_path / "A3B" / "row.json").write_text("{")
    with pytest.raises(UserError, match=r"row.json cannot be read .*train it again"):
        results.read_row(tmp_path, "A3B")


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x" / "file.txt"
    results.write_text(path, "old")

    def stopped_in_the_middle():
        with results.whole(path) as partial:
            partial.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_in_the_middle()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_workdir_of_another_experiment(tmp_path):
    identity = {"seed": 0, "steps": 100, "dataset": "cifar10"}
    results.check_workdir(tmp_path / "new", identity)
    assert not (tmp_path / "new").exists()
    data = {"dataset": "cifar10/3.0.2", "A": ["cat", "dog"]}
    results.write_experiment(tmp_path, identity, data=data, versions={"keras": "3"})
    before = (tmp_path / "experiment.json").read_bytes()
    results.check_workdir(tmp_path, identity)
    with pytest.raises(UserError) as error:
        results.check_workdir(tmp_path, {**identity, "steps": 200, "seed": 1})
    assert "seed is 0 there, 1 here; steps is 100 there, 200 here" in str(error.value)
    assert "dataset" not in str(error.value)
    results.write_experiment(tmp_path, identity, data=data, versions={"keras": "4"})
    with pytest.raises(UserError, match=r"trained on other data \(A differ\)"):
        results.write_experiment(tmp_path, identity, data={**data, "A": ["cat"]}, versions={})
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_workdir_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        results.check_workdir(tmp_path, {})
    with pytest.raises(UserError, match="is a file"):
        results.check_workdir(tmp_path / "thesis.tex", {})
    (tmp_path / "experiment.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        results.check_workdir(tmp_path, {})
