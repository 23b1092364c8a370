"""Which errors are of the memory; `test_launch` has what is said of them."""

import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.config import failures


def test_what_tensorflow_and_numpy_say_of_memory():
    assert failures.is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    with pytest.raises(MemoryError) as caught:
        np.empty((2**50,))
    assert failures.is_out_of_memory(caught.value)
    assert not failures.is_out_of_memory(tf.errors.NotFoundError(None, None, "none"))
    assert not failures.is_out_of_memory(ValueError("none"))


def test_the_nearest_flag_is_named():
    given = {"workdir": "runs", "data_dir": "runs/data", "dataset": "folder:pictures", "seed": None}

    def described(path):
        return failures.describe_os_error(FileNotFoundError(2, "No such file", path), given)

    assert described("runs/data/a").startswith("--data_dir=runs/data: runs/data/a: there is no")
    assert described("runs/b").startswith("--workdir=runs: runs/b: ")
    assert described("runsb").startswith("runsb: ")
    assert described("pictures/a").startswith("--dataset=folder:pictures: pictures/a: ")
