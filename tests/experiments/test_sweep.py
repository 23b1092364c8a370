"""The estimate of a sweep's time, from trainings that were never run."""

from transfer_keras.config import duration, make_experiment
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.experiments import sweep, timing
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.sweep import estimate_sweep, workdir_in
from transfer_keras.training.monitors.stopwatch import TrainingTimes


def times(steps, passes):
    one = TrainingTimes()
    one.steps, one.passes = steps, passes
    return one


def finish(workdir, name):
    """Writes the files of a network that is done."""
    (workdir / name).mkdir(parents=True)
    for file in ("row.json", "network.keras", "predictions.safetensors"):
        (workdir / name / file).touch()


def experiment(**changes):
    fields = {
        "treatments": (parse_treatment("A2B"), parse_treatment("B2A")),
        "steps": 1000,
        "validations": 10,
    }
    return make_experiment(**{**fields, **changes})


def test_the_estimate(monkeypatch, tmp_path, capsys):
    """Two experiments, whose target tasks differ in size, so their groups do; one group is done."""
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

    def run(short, workdir, *, log, monitors):
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
    estimate_sweep(both, tmp_path)
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
