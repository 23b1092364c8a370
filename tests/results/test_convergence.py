"""What is said of bases that still gained, by histories made by hand."""

import json

import numpy as np
import pytest
from support.rows import make_row, write
from support.studies import write_experiment

from transfer_keras.config import parse_treatment
from transfer_keras.results import (
    BASE_TRAINED_ON,
    Interval,
    Role,
    Runs,
    Workdir,
    charts,
    convergence,
    summary,
)
from transfer_keras.results.page import write_report
from transfer_keras.results.statistics import paired_difference
from transfer_keras.results.study import Kind, read_study


def base(*top1, steps=None, name="baseB", **changes):
    """A row whose tests, at even distances if nothing is said, were right in these fractions."""
    steps = steps or [100 * (k + 1) for k in range(len(top1))]
    tests = tuple((step, 0.5, right) for step, right in zip(steps, top1, strict=True))
    fields = {"steps": steps[-1] if steps else 0, "validation": tests, "top1": top1[-1]}
    return make_row(treatment=name, **{**fields, "units": 8, **changes})


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (base(*np.linspace(0.05, 1, 20)), 0.10),  # 18 of 20 tests are nine tenths.
        (base(*[0.5] * 18, 0.9, 0.53), 0.03),
        (base(*[0.1, 0.5, 0.7, 0.9, 0.8, 0.8, 0.8, 0.8, 0.7, 0.69]), -0.01),
        (base(0.4, 0.6), 0.04),  # 0.56 nine tenths through, between the two tests.
        (base(0.4, 0.6, steps=[90, 100]), 0.2),
        (base(0.4, 0.6, steps=[91, 100]), None),
        (base(0.6), None),
    ],
)
def test_gain_of_the_last_tenth(row, expected):
    gain = convergence.last_gain(row)
    assert gain is None if expected is None else gain == pytest.approx(expected)


def test_rows_without_tests_or_units_are_read(tmp_path):
    row = make_row(treatment="B8B+", validation=())
    assert convergence.last_gain(row) is None
    assert row.role == Role("BnB+", 8)  # Of how many units was not kept.
    write(tmp_path, row, [1, 0])
    path = tmp_path / "B8B+" / "row.json"
    older = {k: v for k, v in json.loads(path.read_text()).items() if k != "units"}
    path.write_text(json.dumps(older))
    assert Workdir(tmp_path).row("B8B+").units is None


@pytest.mark.parametrize(
    ("name", "units", "role"),
    [("B8B+", 8, BASE_TRAINED_ON), ("B8B+", 9, Role("BnB+", 8)), ("A8B+", 8, Role("AnB+", 8)),
     ("A8A+", 8, BASE_TRAINED_ON), ("S3B", 3, Role("SnB", 3))],
)  # fmt: skip
def test_roles(name, units, role):
    assert make_row(treatment=name, units=units).role == role


@pytest.mark.parametrize(
    ("gain", "difference", "expected"),
    [
        (None, None, None),
        (0.01, None, "baseB: +1.0 points in the last tenth of its training."),
        (0.011, None, "baseB: +1.1 points in the last tenth of its training, more than 1. So "
         "differences from it include longer training; B8B+ would show how much."),
        # What was measured takes precedence, both ways.
        (0.05, Interval(0.001, -0.004, 0.006), "baseB: +5.0 points in the last tenth of its "
         "training. B8B+, the same trained on for as long again: +0.1 points [-0.4, +0.6]."),
        (None, Interval(0.005, -0.01, 0.02), "baseB: B8B+, the same trained on for as long again: "
         "+0.5 points [-1.0, +2.0]; so differences from it may include longer training."),
        (0.0, Interval(0.02, 0.01, 0.03), "baseB: +0.0 points in the last tenth of its training. "
         "B8B+, the same trained on for as long again: +2.0 points [+1.0, +3.0]; so differences "
         "from it include longer training."),
    ],
)  # fmt: skip
def test_sentences(gain, difference, expected):
    assert convergence.describe("baseB", gain, difference, control="B8B+") == expected


def test_lines_of_a_workdir(tmp_path):
    rng = np.random.default_rng(0)
    right = {name: rng.random(200) < level for name, level in
             (("baseA", 0.6), ("baseB", 0.5), ("B8B+", 0.7), ("A3B", 0.6))}  # fmt: skip
    for name, answers in right.items():
        row = base(0.4, float(answers.mean()), name=name)
        write(tmp_path, row, answers)
    workdir, done = Workdir(tmp_path), list(map(parse_treatment, right))
    of_a, of_b = summary.convergence_lines(workdir, done)
    gain = 100 * (right["baseA"].mean() - 0.4) / 5  # A fifth of the way between the two tests.
    assert of_a.startswith(f"baseA: {gain:+.1f} points in the last tenth of its training, more")
    assert of_a.endswith("A8A+ would show how much.")
    estimate, low, high = (
        100 * x for x in paired_difference(right["B8B+"], right["baseB"])
    )  # Of bool arrays, by image.
    assert f"B8B+, the same trained on for as long again: {estimate:+.1f} points" in of_b
    assert f"[{low:+.1f}, {high:+.1f}]; so differences from it include longer" in of_b
    assert summary.draw_curve(workdir, done, title="t")


def study(folder, levels, *, splits="0123"):
    """Writes a study of networks of eight units."""
    for split in splits:
        path = folder / f"split{split}"
        write_experiment(path, split=split, seed=0, levels=levels)
        for row in path.glob("*/row.json"):
            row.write_text(json.dumps({**json.loads(row.read_text()), "units": 8}))
    return read_study(folder)


LEVELS = {
    "baseA": 0.6, "baseB": 0.6, "A8A+": 0.7, "B8B+": 0.7, "A3B+": 0.8, "B3A+": 0.8, "B3B+": 0.7,
    "A3A+": 0.7, "A3B": 0.6, "B3A": 0.6, "S3B": 0.5, "S3A": 0.5, "R3B": 0.4, "R3A": 0.4,
}  # fmt: skip


def test_a_study_compares_with_the_base_that_was_trained_on(tmp_path):
    read = study(tmp_path, LEVELS)
    output = tmp_path / "report"
    text = write_report(tmp_path, output)
    top1 = {(n.split, n.row.treatment): n.row.top1 for n in read.networks}

    def mean(pairs):
        return 100 * np.mean([top1[s, one] - top1[s, two] for s in "0123" for one, two in pairs])

    longer = mean([("A8A+", "baseA"), ("B8B+", "baseB")])
    helps = mean([("B3A+", "A8A+"), ("A3B+", "B8B+")])
    features = mean([("B3A", "S3A"), ("A3B", "S3B")])
    assert f"A8A+, B8B+, the same trained on for as long again: {longer:+.1f} points" in text
    assert "include longer training" in text
    against = "the base trained on for as long again (AnB+ - base+, points)"
    assert f"Transfer with fine-tuning helps beyond {against}: n = 3: {helps:+.1f} [" in text
    page = (output / "report.html").read_text()
    for gap, n, difference in (
        ("longer training (base+ - base)", 0, longer),
        ("transfer helps (AnB+ - base+)", 3, helps),
        ("features against scale, frozen (AnB - SnB)", 3, features),
    ):
        assert f"<td>{gap}</td><td>{n}</td>" in page
        assert f"{difference:+.1f} [" in page.partition(f"<td>{gap}</td>")[2][:120]

    figure = charts.transfer_curve(read.runs[Kind("random")], [], Runs())
    assert figure.means["base+"][0].value == pytest.approx(figure.base + longer / 100)
    (arrow,) = (arrow for arrow in figure.arrows if "helps" in arrow.label)
    assert arrow.label == "transfer, fine-tuned, helps: AnB+ - base+"
    assert 100 * (arrow.high - arrow.low) == pytest.approx(helps)
    assert arrow.low == figure.means["base+"][0].value
    style, by_n = figure.gaps["AnB - SnB"]
    assert style == "SnB"
    assert by_n[3].value == pytest.approx(features)


def test_what_does_not_beat_longer_training_is_no_help(tmp_path):
    study(tmp_path / "same", LEVELS | {"A3B+": 0.71, "B3A+": 0.71}, splits="01")
    text = write_report(tmp_path / "same", tmp_path / "same" / "report")
    assert "It is not shown that transfer with fine-tuning differs from the base trained on" in text
    study(tmp_path / "worse", LEVELS | {"A3B+": 0.5, "B3A+": 0.5})
    text = write_report(tmp_path / "worse", tmp_path / "worse" / "report")
    assert "Transfer with fine-tuning loses against the base trained on for as long again" in text


def test_only_what_was_trained_on_is_named(tmp_path):
    study(tmp_path, {"baseA": 0.6, "baseB": 0.6, "B8B+": 0.7, "A3B+": 0.7}, splits="0")
    text = write_report(tmp_path, tmp_path / "report")
    assert " training. B8B+, the same trained on for as long again: " in text
    study(tmp_path / "none", {"baseA": 0.6, "baseB": 0.6, "A3B+": 0.7}, splits="0")
    text = write_report(tmp_path / "none", tmp_path / "none" / "report")
    assert "include longer training; A8A+, B8B+ would show how much." in text
    assert "AnB+ - base+" not in text


def test_a_base_that_failed_when_it_was_trained_on_is_a_failure(tmp_path):
    write_experiment(
        tmp_path / "one", split="0", seed=0, levels={"baseB": 0.6, "B8B+": 0.1, "A3B": 0.5},
        outcomes={"B8B+": "diverged"},
    )  # fmt: skip
    path = tmp_path / "one" / "B8B+" / "row.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "units": 8}))
    text = write_report(tmp_path, tmp_path / "report")
    assert "the same trained on" not in text
    assert "B8B+ (one): diverged" in (tmp_path / "report" / "report.html").read_text()
