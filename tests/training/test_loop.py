import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize
from support.training import STRATEGY, Recorder, batches, endless, linear, poisoned

from transfer_keras import surgery
from transfer_keras.training import Schedule, Streams, train_networks
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.scores import chance_loss, outcome
from transfer_keras.training.unit_metrics import UnitMetrics


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


RECIPE = Recipe(steps=6, batch_size=4, learning_rate=0.1, optimizer="sgd", schedule="cosine")


def train(fused, stream, test, units=None, monitors=()):
    """Trains six steps, with a log every two and a test at the fourth and the last."""
    streams = Streams(endless(stream), lambda _: test, STRATEGY)
    schedule = Schedule(validate_every=4, log_every=2, unit_metrics=units)
    return train_networks(fused, RECIPE, streams, schedule, monitors=monitors)


def test_what_was_spent_on_the_examples_counts():
    *_, stream = batches(6)
    streams = Streams(endless(stream), lambda _: stream.take(1), STRATEGY, seconds=1e6)
    trained = train_networks(surgery.fuse({"one": linear()}), RECIPE, streams, Schedule(6, 6))
    assert trained["one"].seconds > 1e6


def test_softmax_regression_in_numpy():
    """Weights, scores and predictions of six steps against NumPy."""
    x, y, stream = batches(6)
    test_x, test_y, _ = batches(1, size=7, seed=1)
    model = linear()
    w, b = (v.numpy().astype(np.float64) for v in model.weights)
    fused, recorder = surgery.fuse({"one": model}), Recorder()
    test = tf.data.Dataset.from_tensor_slices((test_x[0], test_y[0])).batch(2)
    units = UnitMetrics(3, [fused.output["one"]], lambda v: tf.reduce_sum(v[0]), images=3)
    trained = train(fused, stream, test, units, [recorder])["one"]
    assert trained.outcome == "trained"
    assert [step for step, _, _ in trained.tests] == [4, 6]
    assert trained.tests[-1][1:] == trained.predictions.scores

    losses, hits, norms, outputs, before, vw, vb = [], [], [], [], [], 0, 0
    for step in range(6):
        before.append((w, b))
        outputs.append([(test_x[0][i : i + 2] @ w + b).sum() for i in (0, 2)])
        p = softmax(x[step] @ w + b)
        losses.append(-np.log(p[np.arange(4), y[step]]))
        hits.append(p.argmax(1) == y[step])
        error = (p - np.eye(3)[y[step]]) / 4
        norms.append([np.linalg.norm(x[step].T @ error), np.linalg.norm(error.sum(0))])
        rate = 0.1 * 0.5 * (1 + np.cos(np.pi * step / 6))
        vw = 0.9 * vw - rate * x[step].T @ error
        vb = 0.9 * vb - 2 * rate * error.sum(0)
        w, b = w + vw, b + vb
    for value, expected in zip(surgery.extract(fused, "one").weights, (w, b), strict=True):
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-6)

    p = softmax(test_x[0] @ w + b)
    predictions = trained.predictions
    assert np.array_equal(predictions.label, test_y[0])
    assert np.array_equal(predictions.predicted, p.argmax(1))
    np.testing.assert_allclose(predictions.loss, -np.log(p[np.arange(7), test_y[0]]), atol=1e-5)
    assert predictions.scores.accuracy == pytest.approx((p.argmax(1) == test_y[0]).mean())

    assert recorder.hooks() == [
        ("on_train_begin", 0), ("on_unit_metrics", 0), ("on_log", 2), ("on_unit_metrics", 3),
        ("on_log", 4), ("on_test_end", 4), ("on_log", 6), ("on_unit_metrics", 6),
        ("on_test_end", 6), ("on_train_end", 6),
    ]  # fmt: skip
    outputs.append([(test_x[0][i : i + 2] @ w + b).sum() for i in (0, 2)])
    for place, step in ((1, 0), (3, 3), (7, 6)):
        measurement = recorder.calls[place][2]
        # Four images, as whole batches of two; the others are not measured.
        np.testing.assert_allclose(measurement.activations, outputs[step], atol=1e-5)
        if step:
            np.testing.assert_allclose(measurement.gradient_norms, norms[step - 1], rtol=1e-5)
            for value, expected in zip(measurement.weights_before, before[step - 1], strict=True):
                np.testing.assert_allclose(value, expected, atol=1e-6)
        else:
            assert measurement[:2] == (None, None)
    for place, first in ((2, 0), (4, 2), (6, 4)):
        scores = recorder.calls[place][2]["one"]
        assert scores.loss == pytest.approx(np.mean(losses[first : first + 2]), abs=1e-5)
        assert scores.accuracy == pytest.approx(np.mean(hits[first : first + 2]))


def test_unit_metrics_change_no_number():
    """Weights, optimizer and predictions are equal bit for bit."""
    _, _, stream = batches(6)
    x, y, _ = batches(1, size=300, seed=1)
    test = tf.data.Dataset.from_tensor_slices((x[0], y[0])).batch(64)
    results = []
    for every in (None, 1, 4):
        fused = surgery.fuse({"one": deep(1), "two": deep(2)})
        tensors = [unit.output for unit in surgery.fused_units(fused, "two")]
        units = UnitMetrics(every, tensors, lambda values: values, 200) if every else None
        ended = train(fused, stream, test, units, [Recorder()])
        weights = [w.numpy() for w in fused.variables]  # The states of dropout among them.
        predictions = [np.stack(network.predictions) for network in ended.values()]
        results.append((weights, predictions, [network.tests for network in ended.values()]))
    for weights, predictions, tests in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(weights, results[0][0], strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(predictions, results[0][1], strict=True))
        assert tests == results[0][2]


def test_nothing_of_a_training_stays_in_memory():
    """A graph that stays holds the weights of its group: a study would fill the memory."""

    def graphs():
        gc.collect()
        return sum(isinstance(thing, tf.__internal__.FuncGraph) for thing in gc.get_objects())

    before = graphs()
    _, _, stream = batches(6)
    train(surgery.fuse({"one": deep(1)}), stream, stream)
    assert graphs() <= before


def deep(seed):
    inputs = keras.Input((5,))
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(16, activation="relu", name="d")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="e")(x))
    return surgery.transplant(model, 0, seed=seed).model


def mute():
    """Makes a network that is frozen with all its logits zero."""
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(3, kernel_initializer="zeros", name="d")(inputs)
    return surgery.transplant(keras.Model(inputs, outputs), 1, seed=1).model


def test_networks_that_diverge_or_stay_at_chance_do_not_affect_others():
    _, _, stream = batches(6)
    test = batches(1, size=7, seed=1)[2]

    def train_together(**networks):
        fused, recorder = surgery.fuse(networks), Recorder()
        ended = train(fused, stream, test, monitors=[recorder])
        kernel = surgery.extract(fused, "good").trainable_weights[0].numpy()
        return kernel, ended, recorder.calls

    kernel, ended, calls = train_together(good=linear(), nan=poisoned(), mute=mute())
    assert {name: network.outcome for name, network in ended.items()} == {
        "good": "trained", "nan": "diverged", "mute": "at chance",
    }  # fmt: skip
    assert [call for call in calls if call[0] == "on_train_end"] == [("on_train_end", 6, ended)]
    alone, other, _ = train_together(good=linear())
    assert np.array_equal(kernel, alone)
    assert ended["good"].scores == other["good"].scores


def test_outcome_within_one_percent_of_chance():
    chance = np.log(10)
    for loss, expected in (
        (chance, "at chance"), (chance * 1.0099, "at chance"), (chance * 0.9901, "at chance"),
        (chance * 1.0101, "trained"), (chance * 0.9899, "trained"), (0.0, "trained"),
        (float("nan"), "diverged"), (float("inf"), "diverged"),
    ):  # fmt: skip
        assert outcome(loss, 1.0, chance, 10) == expected
    assert outcome(1.0, float("nan"), chance, 10) == "diverged"


def test_neither_shares_nor_equal_probabilities_are_learned():
    """Of two classes at 60 and 40: what either answer costs, and what lies between."""
    entropy = chance_loss(np.array([0] * 60 + [1] * 40))
    for loss in (entropy, 0.68, np.log(2), 0.994 * entropy, 1.006 * np.log(2)):
        assert outcome(loss, 1.0, entropy, 2) == "at chance"
    for loss in (0.98 * entropy, 1.02 * np.log(2)):
        assert outcome(loss, 1.0, entropy, 2) == "trained"


def test_what_an_answer_costs_that_looks_at_no_image():
    """The entropy of the labels, and with class weights what the weighted loss is least at."""
    rng = np.random.default_rng(0)
    assert chance_loss(np.repeat(np.arange(7), 9)) == pytest.approx(np.log(7))
    assert chance_loss(np.array([0] * 60 + [1] * 40)) == pytest.approx(0.6730, abs=1e-4)
    labels = rng.choice(3, 500, p=[0.6, 0.3, 0.1])
    for weights in (None, (1.0, 2.0, 6.0), (0.5, 0.0001, 3.0)):
        of_each = np.ones(500) if weights is None else np.array(weights)[labels]

        def loss(logits, of_each=of_each):
            logits = np.append(logits, 0)
            nats = np.log(np.exp(logits).sum()) - logits[labels]
            return (of_each * nats).mean(), nats.mean()

        best = optimize.minimize(lambda x, loss=loss: loss(x)[0], np.zeros(2)).x
        assert chance_loss(labels, weights) == pytest.approx(loss(best)[1], rel=1e-3)


def test_a_network_that_only_knows_the_shares_has_not_learned():
    """Of 10 examples 6 are of one class: the loss is well below ln(2), and nothing is learned."""
    images, labels = np.zeros((10, 4), np.float32), np.array([0] * 6 + [1] * 4, np.int32)
    stream = tf.data.Dataset.from_tensors((images, labels))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, bias_initializer="zeros")])
    streams = Streams(lambda start, _: stream.repeat(), lambda _: stream, STRATEGY)
    outcomes = {}
    for name, chance in (("known", chance_loss(labels)), ("equal", None)):
        recipe = Recipe(300, 10, 0.1, "adam", "cosine", chance_loss=chance)
        trained = train_networks(surgery.fuse({"one": model}), recipe, streams, Schedule(300, 100))
        outcomes[name] = trained["one"].outcome
    assert outcomes == {"known": "at chance", "equal": "trained"}
