"""The time that a person gives, and the part of it that is kept for what follows the trainings."""

import time

from transfer_keras.advice.budget import Budget


def test_a_part_of_the_time_is_kept_for_the_report_and_the_network():
    begun = time.monotonic() - 400
    budget = Budget(1e6, begun)
    assert budget.elapsed >= 400
    assert 0.9 * 1e6 - 400 <= budget.remaining <= 0.99 * 1e6 - 400
    assert Budget(60, time.monotonic()).remaining <= 50, "which takes seconds in any case"
    assert budget.deadline - begun >= 1e6
