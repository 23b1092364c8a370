"""Classes that weigh more than others, against a plain Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.training import STRATEGY, Recorder, batches, endless, linear

from transfer_keras import surgery
from transfer_keras.training import Schedule, Streams, train_networks
from transfer_keras.training.optimizers import Recipe

WEIGHTS = (0.25, 3.0, 1.0)


def train(class_weights, *, jit_compile=False):
    _, _, stream = batches(6)
    fused, recorder = surgery.fuse({"one": linear(1), "two": linear(2)}), Recorder()
    ended = train_networks(
        fused,
        Recipe(6, 4, 0.1, "adam", "cosine", class_weights=class_weights),
        Streams(endless(stream), lambda _: stream.take(2), STRATEGY),
        Schedule(validate_every=6, log_every=1, jit_compile=jit_compile),
        monitors=[recorder],
    )
    losses = [call[2]["one"].loss for call in recorder.calls if call[0] == "on_log"]
    weights = {name: surgery.extract(fused, name).get_weights() for name in ended}
    return weights, ended, losses


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_are_weighted_and_scores_are_not(jit_compile):
    weights, ended, losses = train(WEIGHTS, jit_compile=jit_compile)
    x, y, _ = batches(6)
    plain, weighted = (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        for reduction in ("none", "sum")
    )
    for name, seed in (("one", 1), ("two", 2)):
        model = linear(seed)
        optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 6))
        for step in range(6):
            with tf.GradientTape() as tape:
                logits = model(x[step])
                examples = np.array(WEIGHTS, np.float32)[y[step]]
                loss = weighted(y[step], logits, sample_weight=examples) / 4
            if name == "one":
                score = float(np.mean(plain(y[step], logits)))
                assert losses[step] == pytest.approx(score, rel=1e-5)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_weights)
        for value, expected in zip(weights[name], model.get_weights(), strict=True):
            np.testing.assert_allclose(value, expected, atol=1e-6)
        tested = np.concatenate([plain(y[step], model(x[step])) for step in range(2)])
        np.testing.assert_allclose(ended[name].predictions.loss, tested, atol=1e-5)


def test_none_and_ones_are_the_same():
    without, ones, weighted = (train(weights)[0] for weights in (None, (1.0,) * 3, WEIGHTS))
    assert all(map(np.array_equal, without["one"], ones["one"]))
    assert not any(map(np.array_equal, without["one"], weighted["one"]))


def test_wrong_ones():
    with pytest.raises(ValueError, match=r"expected {'one': 3, 'two': 3}. Received: 2"):
        train((1.0, 2.0))
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="class_weights"):
            Recipe(5, 4, 0.1, class_weights=(1.0, wrong))
