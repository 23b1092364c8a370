"""Each network ends at its best test, alone or in a group, interrupted or not."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.training import Recorder, endless, poisoned

from transfer_keras import surgery
from transfer_keras.config import Interrupted
from transfer_keras.config.errors import UserError
from transfer_keras.training import Resume, Schedule, Streams, train_networks
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.early_stopping import EarlyStopping
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import Predictions, Scores
from transfer_keras.training.signals import Stop
from transfer_keras.training.unit_metrics import UnitMetrics

STEPS, EVERY, LOG_EVERY, BATCH, PATIENCE = 60, 3, 4, 8, 3


def network(seed):
    """Learns its few examples by heart."""
    inputs = keras.Input((5,))
    x = keras.layers.Normalization(mean=[0.1] * 5, variance=[2.0] * 5)(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Dense(16, name="d")(x))
    x = keras.layers.Dropout(0.3)(keras.layers.Activation("relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="e")(x))
    return surgery.transplant(model, 0, seed=seed).model


def frozen(seed):
    """Makes a network with a frozen unit; two such share it in a group."""
    return surgery.transplant(network(9), 1, mode="frozen", seed=seed).model


NETWORKS = {
    "a": lambda: network(1),
    "b": lambda: network(2),
    "c": lambda: frozen(3),
    "d": lambda: frozen(4),
    "nan": poisoned,
}


class StateRecorder(Recorder):
    """Keeps each network as it is at each test; requests a stop after a step."""

    def __init__(self, fused, names, stop_at=None):
        super().__init__()
        self.fused, self.names, self.stop, self._at = fused, names, Stop(), stop_at
        self.at = {}

    def on_test_end(self, step, scores):
        super().on_test_end(step, scores)
        self.at[step] = {name: state_of(self.fused, name) for name in self.names}
        self.stop.signalled = step == self._at


def state_of(fused, name):
    """Gives the values of all variables, the states of dropout seeds included."""
    return [v.numpy() for v in surgery.extract(fused, name).variables]


def train(names, patience=None, *, folder=None, stop_at=None, measure_every=None, steps=STEPS):
    """Gives the results, the recorder, and each network at its end."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, BATCH, 5)).astype(np.float32)
    y = rng.integers(0, 3, (7, BATCH)).astype(np.int32)
    stream = tf.data.Dataset.from_tensor_slices((x[:5], y[:5]))
    test = tf.data.Dataset.from_tensor_slices((x[4:], y[4:]))
    fused = surgery.fuse({name: NETWORKS[name]() for name in names})
    recorder = StateRecorder(fused, names, stop_at)
    checkpoints = Checkpoints(folder, every=1e6, warn=print) if folder else None
    units = measure_every and UnitMetrics(measure_every, [fused.output["a"]], lambda v: v[0])
    ended = train_networks(
        fused,
        Recipe(steps, BATCH, 0.03, "adam", "cosine"),
        Streams(endless(stream), lambda _: test, tf.distribute.get_strategy()),
        Schedule(EVERY, LOG_EVERY, unit_metrics=units, patience=patience),
        resume=Resume(checkpoints, checkpoints.latest() if folder else None, recorder.stop),
        monitors=[recorder],
    )
    return ended, recorder, {name: state_of(fused, name) for name in names}


def by_hand(losses, patience):
    """Finds the test that counts and the last one, of [(step, loss)]."""
    for end in range(1, len(losses) + 1):
        lowest = min(losses[:end], key=lambda pair: pair[1] if pair[1] == pair[1] else math.inf)
        fell = not math.isnan(lowest[1])
        since = [step for step, _ in losses[:end] if step > lowest[0] or not fell]
        if len(since) == patience:
            break
    return lowest[0], losses[end - 1][0]


@pytest.fixture(scope="module")
def plain():
    """Trains all networks to the last step."""
    return train(list(NETWORKS))


@pytest.fixture(scope="module")
def group():
    return train(list(NETWORKS), PATIENCE)


@pytest.fixture(scope="module")
def expected(plain):
    """Computes {network: (step that counts, its own last step)}."""
    return {
        name: by_hand([test[:2] for test in ended.tests], PATIENCE)
        for name, ended in plain[0].items()
    }


def assert_equal(arrays, expected):
    assert len(arrays) == len(expected)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, expected, strict=True))


def test_by_hand():
    losses = list(enumerate([3.0, 2.0, 2.0, math.nan, 1.0, 5.0, 1.0, 0.5], 1))
    assert by_hand(losses, 1) == (2, 3)
    assert by_hand(losses, 2) == (2, 4)
    assert by_hand(losses, 3) == (8, 8)
    assert by_hand([(1, math.nan), (2, math.nan), (3, 1.0)], 2) == (1, 2)


def test_the_networks_end_at_different_steps(expected, plain):
    """Without this the other tests would prove little."""
    assert len({last for _, last in expected.values()}) > 2
    assert all(best < last < STEPS for best, last in expected.values())
    assert expected["nan"] == (EVERY, PATIENCE * EVERY)
    off_log = [last for _, last in expected.values() if last % LOG_EVERY]
    assert off_log
    assert {ended.step for ended in plain[0].values()} == {STEPS}


def test_each_gets_the_weights_of_its_best_test(group, plain, expected):
    ended, recorder, weights = group
    for name, (best, last) in expected.items():
        assert ended[name].step == best
        tests = tuple(test for test in plain[0][name].tests if test[0] <= last)
        assert repr(ended[name].tests) == repr(tests)  # NaN is not itself.
        scores = next(call[2] for call in plain[1].calls if call[:2] == ("on_test_end", best))
        assert repr(ended[name].predictions.scores) == repr(scores[name])
        assert_equal(weights[name], plain[1].at[best][name])
        if name != "nan":
            assert not np.array_equal(weights[name][-1], plain[2][name][-1])
    assert {name: network.outcome for name, network in ended.items()} == {
        name: "diverged" if name == "nan" else "trained" for name in ended
    }
    end = max(last for _, last in expected.values())
    assert recorder.hooks()[-1] == ("on_train_end", end)
    assert recorder.calls[-1][2] is ended
    assert max(step for _, step in recorder.hooks()) == end


# Of each kind one is enough, where time is short.
@pytest.mark.parametrize(
    "name", ["a", "c", *(pytest.param(x, marks=pytest.mark.slow) for x in ("b", "d", "nan"))]
)
def test_a_group_equals_each_alone(group, name):
    ended, _, weights = group
    alone, _, weights_alone = train([name], PATIENCE)
    assert_equal(weights[name], weights_alone[name])
    assert_equal(ended[name].predictions, alone[name].predictions)
    for field in ("scores", "outcome", "tests", "step"):
        assert repr(getattr(ended[name], field)) == repr(getattr(alone[name], field)), field


@pytest.mark.slow
def test_after_all_steps_the_best_test_counts(plain):
    ended, recorder, weights = train(list(NETWORKS), 1000)
    assert recorder.hooks() == plain[1].hooks()
    for name, network in ended.items():
        best, last = by_hand([test[:2] for test in network.tests], 1000)
        assert (network.step, last) == (best, STEPS)
        assert repr(network.tests) == repr(plain[0][name].tests)
        assert repr(network.scores) == repr(plain[0][name].scores)
        assert_equal(weights[name], plain[1].at[best][name])


def test_the_last_step_calls_all_hooks():
    """There is a final log and a final measurement, whose gradients are those of that step."""
    names = ["a", "c"]
    ended, recorder, _ = train(names, PATIENCE, measure_every=7)
    _, every, _ = train(names, measure_every=1)
    last = max(network.tests[-1][0] for network in ended.values())
    assert last % LOG_EVERY
    assert last % 7
    calls = recorder.hooks()
    final = ("on_log", "on_unit_metrics", "on_test_end", "on_train_end")
    assert calls[-4:] == [(hook, last) for hook in final]
    steps = {hook: [s for h, s in calls if h == hook] for hook in ("on_log", "on_unit_metrics")}
    assert steps["on_log"] == [*range(LOG_EVERY, last, LOG_EVERY), last]
    assert steps["on_unit_metrics"] == [*range(0, last, 7), last]
    measurement, same = (
        next(call[2] for call in calls if call[:2] == ("on_unit_metrics", last))
        for calls in (recorder.calls, every.calls)
    )
    assert np.array_equal(measurement.gradient_norms, same.gradient_norms)
    assert measurement.gradient_norms.min() > 0
    assert_equal(measurement.weights_before, same.weights_before)
    assert_equal(measurement.activations, same.activations)


def test_a_step_that_could_have_been_the_last_is_as_any_other():
    ended, recorder, _ = train(["a"], 1, measure_every=7)
    assert [step for step, *_ in ended["a"].tests] == [3, 6]
    assert [step for hook, step in recorder.hooks() if hook == "on_unit_metrics"] == [0, 6]


@pytest.mark.parametrize("tests", [3, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 7))])
def test_going_on_gives_what_an_undisturbed_run_gives(group, expected, tmp_path, tests):
    ended, recorder, weights = group
    step = tests * EVERY
    assert step < max(last for _, last in expected.values())
    with pytest.raises(Interrupted):
        train(list(NETWORKS), PATIENCE, folder=tmp_path, stop_at=step)
    again, calls, resumed = train(list(NETWORKS), PATIENCE, folder=tmp_path)
    later = [call for call in recorder.hooks() if call[1] > step]
    assert calls.hooks() == [("on_train_begin", step), *later]
    for name, network in ended.items():
        assert_equal(resumed[name], weights[name])
        assert_equal(again[name].predictions, network.predictions)
        for field in ("scores", "outcome", "tests", "step"):
            values = [getattr(of[name], field) for of in (again, ended)]
            assert repr(np.array(values[0])) == repr(np.array(values[1])), field


def test_a_checkpoint_holds_more_only_with_patience(tmp_path):
    """Weights, statistics and seeds of what is not frozen, and three arrays of predictions."""
    position = ["step", "since", "tests", "seconds"]
    for patience, other_patience, more, expected in (
        (None, PATIENCE, 0, position),
        (PATIENCE, None, (2 + 4 + 2 + 1 + 3) + (2 + 1 + 3), [*position, "stopping"]),
    ):
        folder = tmp_path / str(patience)
        folder.mkdir()
        with pytest.raises(Interrupted):
            train(["a", "c"], patience, folder=folder, stop_at=EVERY)
        arrays, facts = Checkpoints(folder, every=1, warn=print).latest()
        model = surgery.fuse({name: NETWORKS[name]() for name in ("a", "c")})
        moments = 2 * len(model.trainable_variables)  # And the number of updates, and the sums.
        assert len(arrays) == len(model.variables) + moments + 1 + 1 + more
        assert list(facts) == expected
        with pytest.raises(UserError, match=r"of another training.* Remove the folder"):
            train(["a", "c"], other_patience, folder=folder)


def stopping(patience, *, norm=False, **losses):
    """Tests with these losses, at steps 10, 20, …; the weights count them.

    Args:
        norm: there is a BatchNorm, of statistics alone.

    Returns:
        The early stopping, and the weights of each network at the end.
    """
    inputs = x = keras.Input((2,))
    if norm:
        x = keras.layers.BatchNormalization(center=False, scale=False, name="norm")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="d")(x))
    fused = surgery.fuse(dict.fromkeys(losses, model))
    made = EarlyStopping(fused, patience)
    for k, row in enumerate(zip(*losses.values(), strict=True), 1):
        for weight in fused.weights:
            weight.assign(weight * 0 + k)
        one = np.zeros(1, np.int32)
        made.test(
            10 * k,
            {n: Predictions(one, one, np.array([x])) for n, x in zip(losses, row, strict=True)},
            dict.fromkeys(losses, Scores(k, 0.5)),
        )
    made.restore_best_weights()
    return made, {n: surgery.extract(fused, n).get_weights() for n in losses}


def assert_weights(weights, expected, count=2):
    """Compares all weights of each network with one number, and counts them."""
    assert weights.keys() == expected.keys()
    for name, arrays in weights.items():
        assert len(arrays) == count
        assert all((array == expected[name]).all() for array in arrays), name


@pytest.mark.parametrize(
    ("losses", "best", "last"),
    [
        ([3, 2, 2, 2, 1], 2, 4),  # The first of equals; what comes after it is done is ignored.
        ([3, 2, 4, 1, 2, 2], 4, 6),
        ([3, math.nan, 2, math.nan, math.nan, 1], 3, 5),
        ([math.nan, 5, 6, 4], 4, 4),
        ([math.nan, math.nan, 1], 1, 2),
        ([math.inf, math.inf, 1], 1, 2),
        ([1], 1, 1),
    ],
)
def test_sequences(losses, best, last):
    made, weights = stopping(2, x=losses)
    state = made.states["x"]
    assert (state.step, state.tested) == (10 * best, 10 * last)
    assert state.scores.loss == last
    assert_weights(weights, {"x": best})
    assert repr(made.predictions["x"].scores.loss) == repr(float(losses[best - 1]))


def test_the_training_ends_when_all_are_done():
    for count, may_end, all_done in ((2, False, False), (3, False, False), (4, True, False)):
        made, _ = stopping(2, x=[1, 2, 3, 4, 5][:count], y=[5, 4, 3, 4, 4][:count])
        assert (made.may_end, made.all_done) == (may_end, all_done)
    made, weights = stopping(2, x=[1, 2, 3, 4, 5], y=[5, 4, 3, 4, 4])
    assert made.all_done
    assert_weights(weights, {"x": 1, "y": 3})


def test_without_patience_the_last_test_counts_and_no_weight_is_copied():
    made, weights = stopping(None, x=[1, 2, 3, math.nan])
    assert made.states["x"].step == 40
    assert_weights(weights, {"x": 4})
    assert (made.all_done, made.may_end, made.arrays(), made.facts()) == (False, False, [], {})


def test_each_network_goes_back_to_its_own_statistics():
    """A BatchNorm without scale and shift has statistics alone, which networks do not share."""
    _, weights = stopping(2, norm=True, x=[1, 2, 3], y=[3, 2, 1])
    assert_weights(weights, {"x": 1, "y": 3}, count=4)


def test_patience_is_at_least_one():
    inputs = keras.Input((2,))
    fused = surgery.fuse({"x": keras.Model(inputs, keras.layers.Dense(2)(inputs))})
    with pytest.raises(ValueError, match="patience must be at least one"):
        EarlyStopping(fused, 0)
