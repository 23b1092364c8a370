import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.datasets.examples import in_order
from transfer_keras.datasets.sharding import ALL_ROWS, shard


def context(process, processes, replicas=None):
    return tf.distribute.InputContext(processes, process, replicas or processes)


@pytest.mark.parametrize("of", [1, 2, 3])
def test_rows_of_all_processes_are_the_batch(of):
    rows = [row for k in range(of) for row in range(12)[shard(context(k, of), 12)]]
    assert rows == list(range(12))


@pytest.mark.parametrize(
    ("count", "batch", "of", "replicas"),
    [(53, 10, 1, 1), (53, 10, 1, 4), (53, 10, 2, 4), (8, 8, 2, 2), (1, 256, 4, 8), (7, 3, 3, 3)],
)
def test_a_pass_shows_each_example_once(count, batch, of, replicas):
    """All processes together, in the order of the examples; the padding is marked."""
    parts = [
        list(in_order(count, batch, context(k, of, replicas)).as_numpy_iterator())
        for k in range(of)
    ]
    seen = []
    for batches in zip(*parts, strict=True):
        assert len({len(places) for places, _ in batches}) == 1
        assert sum(len(places) for places, _ in batches) % replicas == 0
        for places, real in batches:
            assert (places < count).all()
            seen += places[real].tolist()
    assert seen == list(range(count))


def test_one_process_reads_whole_batches():
    batches = [places.tolist() for places, _ in in_order(7, 3, ALL_ROWS).as_numpy_iterator()]
    assert batches == [[0, 1, 2], [3, 4, 5], [6]]
    assert np.all([real.all() for _, real in in_order(7, 3, ALL_ROWS).as_numpy_iterator()])
