"""The examples in docstrings run as they stand; see surgery/test_documentation for its own."""

import doctest

import pytest

from transfer_keras.config import make_experiment
from transfer_keras.experiments import plan_experiment, run_experiment
from transfer_keras.results import (
    Workdir,
    compare,
    convergence,
    read_study,
    recommend,
    recommend_for_donor,
    statistics,
    table_for_donor,
)
from transfer_keras.training import Monitor

DOCUMENTED = [
    make_experiment, plan_experiment, run_experiment, Workdir, read_study,
    compare, recommend, recommend_for_donor, table_for_donor, statistics.paired_difference,
    statistics.over_seeds_and_images, Monitor, convergence.last_gain, convergence.describe,
]  # fmt: skip


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda documented: documented.__name__)
def test_example(documented):
    (example,) = doctest.DocTestFinder(recurse=False).find(documented)
    assert example.examples, "there is an example"
    report = []
    failures = (
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append).failed
    )
    assert not failures, "".join(report)
