import numpy as np
import pytest

from transfer_keras import results, summary
from transfer_keras.errors import UserError
from transfer_keras.figures import curve
from transfer_keras.treatments import parse


def make_row(**changes):
    fields = {
        "treatment": "A3B",
        "donor": "A",
        "n": 3,
        "target": "B",
        "mode": "frozen",
        "top1": 0.75,
        "loss": 0.5,
        "test_images": 4,
        "classes": 2,
        "steps": 10,
        "seconds": 83.4,
        "parameters": 100,
        "trainable_parameters": 40,
        "validation": ((5, 0.6, 0.5), (10, 0.5, 0.75)),
    }
    return results.Row(**{**fields, **changes})


def predictions(right):
    right = np.asarray(right)
    return {"label": np.zeros(right.size, np.int32), "predicted": 1 - right.astype(np.int32)}


def test_round_trip(tmp_path):
    row = make_row()
    assert not results.is_done(tmp_path, "A3B")
    results.write_row(tmp_path, row, predictions([1, 1, 0, 1]))
    assert not results.is_done(tmp_path, "A3B")
    results.network_path(tmp_path, "A3B").touch()
    assert results.is_done(tmp_path, "A3B")
    assert results.done(tmp_path) == ["A3B"]
    assert results.read_row(tmp_path, "A3B") == row
    assert results.read_right(tmp_path, "A3B").tolist() == [True, True, False, True]
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


def test_table(tmp_path):
    base = make_row(treatment="baseB", donor=None, n=0, mode="base", top1=0.5, seconds=9)
    results.write_row(tmp_path, base, predictions([1, 0, 1, 0]))
    results.write_row(tmp_path, make_row(), predictions([1, 1, 1, 0]))
    lines = summary.table(tmp_path, [parse("baseB"), parse("A3B")]).splitlines()
    assert lines[0].split("  ")[0] == "treatment"
    assert lines[2].split() == ["baseB", "0.500", "0:09"]
    assert lines[3].startswith("A3B        0.750  +25.0 points from baseB [")
    assert lines[3].endswith("1:23")


def test_curve(tmp_path, monkeypatch):
    base = make_row(treatment="baseB", donor=None, n=0, mode="base", top1=0.5)
    results.write_row(tmp_path, base, predictions([1, 0, 1, 0]))
    assert summary.draw_curve(tmp_path, [parse("baseB")], title="t") is None
    wanted = {"A3B": [1, 1, 1, 0], "A2B": [1, 0, 1, 0], "B3B+": [0, 0, 0, 0], "R1B": [0, 0, 1, 0]}
    for name, right in wanted.items():
        treatment = parse(name)
        fields = {"donor": treatment.donor, "n": treatment.n, "mode": treatment.mode}
        row = make_row(treatment=name, top1=np.mean(right), **fields)
        results.write_row(tmp_path, row, predictions(right))
    seen = []
    monkeypatch.setattr(
        curve, "draw", lambda panels, path, title: path.touch() or seen.append(panels)
    )
    names = ["baseB", *wanted]
    assert summary.draw_curve(tmp_path, map(parse, names), title="t") == tmp_path / "curve.png"
    (panel,) = seen[0]
    assert (panel.target, panel.base) == ("B", 0.5)
    found = {label: [(p.n, p.top1) for p in points] for label, points in panel.series.items()}
    assert found == {
        "transfer, frozen": [(3, 0.75), (2, 0.5)],
        "selffer, fine-tuned": [(3, 0.0)],
        "random, frozen": [(1, 0.25)],
    }
    assert all(p.low < p.top1 - 0.5 < p.high for points in panel.series.values() for p in points)
    monkeypatch.undo()
    summary.draw_curve(tmp_path, map(parse, names), title="t")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
