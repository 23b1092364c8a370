"""The contents of the figures, computed from the rows by hand."""

import json

import numpy as np
import pytest
from support.studies import write_experiment, write_study

from transfer_keras.results import Runs, charts, paper
from transfer_keras.results.comparison import NetworkResult, TargetTask, estimate_level
from transfer_keras.results.page import write_report
from transfer_keras.results.roles import BASE, Role
from transfer_keras.results.statistics import paired_difference
from transfer_keras.results.study import Kind, read_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random splits, natural, whole, and fewer examples of these; one of them failed."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    frozen = {"baseA": 0.6, "baseB": 0.7, "A1B": 0.5, "B1A": 0.4, "A3B": 0.3}
    write_experiment(folder / "n", split="natural", seed=0, levels=frozen)
    random = {"baseA": 0.8, "R1A": 0.5, "R2A": 0.02}
    write_experiment(
        folder / "w", split="whole", seed=0, levels=random, outcomes={"R2A": "at chance"}
    )
    for amount, level, outcome in (
        (50, 0.6, "trained"),
        (5, 0.3, "trained"),
        (1, 0.0, "at chance"),
    ):
        write_experiment(
            folder / f"w{amount}", split="whole", seed=0, levels={"baseA": level},
            outcomes={"baseA": outcome}, settings={"examples_per_class": amount},
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def study(folder):
    return read_study(folder)


@pytest.fixture(scope="module")
def top1(study):
    return {(n.folder, n.row.treatment): n.row.top1 for n in study.networks}


def test_kinds_from_all_examples_to_the_fewest(study):
    assert charts.ordered_kinds(study) == [
        Kind("random"), Kind("natural"), Kind("whole"),
        Kind("whole", 50), Kind("whole", 5), Kind("whole", 1),
    ]  # fmt: skip


def test_splits_side_by_side(study, top1):
    figure = charts.dissimilar_splits(study, overlay=False)
    losses = {series.label: series for series in figure.losses}
    assert set(losses) == {
        "natural: transfer, frozen", "random halves: transfer, frozen", "whole: random, frozen",
    }  # fmt: skip
    natural = losses["natural: transfer, frozen"]
    towards = {"A1B": "baseB", "B1A": "baseA"}
    expected = np.mean([100 * (top1["n", t] - top1["n", base]) for t, base in towards.items()])
    assert natural.means[1].value == pytest.approx(expected)
    assert natural.means[1].low < expected < natural.means[1].high
    three = 100 * (top1["n", "A3B"] - top1["n", "baseB"])
    assert natural.means[3].value == pytest.approx(three)
    assert losses["whole: random, frozen"].failed == [2]
    assert set(losses["whole: random, frozen"].means) == {1}

    levels = {series.label: series for series in figure.levels}
    assert set(levels) == {
        "natural: transfer, frozen, towards A", "natural: transfer, frozen, towards B",
        "random halves: transfer, frozen", "whole: random, frozen, towards A",
    }  # fmt: skip
    towards_b = levels["natural: transfer, frozen, towards B"]
    values = {n: mean.value for n, mean in towards_b.means.items()}
    assert values == pytest.approx(
        {0: top1["n", "baseB"], 1: top1["n", "A1B"], 3: top1["n", "A3B"]}
    )
    assert towards_b.hollow
    assert not levels["natural: transfer, frozen, towards A"].hollow
    assert {series.style for series in figure.levels} == {series.style for series in figure.losses}
    assert {series.family for series in figure.losses} == {"AnB", "RnB"}


def test_one_kind_is_not_set_beside_another(tmp_path):
    write_study(tmp_path)
    study = read_study(tmp_path)
    assert charts.dissimilar_splits(study, overlay=True) is None
    assert charts.reduced_data(study) == []


def test_reduced_data(study, top1):
    (series,) = charts.reduced_data(study)
    assert series.label == "whole"
    expected = {None: top1["w", "baseA"], 50: top1["w50", "baseA"], 5: top1["w5", "baseA"]}
    assert series.points == list(expected.items())
    assert {a: mean.value for a, mean in series.means.items()} == pytest.approx(expected)
    assert series.means[None].low is None
    assert series.means[5].low < expected[5] < series.means[5].high < expected[50]
    assert series.failed == [1]


def test_the_papers_own(study):
    figure = charts.dissimilar_splits(study, overlay=True)
    overlay = {series.label: series.means for series in figure.overlay}
    assert set(overlay) == {
        "natural: transfer, frozen", "random halves: transfer, frozen", "whole: random, frozen",
    }  # fmt: skip
    styles = {series.label: series.style for series in figure.losses}
    assert {series.label: series.style for series in figure.overlay} == styles
    assert 3 not in overlay["whole: random, frozen"], "it never trained"
    # From the table of natural against man-made in `paper.md`'s source, section 4.2.
    expected = 100 * ((0.2914 - 0.5372) + (0.3990 - 0.6534)) / 2
    assert overlay["natural: transfer, frozen"][7].value == pytest.approx(expected, abs=0.02)
    reduced = charts.reduced_data_of_paper()
    never_trained = (5, 10, 25, 50, 100)
    assert tuple(reduced) == tuple(a for a in paper.AMOUNTS if a not in never_trained)
    assert reduced[1300] == pytest.approx(0.5518, abs=1e-4)
    assert reduced[500] == pytest.approx(0.4757, abs=1e-4)


def test_what_is_drawn(folder, tmp_path):
    """The text in the pictures: every line and failure is named."""
    write_report(folder, tmp_path, overlay_paper=True)
    splits = (tmp_path / "splits.svg").read_text()
    for text in (
        "natural: transfer, frozen, towards B", "random halves: transfer, frozen",
        "whole: random, frozen: never trained", "difference from the base",
        "bars: 95 % intervals", "on formula_images, all splits",
        "faint: whole: random, frozen, Yosinski et al. (2014)",
    ):  # fmt: skip
        assert text in splits, text
    reduced = (tmp_path / "reduced_data.svg").read_text()
    for text in ("whole: never trained", "training examples of each class", "1,300", "all"):
        assert text in reduced, text
    page = (tmp_path / "report.html").read_text()
    assert "Split: whole, 5 a class" not in page, "bases alone have no section"
    assert "Split: whole</h2>" in page
    assert "(0.7500) 8 of 8" in page, "the better of the two tests in every row of these studies"


def test_reduced_data_is_paired_by_target_and_seed(tmp_path):
    """Two splits and seeds of all examples, of which fewer examples have one target alone."""
    rng = np.random.default_rng(0)
    for split in "01":
        for seed in (0, 1):
            levels = {"baseA": rng.uniform(0.3, 0.9), "baseB": rng.uniform(0.3, 0.9)}
            write_experiment(tmp_path / f"{split}{seed}", split=split, seed=seed, levels=levels)
    few = {"examples_per_class": 5}
    write_experiment(tmp_path / "5", split="1", seed=1, levels={"baseB": 0.2}, settings=few)
    study = read_study(tmp_path)
    (series,) = charts.reduced_data(study)
    networks = {(n.folder, n.row.treatment): n for n in study.networks}
    predictions = [networks[folder, "baseB"].workdir.predictions("baseB") for folder in ("5", "11")]
    interval = paired_difference(*(label == predicted for label, predicted in predictions))
    mean = series.means[5]
    assert mean.value == networks["5", "baseB"].row.top1
    assert mean.high - mean.low == pytest.approx(interval.high - interval.low)
    everything = [n.row.top1 for n in study.networks if n.examples_per_class is None]
    assert series.means[None].value == pytest.approx(np.mean(everything))


def test_figure_2_by_hand(tmp_path):
    write_study(tmp_path)
    copy = tmp_path / "split0-seed0"
    row = json.loads((copy / "A1B" / "row.json").read_text())
    (copy / "A1B" / "row.json").write_text(json.dumps({**row, "outcome": "diverged"}))
    study = read_study(tmp_path)
    failed = [n for n in study.networks if not n.trained]
    figure = charts.transfer_curve(study.runs[Kind("random")], failed, Runs())
    top1 = {(n.split, n.seed, n.row.treatment): n.row.top1 for n in study.networks}
    targets = [(s, k, t) for s in "01" for k in (0, 1) for t in "AB"]
    bases = {target: top1[(*target[:2], f"base{target[2]}")] for target in targets}
    assert sorted(point.top1 for point in figure.bases) == sorted(bases.values())
    assert figure.base == pytest.approx(np.mean(list(bases.values())))
    for n in (1, 3):
        values = {
            (s, k, t): top1[s, k, f"{'B' if t == 'A' else 'A'}{n}{t}"]
            for s, k, t in targets
            if (s, k, t, n) != ("0", 0, "B", 1)
        }
        points = [point.top1 for point in figure.points["AnB"] if point.n == n]
        assert sorted(points) == sorted(values.values())
        per_target = [
            np.mean([values[s, k, t] - bases[s, k, t] for k in (0, 1) if (s, k, t) in values])
            for s in "01"
            for t in "AB"
        ]
        expected = figure.base + np.mean(per_target)
        assert figure.means["AnB"][n].value == pytest.approx(expected)
    assert figure.failed == {"AnB": [1]}


def test_a_base_that_is_compared_with_a_failure_alone_is_drawn(tmp_path):
    levels = {"baseA": 0.5, "baseB": 0.6, "A1B": 0.1}
    write_experiment(
        tmp_path / "one", split="0", seed=0, levels=levels, outcomes={"A1B": "diverged"}
    )
    study = read_study(tmp_path)
    failed = [n for n in study.networks if not n.trained]
    figure = charts.transfer_curve(study.runs[Kind("random")], failed, Runs())
    (base,) = figure.bases
    assert base.top1 == next(n.row.top1 for n in study.networks if n.row.treatment == "baseB")


def test_fewer_examples_are_named_and_not_set_beside_the_papers(tmp_path):
    few = {"settings": {"examples_per_class": 5}}
    write_study(tmp_path, splits=["0", "natural"], seeds=[0], **few)
    figure = charts.dissimilar_splits(read_study(tmp_path), overlay=True)
    assert [series.label for series in figure.losses] == [
        "random halves, 5 a class: transfer, frozen", "natural, 5 a class: transfer, frozen",
    ]  # fmt: skip
    assert figure.overlay == []


def test_a_target_without_networks_is_no_line(tmp_path):
    levels = {"baseA": 0.5, "baseB": 0.6, "A1B": 0.5}
    for split in ("0", "natural"):
        write_experiment(tmp_path / split, split=split, seed=0, levels=levels)
    figure = charts.dissimilar_splits(read_study(tmp_path), overlay=False)
    assert "natural: transfer, frozen, towards A" not in {s.label for s in figure.levels}


def simulated(rng, *, specific=0.0, helps=0.0, splits=4):
    """Simulates studies of selffers as good as their bases, and of transfers that are not."""
    runs = {}
    for split in range(splits):
        for target in "AB":
            levels = {BASE: 0.5}
            for n in range(1, 8):
                levels |= {Role("BnB", n): 0.5, Role("AnB", n): 0.5 - specific * n / 7}
                levels[Role("AnB+", n)] = 0.5 + helps
            runs[TargetTask(str(split), target)] = {
                0: {r: NetworkResult(top1 + rng.normal(0, 0.01)) for r, top1 in levels.items()}
            }
    return Runs(runs)


def test_only_gaps_that_are_there_are_named():
    rng = np.random.default_rng(0)
    named = [
        [arrow.label for arrow in charts.transfer_curve(simulated(rng), [], Runs()).arrows]
        for _ in range(200)
    ]
    # Of three gaps, each has the sign of its name in 2.5 of 100 studies in which there is none.
    assert sum(map(len, named)) <= 3 * 0.025 * 200 + 3 * (3 * 0.025 * 200) ** 0.5
    there = charts.transfer_curve(simulated(rng, specific=0.1, helps=0.05), [], Runs())
    by_label = {arrow.label: arrow for arrow in there.arrows}
    assert list(by_label) == ["specificity: BnB - AnB", "transfer, fine-tuned, helps: AnB+ - base"]
    specificity = by_label["specificity: BnB - AnB"]
    assert specificity.n == 7
    assert specificity.low == there.means["AnB"][7].value
    assert specificity.high == there.means["BnB"][7].value
    # The other way round it is no gap of that name.
    inverted = charts.transfer_curve(simulated(rng, specific=-0.1, helps=-0.05), [], Runs())
    assert not {arrow.label for arrow in inverted.arrows} & by_label.keys()


def test_the_gap_between_transfer_and_selffer_is_drawn_in_pairs():
    runs = simulated(np.random.default_rng(0), specific=0.1)
    gaps = charts.transfer_curve(runs, [], Runs()).gaps
    family, by_n = gaps["AnB - BnB"]
    assert family == "AnB"
    differences = [
        100 * (by_role[Role("AnB", 7)].top1 - by_role[Role("BnB", 7)].top1)
        for by_seed in runs.by_target.values()
        for by_role in by_seed.values()
    ]
    assert by_n[7].value == pytest.approx(np.mean(differences))
    assert by_n[7].low < by_n[7].value < by_n[7].high < 0


def test_the_mean_base_has_an_interval():
    runs = simulated(np.random.default_rng(0))
    base = charts.transfer_curve(runs, [], Runs()).mean_base
    level = estimate_level(runs, BASE)
    assert (base.value, base.low, base.high) == pytest.approx(tuple(level.interval))
    assert base.over == "splits"
