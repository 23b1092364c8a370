"""What the figures show, worked out from the rows by hand."""

import numpy as np
import pytest
from studies import write_experiment, write_study

from transfer_keras import charts, paper, reporting, study
from transfer_keras.study import Kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random halves, natural, whole, and fewer examples of these; one of them failed."""
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
def found(folder):
    return study.read(folder)


@pytest.fixture(scope="module")
def top1(found):
    return {(n.folder.name, n.row.treatment): n.row.top1 for n in found.networks}


def test_kinds_from_all_examples_to_the_fewest(found):
    assert charts.ordered_kinds(found) == [
        Kind("natural"), Kind("random"), Kind("whole"),
        Kind("whole", 50), Kind("whole", 5), Kind("whole", 1),
    ]  # fmt: skip


def test_splits_side_by_side(found, top1):
    shown = charts.dissimilar_splits(found, overlay=False)
    losses = {series.label: series for series in shown.losses}
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

    levels = {series.label: series for series in shown.levels}
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
    assert {series.style for series in shown.levels} == {series.style for series in shown.losses}


def test_one_kind_is_not_set_beside_another(tmp_path):
    write_study(tmp_path)
    found = study.read(tmp_path)
    assert charts.dissimilar_splits(found, overlay=True) is None
    assert charts.reduced_data(found) == []


def test_reduced_data(found, top1):
    (series,) = charts.reduced_data(found)
    assert series.label == "whole"
    expected = {None: top1["w", "baseA"], 50: top1["w50", "baseA"], 5: top1["w5", "baseA"]}
    assert series.points == list(expected.items())
    assert {a: mean.value for a, mean in series.means.items()} == pytest.approx(expected)
    assert series.means[None].low is None
    assert series.means[5].low < expected[5] < series.means[5].high < expected[50]
    assert series.failed == [1]


def test_the_papers_own(found):
    shown = charts.dissimilar_splits(found, overlay=True)
    assert set(shown.overlay) == {
        "natural: transfer, frozen", "random halves: transfer, frozen", "whole: random, frozen",
    }  # fmt: skip
    # From the table of natural against man-made in `paper.md`'s source, section 4.2.
    expected = 100 * ((0.2914 - 0.5372) + (0.3990 - 0.6534)) / 2
    assert shown.overlay["natural: transfer, frozen"][7] == pytest.approx(expected, abs=0.02)
    reduced = charts.papers_reduced_data()
    assert tuple(reduced) == paper.AMOUNTS
    assert reduced[1300] == pytest.approx(0.5518, abs=1e-4)
    assert reduced[500] == pytest.approx(0.4757, abs=1e-4)


def test_what_is_drawn(folder, tmp_path):
    """The words in the pictures: every line and failure is named."""
    reporting.report(folder, tmp_path, overlay_paper=True)
    splits = (tmp_path / "splits.svg").read_text()
    for words in (
        "natural: transfer, frozen, towards B", "random halves: transfer, frozen",
        "whole: random, frozen: never trained", "difference from the base, with 95 % intervals",
        "faint: Yosinski et al. (2014), ImageNet",
    ):  # fmt: skip
        assert words in splits, words
    reduced = (tmp_path / "reduced_data.svg").read_text()
    for words in ("whole: never trained", "training examples of each class", "1,300", "all"):
        assert words in reduced, words
    page = (tmp_path / "report.html").read_text()
    assert "Split: whole, 5 a class" not in page, "bases alone have no section"
    assert "Split: whole</h2>" in page
    best = np.mean([0.5, 0.75])  # Of the two tests in every row of these studies.
    assert f"({best:.4f}) of 8" in page
