"""Several devices, played by the CPU, compute what one does."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.paths import ROOT

from transfer_keras.training import replicas
from transfer_keras.training.checkpoints import Checkpoints

SCRIPT = ROOT / "tests" / "support" / "on_devices.py"
# Tolerances of twenty steps of a small network: sums are added in another order.
FLOAT64, FLOAT32 = 1e-12, 1e-5


def train(program, folder, devices, dtype="float64", stop_at=None, more=()):
    """Runs a training and gives all its numbers; with `stop_at` it leaves only a checkpoint."""
    folder.mkdir(exist_ok=True)
    arguments = [str(devices), dtype, str(folder), *([str(stop_at)] if stop_at else []), *more]
    done = program(str(SCRIPT), *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    if stop_at:
        assert Checkpoints(folder, every=1, warn=print).latest()[1]["step"] == stop_at
        return None
    with np.load(folder / "numbers.npz") as arrays:
        return dict(arrays)


def assert_alike(numbers, expected, tolerance):
    assert numbers.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            numbers[name], value, rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.fixture(scope="module")
def one(module_program, tmp_path_factory):
    return train(module_program, tmp_path_factory.mktemp("one"), 1)


def test_one_device_trains_at_all(one):
    """Without this an equality of numbers would prove nothing."""
    kinds = {name.split()[0] for name in one}
    assert kinds >= {"training", "test", "gradients", "activations", "one", "two", "all"}
    assert not np.allclose(one["one weight 2"], one["two weight 2"])
    assert one["gradients 20"].min() > 0
    assert len(one["all label"]) == 53


@pytest.mark.parametrize("devices", [2, 4])
def test_equals_one_device(one, program, tmp_path, devices):
    """Compares weights, scores, predictions, gradients and activations; with dropout and decay."""
    assert_alike(train(program, tmp_path, devices), one, FLOAT64)


def test_float32(program, tmp_path):
    expected = train(program, tmp_path / "one", 1, "float32")
    assert_alike(train(program, tmp_path / "four", 4, "float32"), expected, FLOAT32)


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_a_checkpoint_goes_on_with_other_devices(one, program, tmp_path, first, then):
    train(program, tmp_path, first, stop_at=12)
    assert_alike(train(program, tmp_path, then), after(12, one), FLOAT64)


@pytest.fixture(scope="module")
def one_more(module_program, tmp_path_factory):
    """Trains with learning rates, a warm-up, class weights and early stopping, on one device."""
    return train(module_program, tmp_path_factory.mktemp("one_more"), 1, more=["more"])


def test_learning_rates_class_weights_and_early_stopping_equal_one_device(
    one_more, program, tmp_path
):
    assert_alike(train(program, tmp_path, 2, more=["more"]), one_more, FLOAT64)
    ends = {name: one_more[f"{name} ended"].tolist() for name in ("one", "two", "all")}
    assert ends == {"one": [2, 6], "two": [4, 8], "all": [8, 12]}  # Else equality says little.


@pytest.mark.parametrize("step", [4, 8])
def test_they_go_on_with_other_devices(one_more, program, tmp_path, step):
    """Goes on in the warm-up, and when two networks are done."""
    train(program, tmp_path, 1, stop_at=step, more=["more"])
    assert_alike(train(program, tmp_path, 2, more=["more"]), after(step, one_more), FLOAT64)


def after(step: int, numbers: dict) -> dict:
    """Selects what was recorded after a step, and the results."""
    return {name: value for name, value in numbers.items() if _step(name) > step}


def _step(name: str) -> float:
    kind, step, *_ = [*name.split(), ""]
    recorded = kind in ("training", "test", "gradients", "activations")
    return int(step) if recorded else math.inf


def test_distribute_gives_each_process_its_rows_in_order():
    """One device gets the whole batch."""
    rows = tf.data.Dataset.from_tensor_slices((tf.range(12), tf.range(12)))
    contexts = []

    def stream(context):
        contexts.append(context)
        return rows.batch(6)

    batches = [
        x.numpy().tolist() for x, _ in replicas.distribute(tf.distribute.get_strategy(), stream)
    ]
    assert batches == [list(range(6)), list(range(6, 12))]
    (context,) = contexts
    assert (context.input_pipeline_id, context.num_input_pipelines) == (0, 1)
    assert context.num_replicas_in_sync == 1


def test_dropout_is_unchanged_on_one_device():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))
    with replicas.masks_of_whole_batch(model, tf.distribute.get_strategy()) as dropouts:
        assert dropouts == []
        assert type(model.layers[1]) is keras.layers.Dropout
