"""The examples in docstrings run as they stand."""

import doctest

import pytest

from transfer_keras.results import (
    Workdir,
    compare,
    recommend,
    statistics,
)


@pytest.mark.parametrize(
    "documented",
    [
        Workdir,
        compare,
        recommend,
        statistics.paired_difference,
        statistics.over_seeds_and_images,
    ],
    ids=lambda documented: documented.__name__,
)
def test_example(documented):
    (example,) = doctest.DocTestFinder(recurse=False).find(documented, globs={})
    assert example.examples, "there is an example"
    report = []
    failures = doctest.DocTestRunner().run(example, out=report.append).failed
    assert not failures, "".join(report)
