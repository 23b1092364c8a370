"""The numbers of the paper come out of its logged runs."""

import csv

import numpy as np
import pytest
from scipy import stats
from support.paths import ROOT, SHARED

from transfer_keras.results import paper
from transfer_keras.results.comparison import compare, unpaired_difference
from transfer_keras.results.roles import BASE, Role

UNITS = range(1, 8)


@pytest.fixture(scope="module")
def random_splits():
    return paper.read_runs("random")


def mean(runs, role):
    return np.mean([result.top1 for result in runs.of(role)])


TABLE = {
    "BnB": [0.6267, 0.6235, 0.6211, 0.6048, 0.5935, 0.6188, 0.6232],
    "AnB": [0.6282, 0.6239, 0.6189, 0.5998, 0.5780, 0.5806, 0.5425],
    "BnB+": [0.6177, 0.6215, 0.6313, 0.6287, 0.6301, 0.6276, 0.6266],
    "AnB+": [0.6373, 0.6358, 0.6426, 0.6398, 0.6446, 0.6460, 0.6465],
}


@pytest.mark.parametrize("family", TABLE)
def test_means_by_n(random_splits, family):
    top1 = [mean(random_splits, Role(family, n)) for n in UNITS]
    assert top1 == pytest.approx(TABLE[family], abs=5.1e-5)


def test_bases(random_splits):
    top1 = [
        random_splits.by_seed(target)[0][BASE].top1 for target in sorted(random_splits.targets())
    ]
    expected = [0.6151, 0.6341, 0.6232, 0.6250, 0.6286, 0.6219, 0.6260, 0.6269]
    assert top1 == pytest.approx(expected, abs=5.1e-5)
    assert (np.mean(top1), np.std(top1, ddof=1)) == pytest.approx((0.6251, 0.0055), abs=1e-4)


@pytest.mark.parametrize(
    ("one", "other", "points"),
    [
        ("BnB", "base", {4: -1.85, 5: -2.97, 6: -0.45, 7: 0.00}),  # Co-adaptation.
        ("AnB", "BnB", {4: -0.62, 5: -1.68, 6: -3.90, 7: -8.24}),  # Specificity.
    ],
)
def test_decomposition_paired_by_target(random_splits, one, other, points):
    for n, expected in points.items():
        base = [BASE] if other == "base" else [Role(other, n)]
        comparison = compare(random_splits, [Role(one, n)], base)
        assert 100 * comparison.interval.estimate == pytest.approx(expected, abs=0.0051)
        assert (comparison.over, comparison.targets, comparison.pairs) == ("splits", 4, 4)


@pytest.mark.parametrize(("first", "base", "selffer"), [(1, 1.60, 1.38), (3, 1.80, 1.40),
                                                        (5, 2.06, 1.73)])  # fmt: skip
def test_table_1_as_the_paper_has_it(random_splits, first, base, selffer):
    transfer = [Role("AnB+", n) for n in range(first, 8)]
    selffers = [Role("BnB+", n) for n in range(first, 8)]
    difference = unpaired_difference(random_splits, transfer, [BASE])
    assert 100 * difference == pytest.approx(base, abs=0.0051)
    assert 100 * unpaired_difference(random_splits, transfer, selffers) == pytest.approx(
        selffer, abs=0.0051
    )


def test_once_paired_transfer_and_selffer_gain_the_same(random_splits):
    """The lingering gain of table 1 is that of easier targets."""
    for family, points, deviation in (("AnB+", 0.97, 0.35), ("BnB+", 0.97, 0.34)):
        gains = [
            100 * (result.top1 - base.top1)
            for n in random_splits.trained_n(family)
            for seeds in random_splits.pairs([Role(family, n)], [BASE]).values()
            for pairs in seeds
            for result, base in pairs
        ]
        assert len(gains) == 10
        assert np.mean(gains) == pytest.approx(points, abs=0.0051)
        assert np.std(gains, ddof=1) == pytest.approx(deviation, abs=0.0051)
    for n in UNITS:
        direct = compare(random_splits, [Role("AnB+", n)], [Role("BnB+", n)])
        assert direct is None, "the two never ran on the same target"


def test_natural_against_man_made():
    runs = paper.read_runs("natural")
    expected = {
        "B": [0.5372, 0.5392, 0.5214, 0.5008, 0.4616, 0.4098, 0.3742, 0.2914],
        "A": [0.6534, 0.6571, 0.6506, 0.6250, 0.5824, 0.5219, 0.4851, 0.3990],
    }
    for target in runs.targets():
        seeds = runs.by_seed(target)
        top1 = [seeds[0][BASE].top1, *(seeds[0][Role("AnB", n)].top1 for n in UNITS)]
        assert top1 == pytest.approx(expected[target.target], abs=5.1e-5)


def test_random_weights_and_reduced_data():
    (seeds,) = paper.read_runs("whole").by_target.values()
    top1 = [seeds[0][BASE].top1, *(seeds[0][Role("RnB", n)].top1 for n in UNITS if n != 3)]
    assert Role("RnB", 3) not in seeds[0], "it never trained"
    expected = [0.5763, 0.4917, 0.4026, 0.0191, 0.0499, 0.0145, 0.0146]
    assert top1 == pytest.approx(expected, abs=5.1e-5)
    for count, top1 in ((1, 0.0038), (1000, 0.5409), (1300, 0.5518)):
        (seeds,) = paper.read_runs("whole", examples_per_class=count).by_target.values()
        assert seeds[0][BASE].top1 == pytest.approx(top1, abs=5.1e-5)


def test_the_file_is_what_the_logs_hold():
    path = SHARED / "reference" / "paper_runs.csv"
    if not path.exists():
        pytest.skip(f"needs {path.name} in shared/reference beside the checkout")
    kept = ROOT / "transfer_keras" / "results" / "yosinski2014.csv"
    with path.open() as logged, kept.open() as ours:
        columns = ("top1_last_test", "top1_mean_of_10_best_tests")
        expected = sorted(tuple(row[c] for c in columns) for row in csv.DictReader(logged))
        from_file = sorted((r["top1"], r["top1_best10"]) for r in csv.DictReader(ours))
    assert from_file == expected


def test_over_the_four_halves_transfer_gains_what_selffers_do(random_splits):
    """Each fine-tuned run against its own base, less the mean of its n, averaged by half: the two
    families have two halves each, and no half in common."""
    gains = {}
    for target, _, role, result in random_splits.networks():
        if role.family in ("AnB+", "BnB+"):
            base = random_splits.by_seed(target)[0][BASE].top1
            gains[role.family, target, role.n] = 100 * (result.top1 - base)
    assert len(gains) == 20
    of_n = {n: np.mean([gain for key, gain in gains.items() if key[2] == n]) for n in UNITS}
    halves = {}
    for (family, target, n), gain in gains.items():
        halves.setdefault(family, {}).setdefault(target, []).append(gain - of_n[n])
    transfer, selffer = (
        [np.mean(of_half) for of_half in halves[family].values()] for family in ("AnB+", "BnB+")
    )
    test = stats.ttest_ind(transfer, selffer)
    interval = test.confidence_interval()
    assert test.df == 2
    assert np.mean(transfer) - np.mean(selffer) == pytest.approx(0.02, abs=0.005)
    assert (interval.high - interval.low) / 2 == pytest.approx(0.46, abs=0.005)
    assert interval.high < 1.4, "what the paper's table 1 says"
