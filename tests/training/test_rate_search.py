"""The search for a learning rate: each of its trainings is one that the loop would do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.training import STRATEGY, endless

from transfer_keras import surgery
from transfer_keras.training import LearningRates, Schedule, Streams, search_rates, train_networks
from transfer_keras.training.optimizers import Recipe

RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RECIPE = Recipe(100, 8, 1e-3, "adam", "step", weight_decay=1e-4)


def networks():
    """Two networks with BatchNorm and dropout, the same at each call."""
    made = {}
    for seed, name in enumerate(("one", "two")):
        layers = keras.layers
        kernel = keras.initializers.GlorotUniform(seed)
        x = inputs = keras.Input((5,))
        # A bias before BatchNorm would have no gradient but rounding, which Adam enlarges.
        x = layers.Dense(6, kernel_initializer=kernel, use_bias=False, name="low")(x)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Dropout(0.2, seed=seed, name="drop")(layers.ReLU(name="relu")(x))
        x = layers.Dense(3, kernel_initializer=kernel, name="high")(x)
        made[name] = keras.Model(inputs, x, name=name)
    return surgery.fuse(made)


def streams():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (7, 8)).astype("int32")
    images = rng.normal(size=(7, 8, 5)).astype("float32") + labels[..., None]
    examples = tf.data.Dataset.from_tensor_slices((images, labels))
    return Streams(endless(examples.take(5)), lambda _: examples.skip(5), STRATEGY)


def trained(rate, steps, rates=None):
    """What the loop makes of the networks with a rate: the model and the scores."""
    model = networks()
    recipe = dataclasses.replace(
        RECIPE, steps=steps, learning_rate=rate, schedule="cosine", learning_rates=rates
    )
    results = train_networks(model, recipe, streams(), Schedule(steps, steps))
    return model, {name: result.predictions.scores for name, result in results.items()}


def values(model):
    return [variable.numpy() for variable in model.variables]


@pytest.fixture(scope="module")
def searched():
    model = networks()
    return model, search_rates(model, RECIPE, streams(), RATES, [4, 9])


def test_each_training_is_that_of_the_loop(searched):
    _, trials = searched
    for trial in trials:
        _, scores = trained(trial.rate, trial.steps)
        for name, expected in scores.items():
            np.testing.assert_allclose(trial.scores[name], expected, rtol=1e-5, err_msg=trial.rate)


def test_the_better_half_goes_on(searched):
    _, trials = searched
    first = [trial for trial in trials if trial.steps == 4]
    assert [trial.rate for trial in first] == list(RATES)
    losses = {
        trial.rate: np.mean([scores.loss for scores in trial.scores.values()]) for trial in first
    }
    assert len(set(losses.values())) == len(RATES)
    best = sorted(RATES, key=losses.get)[:3]
    assert [trial.rate for trial in trials if trial.steps == 9] == best
    assert best != list(RATES)[:3], "else the order of the rates would do"


def test_the_model_has_the_weights_of_the_best_of_the_last_rung(searched):
    model, trials = searched
    best = min((trial for trial in trials if trial.steps == 9), key=lambda trial: trial.loss)
    expected, _ = trained(best.rate, 9)
    for value, other in zip(values(model), values(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)


def test_a_rate_can_be_that_of_some_variables_alone():
    model = networks()

    def is_low(variable):
        return "low" in variable.path

    trials = search_rates(model, RECIPE, streams(), (1e-2,), [5], searched=is_low)
    low = [is_low(variable) for variable in networks().trainable_variables]
    assert 0 < sum(low) < len(low)
    rates = LearningRates([10.0 if one else 1.0 for one in low], [False] * len(low), 0)
    expected, scores = trained(1e-3, 5, rates)
    np.testing.assert_allclose(trials[0].scores["one"], scores["one"], rtol=1e-5)
    for value, other in zip(values(model), values(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)


def test_the_best_rate_is_tried_with_other_factors_last():
    model = networks()
    factors = [1 / (1 + place) for place in range(len(model.trainable_variables))]
    trials = search_rates(
        model, RECIPE, streams(), RATES[:3], [4, 9],
        searched=lambda variable: "high" not in variable.path, decayed=factors,
    )  # fmt: skip
    assert [(trial.steps, trial.decayed) for trial in trials] == [
        *[(4, False)] * 3, *[(9, False)] * 2, (9, True),
    ]  # fmt: skip
    *others, last = trials[3:]
    assert last.rate == min(others, key=lambda trial: trial.loss).rate
    relative = [
        factor * last.rate / 1e-3 if "high" not in variable.path else 1.0
        for factor, variable in zip(factors, networks().trainable_variables, strict=True)
    ]
    expected, scores = trained(1e-3, 9, LearningRates(relative, [False] * len(relative), 0))
    np.testing.assert_allclose(last.scores["one"], scores["one"], rtol=1e-5)
    if last.loss < min(trial.loss for trial in others):
        for value, other in zip(values(model), values(expected), strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)


def test_the_usual_rate_goes_on_in_any_case(searched):
    _, trials = searched
    worst = [trial for trial in trials if trial.steps == 4]
    worst = max(worst, key=lambda trial: trial.loss).rate
    again = search_rates(networks(), RECIPE, streams(), RATES, [4, 9], usual=worst)
    rates = [trial.rate for trial in again if trial.steps == 9]
    assert rates == [*[trial.rate for trial in trials if trial.steps == 9], worst]


def test_what_is_better_by_less_than_the_standard_error_is_not_surely_better(searched):
    _, (trial, *_) = searched

    def with_losses(values):
        values = np.asarray(values, float)
        scores = {"one": trial.scores["one"]._replace(loss=values.mean())}
        return trial._replace(scores=scores, image_losses=values)

    rng = np.random.default_rng(0)
    noise, base = rng.normal(size=50), with_losses(rng.normal(2, 1, 50))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    for gain, sure in ((0.9, False), (1.1, True)):
        # A standard error of the paired differences is 1 / sqrt(50).
        other = with_losses(base.image_losses + noise - gain / np.sqrt(50))
        assert other.is_surely_better(base) == sure
        assert not base.is_surely_better(other)
    assert trial.is_surely_better(with_losses(np.full(50, np.nan)))


def test_the_losses_of_images_make_the_loss(searched):
    for trial in searched[1]:
        assert trial.image_losses.shape == (16,)
        assert trial.image_losses.mean() == pytest.approx(trial.loss, rel=1e-5)


def test_what_diverges_is_the_last(searched):
    trials = search_rates(networks(), RECIPE, streams(), (float("1e38"), 1e-3), [3])
    assert trials[0].loss == np.inf
    assert np.isfinite(trials[1].loss)


def test_a_stop_ends_it_with_what_there_is():
    model, steps = networks(), []
    trials = search_rates(
        model, RECIPE, streams(), RATES, [4, 8],
        stop=lambda: len(steps) == 6, on_step=lambda: steps.append(1),
    )  # fmt: skip
    assert [trial.rate for trial in trials] == [RATES[0]]
    assert len(steps) == 6
    expected, _ = trained(RATES[0], 4)
    for value, other in zip(values(model), values(expected), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rates", "rungs"), [((), [3]), (RATES, []), (RATES, [0])])
def test_nothing_to_search_is_an_error(rates, rungs):
    with pytest.raises(ValueError, match="Expected rates and steps"):
        search_rates(networks(), RECIPE, streams(), rates, rungs)
