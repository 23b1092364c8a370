"""The table of a plan: its groups, and which of their networks are on disk."""

import pytest
from support.rows import make_row, write

from transfer_keras.config import combine_treatments, make_experiment
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.results import Workdir


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"group_memory": 40.0}, "as many as fit 40.0 GiB (--group_memory)."),
        ({"group_size": 30}, "groups of at most 30 (--group_size)."),
    ],
)
def test_plan(tmp_path, changes, limit):
    treatments = combine_treatments(range(1, 8), ["frozen", "fine_tune"], ["other", "self"], "B")
    experiment = make_experiment(treatments, **changes)
    workdir = Workdir(tmp_path)
    for name in ("baseA", "A1B"):
        write(tmp_path, make_row(treatment=name), [1])
        workdir.network_path(name).touch()
    plan = plan_table(experiment, {"A": range(5), "B": range(5)}, workdir)
    *lines, total = plan.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        ["1", "A", "baseA"],
        ["2", "B", "baseB"],
        ["3", "B", "A1B,"],
    ]
    assert lines[2].endswith("on disk")
    assert lines[3].endswith("to train")
    assert lines[4].endswith("27 to train")
    assert "A1B, …, B7B+ (28)" in lines[4]
    assert total.startswith("30 networks of ")
    assert "in 3 passes over the data of 1,400 steps each" in total
    assert total.endswith(limit)
