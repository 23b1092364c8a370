import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer_keras import networks, surgery
from transfer_keras.config import unit_kinds
from transfer_keras.training import LearningRates, make_train_step
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


def test_warm_up_by_hand():
    """A rise from 0 in four steps; then the cosine over the six that are left, or the drops."""
    cosine = recipe(schedule="cosine", steps=10, learning_rate_warm_up=4).make_schedule()
    left = [0.1, 0.0933013, 0.075, 0.05, 0.025, 0.0066987]
    rates = [float(cosine(step)) for step in range(10)]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, *left], abs=1e-7)
    drops = recipe(schedule="step", steps=10, learning_rate_warm_up=4).make_schedule()
    expected = [0, 0.025, 0.005, 0.0075, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    assert [float(drops(step)) for step in range(10)] == pytest.approx(expected, abs=1e-9)


def test_adamw_is_that_of_keras():
    """On a transformer, whose biases, scales, positions and class token are not decayed."""
    units = (
        unit_kinds.PatchEmbedding("patches", 4, 4),
        unit_kinds.EncoderBlock("block1", 4, 2, 6, last=True),
        unit_kinds.Head("head"),
    )
    inputs = keras.Input((8, 8, 3))
    start = keras.Model(inputs, networks.build_units(units, inputs, 3), name="t")
    rng = np.random.default_rng(0)
    start.set_weights([rng.normal(0, 0.5, w.shape) for w in start.weights])
    x = tf.constant(rng.normal(size=(6, 8, 8, 3)), tf.float32)
    y = tf.constant([0, 1, 2, 0, 1, 2], tf.int32)
    count = len(start.trainable_variables)
    rates = LearningRates([1.0] * count, [False] * count, 0)
    trained = []
    for learning_rates in (None, rates):
        model = surgery.fuse({"t": start})
        made = recipe(
            optimizer="adamw",
            schedule="cosine",
            learning_rate=0.01,
            weight_decay=7.0,
            batch_size=6,
            learning_rates=learning_rates,
        )
        step = make_train_step(model, made.make_optimizer(), made, tf.distribute.get_strategy())
        for _ in range(3):
            step(x, y, tf.constant(False))
        trained.append(surgery.extract(model, "t").get_weights())
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(0.01, 20), weight_decay=7.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "embeddings"])
    before, variables = start.get_weights(), start.trainable_variables
    for _ in range(3):
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(y, start(x), from_logits=True)
            loss = tf.reduce_mean(losses)
        # Keras squares the single entries of the sparse gradient of an `Embedding`.
        gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]
        optimizer.apply(gradients, variables)
    for place, (now, then) in enumerate(zip(start.get_weights(), before, strict=True)):
        path = start.weights[place].path
        if "key/bias" in path:  # Softmax takes off what all scores have: its gradient is rounding.
            continue
        np.testing.assert_allclose(trained[0][place], now, atol=2e-4, err_msg=path)
        np.testing.assert_allclose(trained[1][place], now, atol=2e-4, err_msg=path)
        assert not np.allclose(then, now, atol=0.01), path


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
        {"learning_rate_warm_up": -1},
        {"learning_rate_warm_up": 20},
    ],
)
def test_bad_recipes(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        recipe(**change)
