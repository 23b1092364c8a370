"""The estimate of time, from trainings that were never run."""

import types

import pytest

from transfer_keras.config import duration, make_experiment
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.experiments import sweep, timing
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.sweep import plan_sweep, workdir_in
from transfer_keras.experiments.timing import count_test_passes
from transfer_keras.training.monitors.stopwatch import Stopwatch, TrainingTimes


def times(steps, passes):
    one = TrainingTimes()
    one.steps, one.passes = steps, passes
    return one


def finish(workdir, name):
    """Leaves the files of a network that is done."""
    (workdir / name).mkdir(parents=True)
    for file in ("row.json", "network.keras", "predictions.npz"):
        (workdir / name / file).touch()


def experiment(**changes):
    fields = {
        "treatments": (parse_treatment("A2B"), parse_treatment("B2A")),
        "steps": 1000,
        "validations": 10,
    }
    return make_experiment(**{**fields, **changes})


@pytest.mark.parametrize("steps", [1, 7, 100, 1001])
@pytest.mark.parametrize("validations", [1, 3, 20])
@pytest.mark.parametrize("metrics_every", [0, 1, 13, None])
def test_passes_by_brute_force(steps, validations, metrics_every):
    settings = experiment(steps=steps, validations=validations, metrics_every=metrics_every)
    every, looks = settings.training.validate_every, settings.execution.metrics_every
    tested = [s for s in range(1, steps + 1) if s % every == 0 or s == steps]
    looked = [s for s in range(1, steps + 1) if looks and (s % looks == 0 or s == steps)]
    assert count_test_passes(settings) == len({*tested, *looked})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (29, "29 s"), (31, "1 min"), (3600, "1 h"), (3661, "1 h 1 min"),
     (90061, "1 d 1 h 1 min"), (86400 * 3, "3 d")],
)  # fmt: skip
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_times_of_a_training():
    found = times([9.0, 1.0, 3.0, 2.0], {0: 5.0, 6: 4.0, 12: 0.5})
    assert (found.step_seconds, found.test_seconds) == (2.0, 0.5)
    assert times([9.0], {1: 2.0}).step_seconds == 9.0


def test_stopwatch(monkeypatch):
    """Measurements and tests of one step are one pass; what lies before the beginning is not."""
    clock = iter([100.0, 101.0, 101.5, 104.0, 105.0, 105.25])
    module = types.SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("transfer_keras.training.monitors.stopwatch.time", module)
    watch = Stopwatch()
    watch.on_train_begin(0)
    watch.on_log(1, {})
    watch.on_log(2, {})
    watch.on_unit_metrics(2, None)
    watch.on_test_end(2, {})
    watch.on_log(3, {})
    (found,) = watch.trainings
    assert found.steps == [1.0, 0.5, 0.25]
    assert found.passes == {2: 3.5}


def test_the_estimate(monkeypatch, tmp_path, capsys):
    """Two experiments, whose halves differ in size and so in their groups; one group is done."""
    settings = {"network": "alexnet", "group_memory": 8.0, "metrics_every": 0}
    treatments = tuple(parse_treatment(f"A{n}B") for n in range(1, 6))
    both = [experiment(treatments=treatments, split=s, **settings) for s in ("0", "natural")]
    sizes = {
        "0": {"A": range(500), "B": range(500)},
        "natural": {"A": range(10), "B": range(10**5)},
    }

    class Pair:
        def __init__(self, split):
            self.tasks, self.at_hand = sizes[split], True

    monkeypatch.setattr(sweep, "open_tasks", lambda e, **_: Pair(e.data.split))
    groups = {e: plan_experiment(e, sizes[e.data.split]) for e in both}
    assert groups[both[0]] != groups[both[1]]

    def run(short, workdir, *, data, log, monitors):
        assert (short.training.steps, short.training.validations) == (12, 2)
        assert not short.execution.probes
        kind = next(e for e in both if e.data.split == short.data.split)
        monitors[0].trainings += [times([50.0, 2.0, 2.0], {6: 9.0, 12: 3.0}) for _ in groups[kind]]

    monkeypatch.setattr(timing, "run_experiment", run)
    clock = iter([0.0, 40.0, 100.0, 160.0])  # 40 and 60 s for the short runs.
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(clock))
    workdir = workdir_in(tmp_path, both[1])
    for treatment in both[1].all_treatments:
        if treatment.name != "baseB":
            finish(workdir, treatment.name)
    plan_sweep(both, tmp_path)
    count = len(groups[both[0]])
    of_group = (1000 - 12) * 2 + (10 - 2) * 3
    first, second = 40 + count * of_group, 60 / len(groups[both[1]]) + of_group
    text = capsys.readouterr().out
    for variant, seconds in (
        ("split 0", first),
        ("split natural", second),
        ("all", first + second),
    ):
        (line,) = [line for line in text.splitlines() if line.startswith(variant) and "  " in line]
        assert line.endswith(f"  {duration(seconds)}"), text
