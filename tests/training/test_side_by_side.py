"""Models that train side by side come out as each does alone, bit for bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.config import Interrupted
from transfer_keras.training import (
    Checkpoints,
    Recipe,
    Resume,
    Schedule,
    Stop,
    Streams,
    Training,
    train_side_by_side,
)

STEPS = {"one": 6, "two": 9}
NO_RESUME = Resume()


def model(name):
    """Makes a model with dropout and BatchNorm, whose states are part of what must be the same."""
    keras.utils.set_random_seed(len(name) + STEPS[name])
    layers = [
        keras.Input((4, 4, 3), name="image"),
        keras.layers.Conv2D(3, 3, name="conv"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dropout(0.5, seed=3, name="drop"),
        keras.layers.Dense(5, name="head"),
    ]
    return surgery.fuse({name: keras.Sequential(layers)})


def streams(name):
    """Gives each model pictures of its own."""
    rng = np.random.default_rng(STEPS[name])
    images = rng.normal(size=(60, 4, 4, 3)).astype("float32")
    labels = rng.integers(0, 5, 60).astype("int32")

    def batches(start, context):
        pictures = tf.data.Dataset.from_tensor_slices((images, labels)).repeat()
        return pictures.skip(4 * start).batch(4, drop_remainder=True)

    def test(context):
        return tf.data.Dataset.from_tensor_slices((images[:7], labels[:7])).batch(5)

    return Streams(batches, test, tf.distribute.get_strategy())


def training(name, *, resume=NO_RESUME, patience=None, monitors=()):
    """Makes the training of a model, and gives the model too."""
    fused = model(name)
    recipe = Recipe(STEPS[name], 4, 0.1, "adam", "cosine")
    schedule = Schedule(2, 3, patience=patience)
    made = Training(fused, recipe, streams(name), schedule, resume=resume, monitors=monitors)
    return fused, made


def assert_same(fused, trained, expected_fused, expected):
    for value, wanted in zip(fused.variables, expected_fused.variables, strict=True):
        assert np.array_equal(value.numpy(), wanted.numpy()), value.path
    for name, result in expected.items():
        for value, wanted in zip(trained[name].predictions, result.predictions, strict=True):
            assert np.array_equal(value, wanted)
        assert trained[name].tests == result.tests
        assert trained[name].scores == result.scores
        assert trained[name].step == result.step


@pytest.mark.parametrize("patience", [None, 1])
def test_each_comes_out_as_alone(patience):
    """They have 6 and 9 steps, and with early stopping end when their own tests say so."""
    alone = {}
    for name in STEPS:
        fused, one = training(name, patience=patience)
        alone[name] = fused, *train_side_by_side([one])
    pairs = [training(name, patience=patience) for name in STEPS]
    together = train_side_by_side([one for _, one in pairs])
    for (fused, _), trained, name in zip(pairs, together, STEPS, strict=True):
        assert_same(fused, trained, *alone[name])


class _StopAt:
    """Requests a stop after a test at a step."""

    def __init__(self, stop, step):
        self._stop, self._step = stop, step

    def on_test_end(self, step, scores):
        self._stop.signalled = step == self._step


def test_a_stop_saves_all_and_each_goes_on(tmp_path):
    expected = {}
    for name in STEPS:
        fused, one = training(name)
        expected[name] = fused, *train_side_by_side([one])

    stop, begun = Stop(), []
    checkpoints = {}
    for name in STEPS:
        (tmp_path / name).mkdir()
        checkpoints[name] = Checkpoints(tmp_path / name, every=1e9, warn=pytest.fail)
        resume = Resume(checkpoints[name], None, stop)
        begun.append(training(name, resume=resume, monitors=[_StopAt(stop, 4)])[1])
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train_side_by_side(begun)
    assert {c.latest()[1]["step"] for c in checkpoints.values()} == {4}

    # One goes on alone for a step, as after a kill between two checkpoints.
    stop = Stop()
    first = training(
        "two",
        resume=Resume(checkpoints["two"], checkpoints["two"].latest(), stop),
        monitors=[_StopAt(stop, 6)],
    )[1]
    with pytest.raises(Interrupted, match="step 6 of 9"):
        train_side_by_side([first])
    pairs = [training(n, resume=Resume(c, c.latest())) for n, c in checkpoints.items()]
    together = train_side_by_side([one for _, one in pairs])
    for (fused, _), trained, name in zip(pairs, together, STEPS, strict=True):
        assert_same(fused, trained, *expected[name])
