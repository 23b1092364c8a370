"""Learning rates by unit: equal to NumPy's steps, to the plain optimizer, and to freezing."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, make_donor, perturb, values

from transfer_keras import surgery

STEPS = 5
RATE = 0.05
X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)


def linear():
    """A network of three linear units, small enough for gradients by hand."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((3,)),
        LAYERS.Dense(4, use_bias=False, name="one"),
        LAYERS.Dense(3, use_bias=False, name="two"),
        LAYERS.Dense(2, use_bias=False, name="three"),
    ])  # fmt: skip
    perturb(model)
    return model


def gradients(weights):
    """Gives the gradients of the mean squared error of a linear network, in float64."""
    a, b, c = weights
    error = 2 * (X @ a @ b @ c - Y) / Y.size
    return [X.T @ error @ c.T @ b.T, (X @ a).T @ error @ c.T, (X @ a @ b).T @ error]


def sgd(weights, rates, momentum=0.9):
    speed = [np.zeros_like(w) for w in weights]
    for _ in range(STEPS):
        for i, gradient in enumerate(gradients(weights)):
            speed[i] = momentum * speed[i] - rates[i] * gradient
        weights = [w + v for w, v in zip(weights, speed, strict=True)]
    return weights


def adam(weights, rates, decay=0.0, b1=0.9, b2=0.999):
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, STEPS + 1):
        new = []
        for i, gradient in enumerate(gradients(weights)):
            m[i] = b1 * m[i] + (1 - b1) * gradient
            v[i] = b2 * v[i] + (1 - b2) * gradient**2
            # Keras adds epsilon before it corrects the second moment.
            size = rates[i] * np.sqrt(1 - b2**step) / (1 - b1**step)
            decayed = weights[i] * (1 - decay * rates[i])
            new.append(decayed - size * m[i] / (np.sqrt(v[i]) + 1e-7))
        weights = new
    return weights


ORACLES = {
    "sgd": (lambda: keras.optimizers.SGD(RATE, momentum=0.9), sgd),
    "adam": (lambda: keras.optimizers.Adam(RATE), adam),
    "adamw": (
        lambda: keras.optimizers.AdamW(RATE, weight_decay=0.5),
        lambda weights, rates: adam(weights, rates, decay=0.5),
    ),
}
OTHERS = {
    "nesterov": lambda: keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True),
    "amsgrad": lambda: keras.optimizers.Adam(RATE, amsgrad=True, weight_decay=0.1),
    "clipped": lambda: keras.optimizers.Adam(RATE, global_clipnorm=0.1),
    "average": lambda: keras.optimizers.SGD(RATE, use_ema=True, ema_overwrite_frequency=2),
    "accumulated": lambda: keras.optimizers.Adam(RATE, gradient_accumulation_steps=2),
    "adamax": lambda: keras.optimizers.Adamax(RATE),
    "adagrad": lambda: keras.optimizers.Adagrad(RATE),
    "lion": lambda: keras.optimizers.Lion(RATE, weight_decay=0.1),
    "rmsprop": lambda: keras.optimizers.RMSprop(RATE, momentum=0.9, centered=True),
}
PLAIN = {**{name: make for name, (make, _) in ORACLES.items()}, **OTHERS}


def train(model, optimizer, **options):
    model.compile(optimizer, "mse", **options)
    model.fit(X, Y, batch_size=6, epochs=STEPS, shuffle=False, verbose=0)
    return [as_numpy(weight) for weight in model.weights]


@pytest.mark.parametrize("factors", [{1: 0.1, 2: 0.5, 3: 3.0}, {2: 0.25}], ids=["all", "one"])
@pytest.mark.parametrize(("make", "oracle"), ORACLES.values(), ids=ORACLES)
def test_equals_the_steps_by_hand(make, oracle, factors):
    model = linear()
    begin = [as_numpy(weight).astype(np.float64) for weight in model.weights]
    trained = train(model, surgery.unit_learning_rates(model, make(), factors))
    expected = oracle(begin, [RATE * factors.get(unit, 1.0) for unit in (1, 2, 3)])
    for value, by_hand, before in zip(trained, expected, begin, strict=True):
        # Much less than what training changed.
        assert np.abs(by_hand - before).max() > 0.005
        np.testing.assert_allclose(value, by_hand, atol=1e-5)


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_factors_of_one_are_the_plain_optimizer(make):
    expected = train(linear(), make())
    model = linear()
    trained = train(model, surgery.unit_learning_rates(model, make(), {1: 1, 2: 1, 3: 1.0}))
    for value, plain in zip(trained, expected, strict=True):
        np.testing.assert_array_equal(value, plain)


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_equal_factors_are_another_learning_rate(make):
    plain = make()
    plain.learning_rate = RATE * 0.5
    expected = train(linear(), plain)
    model = linear()
    trained = train(model, surgery.unit_learning_rates(model, make(), {1: 0.5, 2: 0.5, 3: 0.5}))
    for value, other in zip(trained, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(PLAIN) - {"clipped"}))
def test_a_factor_of_zero_is_freezing(name):
    frozen = linear()
    surgery.freeze(frozen, 2)
    expected = train(frozen, PLAIN[name]())
    model = linear()
    begin = [as_numpy(weight) for weight in model.weights]
    trained = train(model, surgery.unit_learning_rates(model, PLAIN[name](), {1: 0, 2: 0}))
    for place in (0, 1):
        np.testing.assert_array_equal(trained[place], begin[place])
    np.testing.assert_array_equal(trained[2], expected[2])


def test_schedules_and_the_learning_rate_of_the_optimizer():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.02, 0.01])
    expected = train(linear(), keras.optimizers.Adam(schedule))
    model = linear()
    optimizer = surgery.unit_learning_rates(model, keras.optimizers.Adam(schedule), {1: 1.0})
    for value, plain in zip(train(model, optimizer), expected, strict=True):
        np.testing.assert_array_equal(value, plain)

    optimizer = surgery.unit_learning_rates(linear(), keras.optimizers.SGD(0.1), {1: 0.5})
    optimizer.learning_rate = 0.2
    assert float(as_numpy(optimizer.learning_rate)) == np.float32(0.2)
    model = linear()
    optimizer = surgery.unit_learning_rates(model, keras.optimizers.SGD(0.1), {1: 0.5})
    change = keras.callbacks.LearningRateScheduler(lambda epoch: RATE)
    begin = [as_numpy(weight).astype(np.float64) for weight in model.weights]
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=6, epochs=STEPS, shuffle=False, verbose=0, callbacks=[change])
    expected = sgd(begin, [RATE * 0.5, RATE, RATE], momentum=0.0)
    for value, by_hand in zip(model.weights, expected, strict=True):
        np.testing.assert_allclose(as_numpy(value), by_hand, atol=1e-5)


def test_what_is_excluded_from_weight_decay_stays_excluded():
    plain = keras.optimizers.AdamW(RATE, weight_decay=0.5)
    plain.exclude_from_weight_decay(var_names=["kernel"])
    model = linear()
    begin = [as_numpy(weight).astype(np.float64) for weight in model.weights]
    trained = train(model, surgery.unit_learning_rates(model, plain, {1: 0.5}))
    expected = adam(begin, [RATE * 0.5, RATE, RATE])
    for value, by_hand in zip(trained, expected, strict=True):
        np.testing.assert_allclose(value, by_hand, atol=1e-5)


def test_a_saved_network_goes_on(tmp_path):
    factors = {1: 0.1, 2: 0.5, 3: 3.0}
    model = linear()
    begin = [as_numpy(weight).astype(np.float64) for weight in model.weights]
    model.compile(surgery.unit_learning_rates(model, keras.optimizers.Adam(RATE), factors), "mse")
    options = {"batch_size": 6, "shuffle": False, "verbose": 0}
    model.fit(X, Y, epochs=2, **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.fit(X, Y, epochs=STEPS - 2, **options)
    expected = adam(begin, [RATE * factors[unit] for unit in (1, 2, 3)])
    for value, by_hand in zip(loaded.weights, expected, strict=True):
        np.testing.assert_allclose(as_numpy(value), by_hand, atol=1e-5)


def test_a_network_is_saved_before_it_is_trained(tmp_path):
    model = linear()
    surgery.freeze(model, 1)
    optimizer = surgery.unit_learning_rates(model, "sgd", {1: 0.1, 2: 0.5})
    model.compile(optimizer, "mse")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config()["factors"] == [0.5, 1.0]
    loaded.fit(X, Y, verbose=0)


def test_units_names_and_layers():
    model = make_donor()
    names = surgery.unit_learning_rates(
        model, "sgd", {-1: 7.0, "three": 3.0, 3: 9.0, "three_bn": 4.0, 1: 2.0}
    )
    names.build(model.trainable_variables)
    given = zip(model.trainable_variables, names.get_config()["factors"], strict=True)
    expected = {"one": 2, "one_bn": 2, "two": 1, "three": 3, "three_bn": 4, "four": 7}
    assert {v.path.split("/")[0]: factor for v, factor in given} == expected
    assert surgery.layerwise_decay(model, 0.5) == {1: 0.125, 2: 0.25, 3: 0.5, 4: 1.0}
    merged = surgery.layerwise_decay(model, 0.5, blocks=lambda x: x.name[:1].replace("o", "t"))
    assert merged == {1: 0.5, 2: 1.0}


def test_the_weights_that_are_trained_may_change_before_compile():
    model = linear()
    optimizer = surgery.unit_learning_rates(model, "sgd", {1: 0.1, 2: 0.5})
    surgery.freeze(model, 1)
    train(model, optimizer)
    assert model.optimizer.get_config()["factors"] == [0.5, 1.0]


def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = linear()
        begin = values(model)
        trained = train(model, surgery.unit_learning_rates(model, "adam", {1: 0.0}))
    finally:
        keras.config.set_dtype_policy(policy)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    np.testing.assert_array_equal(trained[0], begin["one/kernel"])
    assert np.abs(trained[1] - begin["two/kernel"]).max() > 0


def shared():
    """A network whose layer `twin` is called in its first and again in its second unit."""
    inputs = keras.Input((3,))
    twin = LAYERS.Dense(3, name="twin")
    x = LAYERS.Dense(3, name="between")(twin(inputs))
    return keras.Model(inputs, LAYERS.Dense(2, name="top")(twin(x)))


def test_a_layer_of_two_units():
    model = shared()
    assert [unit.name for unit in surgery.units(model)] == ["twin", "between", "top"]
    for factors, in_message in (({1: 0.25}, "0.25 and 1.0"), ({2: 0.5}, "1.0 and 0.5")):
        with pytest.raises(surgery.SharedAcrossCut, match=f"'twin' is in units .*{in_message}"):
            surgery.unit_learning_rates(model, "sgd", factors)
    assert surgery.unit_learning_rates(model, "sgd", {1: 0.5, 2: 0.5})


def test_what_is_refused():
    model = linear()
    for factor in (-1, np.nan, np.inf, "1", True, None):
        with pytest.raises(ValueError, match="factors must be finite numbers"):
            surgery.unit_learning_rates(model, "sgd", {1: factor})
        with pytest.raises(ValueError, match="decay must be"):
            surgery.layerwise_decay(model, factor)
    with pytest.raises(ValueError, match="decay must be"):
        surgery.layerwise_decay(model, 0)
    with pytest.raises(surgery.UnknownLayer, match=r"no layer 'tow'. Nearest names: two"):
        surgery.unit_learning_rates(model, "sgd", {"tow": 1.0})
    for place in (0, 4, -4):
        with pytest.raises(surgery.NotACutPoint):
            surgery.unit_learning_rates(model, "sgd", {place: 1.0})
    with pytest.raises(surgery.NotRebuildable, match=r"class Ftrl. Expected one of .*SGD, Adam"):
        surgery.unit_learning_rates(model, "ftrl", {1: 1.0})
    optimizer = surgery.unit_learning_rates(linear(), "sgd", {1: 0.5})
    with pytest.raises(surgery.UnknownLayer, match=r"no learning rate for .*one/kernel"):
        optimizer.build(model.trainable_variables)
    copy = type(optimizer).from_config(optimizer.get_config())
    with pytest.raises(surgery.ShapeMismatch, match="rates for 3 weights; 2 are trained"):
        copy.build(model.trainable_variables[1:])
