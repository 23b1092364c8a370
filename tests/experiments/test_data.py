"""Which pictures of a dataset an experiment trains and tests on."""

import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.config import make_experiment
from transfer_keras.config.errors import UserError
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.run import name_bad_images


def read(data_dir, **changes):
    return read_data(
        make_experiment(["baseA"], dataset="formula_images/6x30x32", data_dir=data_dir,
            batch_size=6, **changes,
        )
    )  # fmt: skip


def test_the_first_of_each_class_are_trained_on_and_all_are_tested(data_dir):
    everything, few = read(data_dir), read(data_dir, examples_per_class=2)
    for task in "AB":
        assert np.bincount(few.train[task].labels).tolist() == [2, 2, 2]
        whole = everything.train[task]
        expected = sorted(n for c in range(3) for n in whole.numbers[whole.labels == c][:2])
        assert few.train[task].numbers.tolist() == expected
        assert np.array_equal(few.test[task].images, everything.test[task].images)


def test_the_whole_has_one_task(data_dir):
    data = read(data_dir, split="whole")
    assert set(data.train) == set(data.test) == set(data.pair.tasks) == {"A"}
    assert len(data.train["A"]) == sum(map(len, read(data_dir).train.values()))


def test_too_few_and_too_many(data_dir):
    with pytest.raises(UserError, match=r"=1: task A .* has 3 classes, so 3 training images, less"):
        read(data_dir, examples_per_class=1)
    with pytest.raises(UserError, match=r"=99: no class of .* has so many; the largest has 24\."):
        read(data_dir, examples_per_class=99)


def test_an_error_that_no_picture_explains_is_raised_as_it_is(data_dir):
    data = read(data_dir)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="no memory"), name_bad_images(data):
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")
