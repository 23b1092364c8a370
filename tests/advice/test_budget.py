"""The time that a person gives, and the part of it that is kept for what follows the trainings."""

import time

import pytest
from support.refusals import refuses

from transfer_keras.advice import search
from transfer_keras.advice.budget import Budget
from transfer_keras.config import make_experiment


def test_a_part_of_the_time_is_kept_for_the_report_and_the_network():
    begun = time.monotonic() - 400
    budget = Budget(1e6, begun)
    assert budget.elapsed >= 400
    assert 0.9 * 1e6 - 400 <= budget.remaining <= 0.99 * 1e6 - 400
    assert Budget(60, time.monotonic()).remaining <= 50, "which takes seconds in any case"
    assert budget.deadline - begun >= 1e6


def test_a_budget_that_is_over_before_it_begins(tmp_path):
    budget = Budget(12, time.monotonic())
    with refuses(tmp_path, r"--budget=12 s: expected more than 12 s, .* Give a minute or more\."):
        search.advise(None, tmp_path / "new", budget, fixed=(), flags=None, log=None)


@pytest.mark.parametrize(("folds", "most"), [(None, 2**31 - 10), (5, 2**31 // 5 - 10)])
def test_the_last_seed_of_a_search_is_one(tmp_path, folds, most):
    """What is asked for at first is known at first, not after hours."""
    budget = Budget(60, time.monotonic())
    asked = make_experiment(["A3B"], dataset=f"folder:{tmp_path}", folds=folds, seed=most)
    budget.check_seeds(asked)
    with refuses(tmp_path, rf"--seed={most + 1}: .* Expected 0 to {most}\."):
        budget.check_seeds(asked.replace(seed=most + 1))
