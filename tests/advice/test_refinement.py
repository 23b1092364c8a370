"""The choice of the cut points that are tried next, on studies whose truth is known."""

import numpy as np
import pytest
from support.donor_studies import IMAGES, levels_at, make_runs, make_runs_by_seed

from transfer_keras.advice import refinement
from transfer_keras.results import BASE, NetworkResult, Role

TOP = 24


@pytest.mark.parametrize("top", range(1, 70))
@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_first_set_is_spread_and_has_the_top(top, count):
    tried = refinement.spread_evenly(top, count)
    assert tried[-1] == top
    assert len(tried) == min(count, top)
    gaps = np.diff([0, *tried])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def refined(frozen_from):
    tried = refinement.spread_evenly(TOP)
    while more := refinement.refine(
        make_runs(levels_at(tried, frozen_from=frozen_from)), TOP, tried
    ):
        assert 1 <= len(more) <= 2
        assert not {*more} & {*tried}
        assert all(1 <= n <= TOP for n in more)
        tried = sorted({*tried, *more})
    return tried


@pytest.mark.parametrize("frozen_from", range(2, TOP + 1))
def test_refining_closes_in_on_what_matters(frozen_from):
    tried = refined(frozen_from)
    assert {5, 6, 7} <= {*tried}, "the best cut point to fine-tune and both its neighbours"
    if frozen_from < TOP:
        assert {frozen_from, frozen_from + 1} <= {*tried}, "where the loss begins"
    assert len(tried) <= 2 * TOP // 3, "and not everywhere"


def test_cut_points_at_which_nothing_trained_are_not_tried_again():
    runs = make_runs(levels_at([6, 12, 24]))
    asked = refinement.refine(runs, TOP, [6, 12, 24])
    assert asked
    assert not {*asked} & {*refinement.refine(runs, TOP, [6, 12, 24, *asked])}
    few = make_runs({BASE: 0.5, Role("AnB", 3): 0.6})
    assert refinement.refine(few, 3, [1, 2, 3]) == []


def test_a_role_that_leads_is_repeated_next():
    runs = make_runs(levels_at([3, 6, 9]), seeds=2)
    assert refinement.leading_role(runs) == Role("AnB+", 6)
    (by_seed,) = runs.by_target.values()
    # Lucky, once.
    by_seed[0][Role("AnB+", 12)] = NetworkResult(0.99, np.ones(IMAGES, bool))
    assert refinement.leading_role(runs) == Role("AnB+", 12), "so it is repeated next"


def test_one_that_was_lucky_first_gives_way_to_one_that_was_repeated_less():
    lucky, better = Role("AnB", 3), Role("AnB+", 5)
    runs = make_runs_by_seed(
        {BASE: [0.5] * 4, lucky: [0.9, 0.5, 0.5, 0.5], better: [0.89, None, 0.8, 0.8]}
    )
    assert refinement.leading_role(runs) == better
