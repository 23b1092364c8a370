import keras
import numpy as np
import pytest

from transfer_keras.training.optimizers import Recipe


def recipe(**changes):
    fields = {"steps": 20, "batch_size": 4, "learning_rate": 0.1, "weight_decay": 0.01}
    return Recipe(**{**fields, **changes})


def test_the_papers_update_in_numpy():
    """Caffe: v = 0.9 v - rate (gradient + decay w); w += v; biases twice the rate, no decay."""
    settings = recipe(steps=20)
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}
    variables = [keras.Variable(value, dtype="float64") for value in start.values()]
    optimizer = settings.make_optimizer()
    optimizer.build(variables)
    weights, speed = dict(start), dict.fromkeys(start, 0.0)
    for step in range(20):
        gradients = {name: rng.normal(size=value.shape) for name, value in start.items()}
        rate = 0.1 * 0.1 ** sum(step >= round(20 * 100 / 450 * drop) for drop in range(1, 5))
        for name, multiplier, decay in (("kernel", 1, 0.01), ("bias", 2, 0)):
            total = gradients[name] + decay * weights[name]
            speed[name] = 0.9 * speed[name] - multiplier * rate * total
            weights[name] = weights[name] + speed[name]
        given = [keras.ops.convert_to_tensor(g) for g in gradients.values()]
        optimizer.apply(settings.adjust(given, variables), variables)
    for variable, expected in zip(variables, weights.values(), strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)  # The rate is a float32.


def test_step_schedule_drops_where_the_paper_did():
    schedule = recipe(steps=450_000, learning_rate=0.01).make_schedule()
    for step, rate in [
        (0, 1e-2),
        (99_999, 1e-2),
        (100_000, 1e-3),
        (399_999, 1e-5),
        (400_000, 1e-6),
    ]:
        assert float(schedule(step)) == pytest.approx(rate), step


def test_short_runs_keep_the_drops():
    schedule = recipe(steps=45, learning_rate=1.0).make_schedule()
    rates = [float(schedule(step)) for step in range(45)]
    expected = [10.0 ** -(step // 10) for step in range(45)]
    assert rates == pytest.approx(expected)
    for steps in range(1, 12):
        assert float(recipe(steps=steps).make_schedule()(0)) == pytest.approx(0.1)


def test_cosine():
    schedule = recipe(schedule="cosine", steps=100).make_schedule()
    rates = [float(schedule(step)) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.1, 0.05, 0.0], abs=1e-7)


def test_adam_leaves_bias_gradients_alone():
    variables = [keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))]
    gradients = [np.full((2, 2), 3.0), np.full(2, 3.0)]
    adjusted = recipe(optimizer="adam", weight_decay=0.5).adjust(gradients, variables)
    assert np.array_equal(adjusted[0], np.full((2, 2), 3.5))
    assert np.array_equal(adjusted[1], gradients[1])


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"learning_rate": -1},
        {"optimizer": "x"},
        {"schedule": "x"},
        {"weight_decay": -1},
    ],
)
def test_bad_recipes(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        recipe(**change)
