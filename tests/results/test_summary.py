import math
import os

import numpy as np
import pytest
from support.rows import make_row, write

from transfer_keras.config import UserError, parse_treatment
from transfer_keras.results import Workdir, summary
from transfer_keras.results.figures import curve


def test_table(tmp_path):
    base = make_row(treatment="baseB", donor=None, n=0, mode="base", top1=0.5, seconds=9)
    write(tmp_path, base, [1, 0, 1, 0])
    write(tmp_path, make_row(), [1, 1, 1, 0])
    lines = summary.result_table(
        Workdir(tmp_path), [parse_treatment("baseB"), parse_treatment("A3B")]
    ).splitlines()
    assert lines[0].split("  ")[0] == "treatment"
    assert lines[2].split() == ["baseB", "0.500", "0:09"]
    assert lines[3].startswith("A3B        0.750  +25.0 points from baseB [")
    assert lines[3].endswith("1:23")


def test_curve(tmp_path, monkeypatch):
    base = make_row(treatment="baseB", donor=None, n=0, mode="base", top1=0.5)
    write(tmp_path, base, [1, 0, 1, 0])
    path = tmp_path / "curve.png"
    assert not summary.draw_curve(Workdir(tmp_path), [parse_treatment("baseB")], title="t")
    answers = {"A3B": [1, 1, 1, 0], "A2B": [1, 0, 1, 0], "B3B+": [0, 0, 0, 0], "R1B": [0, 0, 1, 0]}
    for name, right in answers.items():
        treatment = parse_treatment(name)
        fields = {"donor": treatment.donor, "n": treatment.n, "mode": treatment.mode}
        row = make_row(treatment=name, top1=np.mean(right), **fields)
        write(tmp_path, row, right)
    seen = []
    monkeypatch.setattr(
        curve, "draw", lambda panels, path, **text: path.touch() or seen.append(panels)
    )
    names = ["baseB", *answers]
    assert summary.draw_curve(Workdir(tmp_path), [*map(parse_treatment, names)], title="t")
    (panel,) = seen[0]
    assert (panel.target, panel.base) == ("B", 0.5)
    points_by_family = {
        label: [(p.n, p.top1) for p in points] for label, points in panel.series.items()
    }
    assert points_by_family == {
        "AnB": [(3, 0.75), (2, 0.5)],
        "BnB+": [(3, 0.0)],
        "RnB": [(1, 0.25)],
    }
    assert all(p.low < p.top1 - 0.5 < p.high for points in panel.series.values() for p in points)
    monkeypatch.undo()
    summary.draw_curve(Workdir(tmp_path), [*map(parse_treatment, names)], title="t")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_curve_is_drawn_again_only_if_results_changed(tmp_path):
    """Whatever the time of the file: clocks of machines differ."""
    workdir, treatments = Workdir(tmp_path), [parse_treatment("A3B")]
    write(tmp_path, make_row(), [1, 0, 1, 1])

    def is_drawn(title="t"):
        return summary.is_curve_drawn(workdir, treatments, title=title)

    assert not is_drawn()
    summary.draw_curve(workdir, treatments, title="t")
    assert is_drawn()
    assert not is_drawn("another title")
    os.utime(tmp_path / "curve.png", (2**33, 2**33))
    assert is_drawn()
    write(tmp_path, make_row(top1=0.5), [1, 0, 1, 0])
    assert not is_drawn()
    summary.draw_curve(workdir, treatments, title="t")
    path = tmp_path / "curve.png"
    path.write_bytes(path.read_bytes()[:-300])
    assert not is_drawn()


def test_failures_have_a_line_each(tmp_path):
    base = make_row(treatment="baseB", donor=None, n=0, mode="base", outcome="diverged", loss=None)
    write(tmp_path, base, [1, 0, 1, 0])
    flat = make_row(outcome="at chance", training_loss=0.69, group=21, seconds=351)
    write(tmp_path, flat, [1, 0, 1, 0])
    write(tmp_path, make_row(treatment="A2B"), [1, 0, 1, 0])
    treatments = [parse_treatment(name) for name in ("baseB", "A2B", "A3B")]
    lines = summary.failure_lines(Workdir(tmp_path), treatments)
    assert [line.split()[0] for line in lines] == ["baseB", "A3B"]
    assert "diverged: its loss is no number" in lines[0]
    assert "at chance: its training loss ended at 0.690" in lines[1]
    assert f"looks at no image costs {math.log(2):.3f}" in lines[1]
    table = summary.result_table(Workdir(tmp_path), treatments).splitlines()
    assert "diverged" in table[2]
    assert "at chance" not in table[3]
    assert table[4].endswith("at chance  5:51 for 21")


def test_networks_tested_on_other_images_are_not_compared(tmp_path):
    write(tmp_path, make_row(treatment="baseB"), [1, 0, 1, 0])
    write(tmp_path, make_row(), [1, 1, 1, 0])
    other_images = {"label": np.array([0, 0, 0, 1]), "predicted": np.zeros(4, int)}
    Workdir(tmp_path).write_predictions("A3B", other_images)
    with pytest.raises(UserError, match="A3B and baseB were tested on other images"):
        summary.result_table(Workdir(tmp_path), [parse_treatment("A3B")])
