import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.training import loop
from transfer_keras.training.optimizers import Recipe

STRATEGY = tf.distribute.get_strategy()


class Recorder:
    def __init__(self):
        self.calls = []

    def training(self, step, scores):
        self.calls.append(("training", step, scores))

    def validation(self, step, scores):
        self.calls.append(("validation", step, scores))

    def close(self):
        self.calls.append(("close",))


def linear(seed=0, classes=3, width=5):
    inputs = keras.Input((width,))
    kernel = keras.initializers.GlorotUniform(seed=seed)
    return keras.Model(
        inputs, keras.layers.Dense(classes, kernel_initializer=kernel, name="d")(inputs)
    )


def batches(count, size=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, size, 5)).astype(np.float32)
    y = rng.integers(0, 3, (count, size)).astype(np.int32)
    return x, y, tf.data.Dataset.from_tensor_slices((x, y))


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


RECIPE = Recipe(steps=6, batch_size=4, learning_rate=0.1, optimizer="sgd", schedule="cosine")


def test_softmax_regression_in_numpy():
    """Weights, scores and predictions of six steps against NumPy."""
    x, y, stream = batches(6)
    test_x, test_y, _ = batches(1, size=7, seed=1)
    model = linear()
    w, b = (v.numpy().astype(np.float64) for v in model.weights)
    fused, recorder = surgery.fuse({"one": model}), Recorder()
    test = tf.data.Dataset.from_tensor_slices((test_x[0], test_y[0])).batch(4)
    found = loop.train(
        fused, stream.repeat(), test, recipe=RECIPE, strategy=STRATEGY,
        validate_every=4, log_every=2, monitors=[recorder],
    )["one"]  # fmt: skip

    losses, hits, vw, vb = [], [], 0, 0
    for step in range(6):
        p = softmax(x[step] @ w + b)
        losses.append(-np.log(p[np.arange(4), y[step]]))
        hits.append(p.argmax(1) == y[step])
        error = (p - np.eye(3)[y[step]]) / 4
        rate = 0.1 * 0.5 * (1 + np.cos(np.pi * step / 6))
        vw = 0.9 * vw - rate * x[step].T @ error
        vb = 0.9 * vb - 2 * rate * error.sum(0)
        w, b = w + vw, b + vb
    for value, expected in zip(surgery.extract(fused, "one").weights, (w, b), strict=True):
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-6)

    p = softmax(test_x[0] @ w + b)
    assert np.array_equal(found.label, test_y[0])
    assert np.array_equal(found.predicted, p.argmax(1))
    np.testing.assert_allclose(found.loss, -np.log(p[np.arange(7), test_y[0]]), atol=1e-5)
    assert found.scores.accuracy == pytest.approx((p.argmax(1) == test_y[0]).mean())

    kinds = [call[:2] for call in recorder.calls]
    assert kinds == [
        ("training", 2), ("training", 4), ("validation", 4), ("training", 6), ("validation", 6),
        ("close",),
    ]  # fmt: skip
    for place, first in ((0, 0), (1, 2), (3, 4)):
        scores = recorder.calls[place][2]["one"]
        assert scores.loss == pytest.approx(np.mean(losses[first : first + 2]), abs=1e-5)
        assert scores.accuracy == pytest.approx(np.mean(hits[first : first + 2]))


def small(seed):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="one")(inputs)
    x = keras.layers.Dropout(0.3, name="drop")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, keras.layers.Dense(3, name="two")(x))
    return surgery.transplant(
        model, 1, mode="random" if seed == 2 else "fine_tune", seed=seed
    ).model


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_together_equals_alone_bit_for_bit(optimizer):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (6, 4, 8, 8, 3)).astype(np.uint8)
    y = rng.integers(0, 3, (6, 4)).astype(np.int32)
    stream = tf.data.Dataset.from_tensor_slices((x, y)).repeat()
    test = tf.data.Dataset.from_tensors((x[0], y[0]))
    recipe = Recipe(20, 4, 1e-3, optimizer, "cosine", weight_decay=1e-3)

    def train(networks):
        fused = surgery.fuse(networks)
        loop.train(
            fused, stream, test, recipe=recipe, strategy=STRATEGY, validate_every=7, log_every=9
        )
        return {n: [w.numpy() for w in surgery.extract(fused, n).weights] for n in networks}

    networks = {f"net{seed}": small(seed) for seed in (1, 2, 3)}
    together = train(networks)
    backwards = train(dict(reversed(networks.items())))
    for name, network in networks.items():
        alone = train({name: network})[name]
        for a, b, c in zip(together[name], alone, backwards[name], strict=True):
            assert np.array_equal(a, b)
            assert np.array_equal(a, c)
        first = [w.numpy() for w in network.weights]
        moved = [not np.array_equal(a, b) for a, b in zip(first, alone, strict=True)]
        assert moved == ([False, False, True, True] if name == "net2" else [True] * 4)


def test_monitors_are_closed_when_something_breaks():
    recorder = Recorder()

    def broken():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        loop.train(
            surgery.fuse({"one": linear()}), broken(), [], recipe=RECIPE, strategy=STRATEGY,
            validate_every=1, log_every=1, monitors=[recorder],
        )  # fmt: skip
    assert recorder.calls == [("close",)]
