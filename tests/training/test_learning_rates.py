"""Learning rates by variable, and the warm-up of new layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.training import Recorder, endless

from transfer_keras import surgery
from transfer_keras.config import Interrupted
from transfer_keras.training import Resume, Schedule, Streams, train_networks
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.learning_rates import LearningRates, inference_mode
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.signals import Stop

FACTORS, FROZEN = (1.0, 0.1, 3.0, 0.5, 0.0), (False, True, False, True, False)
ROUNDING = 5e-5  # Keras has the rate, and Adam's 0.999, as float32: 1 - 0.999 is off by 1e-5.
SHAPES = ((3, 4), (4, 2), (4,), (2,), (2, 3))


def numpy_sgd(rate, gradients, value):
    speed = 0.0
    for now, gradient in zip(rate, gradients, strict=True):
        gradient = gradient + 0.01 * value if value.ndim > 1 else 2 * gradient
        speed = 0.9 * speed - now * gradient
        value = value + speed
    return value


def numpy_adam(rate, gradients, value, decoupled=False):
    """Computes Kingma and Ba (2015), with epsilon outside the correction, as Keras has it."""
    m = v = 0.0
    for t, (now, gradient) in enumerate(zip(rate, gradients, strict=True), 1):
        if value.ndim > 1 and decoupled:
            value = value - now * 0.01 * value
        elif value.ndim > 1:
            gradient = gradient + 0.01 * value
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        alpha = now * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        value = value - alpha * m / (np.sqrt(v) + 1e-7)
    return value


def numpy_adamw(rate, gradients, value):
    """Computes Loshchilov and Hutter (2019), the decay with the rate of the variable."""
    return numpy_adam(rate, gradients, value, decoupled=True)


@pytest.mark.parametrize("warm_up", [0, 7])
@pytest.mark.parametrize(
    ("optimizer", "oracle"), [("sgd", numpy_sgd), ("adam", numpy_adam), ("adamw", numpy_adamw)]
)
def test_twenty_steps_in_numpy(optimizer, oracle, warm_up):
    """Each variable by itself, with a rate of its own, weight decay included."""
    rates = LearningRates(FACTORS, FROZEN, warm_up)
    recipe = Recipe(20, 4, 0.1, optimizer, "cosine", weight_decay=0.01, learning_rates=rates)
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in SHAPES]
    gradients = [rng.normal(size=(20, *shape)) for shape in SHAPES]
    variables = [keras.Variable(value, dtype="float64") for value in start]
    made = recipe.make_optimizer()
    made.build(variables)
    for step in range(20):
        if step == warm_up:
            for k, value in enumerate(start):
                unchanged = FROZEN[k] or not FACTORS[k] or not step
                assert np.array_equal(variables[k].numpy(), value) == unchanged
        given = [tf.constant(each[step]) for each in gradients]
        made.apply(recipe.adjust(given, variables), variables)
    schedule = 0.05 * (1 + np.cos(np.pi * np.arange(20) / 20))
    for k, variable in enumerate(variables):
        rate = schedule * FACTORS[k] * np.where(FROZEN[k] & (np.arange(20) < warm_up), 0, 1)
        expected = oracle(rate, gradients[k], start[k])
        np.testing.assert_allclose(variable.numpy(), expected, atol=ROUNDING)
        assert np.array_equal(variable.numpy(), start[k]) == (FACTORS[k] == 0)


def test_without_rates_the_optimizers_are_those_of_keras():
    for name, kind in (("sgd", keras.optimizers.SGD), ("adam", keras.optimizers.Adam)):
        assert type(Recipe(5, 4, 0.1, name).make_optimizer()) is kind
    assert isinstance(Recipe(5, 4, 0.1, "adamw").make_optimizer(), keras.optimizers.AdamW)


STEPS, WARM_UP, BATCH = 9, 4, 8


def normed(seed, *, dropout=0.0):
    """Makes a network with two BatchNormalization layers; the warm-up freezes the first."""
    inputs = keras.Input((5,))
    x = keras.layers.Dense(8, name="low")(inputs)
    x = keras.layers.Activation("relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.BatchNormalization(name="later")(keras.layers.Dense(6, name="new")(x))
    model = surgery.transplant(
        keras.Model(inputs, keras.layers.Dense(3, name="head")(x)), 0, seed=seed
    ).model
    rng = np.random.default_rng(seed)
    for weight in model.get_layer("norm").weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))  # Not those of a batch.
    return model


def rates_of(fused, *, warm=("one",), **changes):
    """Makes rates that freeze the lower layers of some networks in the warm-up, and slow them."""
    owners = [v.path.split("--")[0].split("-")[1] for v in fused.trainable_variables]
    low = [
        owner in warm and v.path.split("--")[1].startswith(("low", "norm"))
        for owner, v in zip(owners, fused.trainable_variables, strict=True)
    ]
    frozen = [
        layer
        for layer in fused.layers
        if layer.name.endswith("--norm") and layer.name.split("--")[0].split("-")[1] in warm
    ]
    given = {"factors": [0.3 if slow else 1.0 for slow in low], "frozen_in_warm_up": low}
    given |= {"warm_up": WARM_UP, "frozen_batch_norm": frozen}
    return LearningRates(**{**given, **changes})


class Weights(Recorder):
    """Copies all variables after each step; requests a stop after one."""

    def __init__(self, fused, stop_at=None):
        super().__init__()
        self.fused, self.stop, self._at, self.values = fused, Stop(), stop_at, {}

    def on_train_begin(self, step):
        super().on_train_begin(step)
        self.copy(step)

    def on_log(self, step, scores):
        super().on_log(step, scores)
        self.copy(step)
        self.stop.signalled = step == self._at

    def copy(self, step):
        self.values[step] = {v.path: v.numpy().copy() for v in self.fused.variables}


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(STEPS, BATCH, 5)).astype(np.float32)
    return x, rng.integers(0, 3, (STEPS, BATCH)).astype(np.int32)


def train(networks, rates=None, *, optimizer="adam", folder=None, stop_at=None, **more):
    """Gives the recorder, and the values of each network's variables at the end."""
    fused = surgery.fuse(networks)
    stream = tf.data.Dataset.from_tensor_slices(data())
    given = {"learning_rates": rates(fused)} if rates else {}
    recipe = Recipe(STEPS, BATCH, 0.05, optimizer, "cosine", 0.01, **given)
    recorder = Weights(fused, stop_at)
    checkpoints = Checkpoints(folder, every=1e6, warn=print) if folder else None
    train_networks(
        fused,
        recipe,
        Streams(endless(stream), lambda _: stream.take(1), tf.distribute.get_strategy()),
        Schedule(validate_every=4, log_every=1, **more),
        resume=Resume(checkpoints, checkpoints.latest() if folder else None, recorder.stop),
        monitors=[recorder],
    )
    extracted = {name: surgery.extract(fused, name) for name in networks}
    return recorder, {
        name: {w.path.split("/", 1)[-1] + str(k): w.numpy() for k, w in enumerate(model.variables)}
        for name, model in extracted.items()
    }


@pytest.mark.parametrize(
    ("optimizer", "jit_compile"),
    [
        ("sgd", False),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in (("sgd", True), ("adam", False), ("adam", True))
        ),
    ],
)
def test_frozen_variables_are_bit_equal_until_the_end_of_the_warm_up_and_move_then(
    optimizer, jit_compile
):
    networks = {"one": normed(1), "two": normed(2)}
    recorder, _ = train(networks, rates_of, optimizer=optimizer, jit_compile=jit_compile)
    values = recorder.values
    frozen = [path for path in values[0] if "-one--" in path and "/" in path and is_low(path)]
    assert len(frozen) == 2 + 4  # Kernel, bias; scale, shift and both statistics.
    for path, start in values[0].items():
        for step in range(1, WARM_UP + 1):
            moved = not np.array_equal(values[step][path], start)
            assert moved == (path not in frozen), (path, step)
        assert not np.array_equal(values[WARM_UP + 1][path], start), path


def is_low(path):
    return path.split("--")[1].startswith(("low", "norm"))


def test_frozen_batch_norm_is_enough_to_freeze_its_variables():
    def none_frozen(fused):
        return rates_of(fused, frozen_in_warm_up=[False] * len(fused.trainable_variables))

    values = train({"one": normed(1)}, none_frozen)[0].values
    for path, start in values[0].items():
        frozen = "--norm/" in path
        assert np.array_equal(values[WARM_UP][path], start) == frozen, path


def test_in_the_warm_up_the_statistics_are_used_and_then_those_of_the_batch():
    """The training loss of each step, against the network itself."""
    network = normed(1)
    recorder, _ = train({"one": network}, rates_of)
    x, y = data()
    for step in range(1, STEPS + 1):
        for weight, value in zip(network.weights, recorder.values[step - 1].values(), strict=True):
            weight.assign(value)
        low = network.get_layer("norm")
        with inference_mode([low] if step <= WARM_UP else []):
            logits = network(x[step - 1], training=True)
        with inference_mode([low] if step > WARM_UP else []):
            other = network(x[step - 1], training=True)
        score = next(c[2]["one"].loss for c in recorder.calls if c[:2] == ("on_log", step))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        assert score == pytest.approx(float(loss(y[step - 1], logits)), rel=1e-5)
        assert score != pytest.approx(float(loss(y[step - 1], other)), rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("sgd", marks=pytest.mark.slow)])
def test_all_other_networks_are_trained_as_without_rates(optimizer):
    def networks():
        return {"one": normed(1, dropout=0.4), "two": normed(2, dropout=0.4), "six": normed(6)}

    _, together = train(networks(), rates_of, optimizer=optimizer)
    _, plain = train(networks(), optimizer=optimizer)
    _, alone = train({"one": networks()["one"]}, rates_of, optimizer=optimizer)
    for name, expected in (("two", plain["two"]), ("six", plain["six"]), ("one", alone["one"])):
        assert_equal(together[name], expected)
    assert not np.array_equal(together["one"]["kernel0"], plain["one"]["kernel0"])


def assert_equal(values, expected):
    assert values.keys() == expected.keys()
    for path, value in expected.items():
        assert np.array_equal(values[path], value), path


@pytest.fixture(scope="module")
def undisturbed():
    networks = {"one": normed(1, dropout=0.4), "two": normed(2)}
    return networks, train(networks, rates_of)[1]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(2, marks=pytest.mark.slow),
        pytest.param(WARM_UP + 1, marks=pytest.mark.slow),
        WARM_UP,
    ],
)
def test_going_on_in_the_warm_up_and_after_it(undisturbed, tmp_path, step):
    networks, expected = undisturbed
    with pytest.raises(Interrupted):
        train(networks, rates_of, folder=tmp_path, stop_at=step)
    recorder, resumed = train(networks, rates_of, folder=tmp_path)
    assert recorder.calls[0] == ("on_train_begin", step)
    for name, values in expected.items():
        assert_equal(resumed[name], values)


def test_inference_mode_restores_flags():
    norm, frozen = (keras.layers.BatchNormalization() for _ in range(2))
    for layer in (norm, frozen):
        layer.build((None, 3))
    norm.gamma.trainable = frozen.trainable = False
    flags = [[w.trainable for w in layer.weights] for layer in (norm, frozen)]
    with inference_mode([norm, frozen]):
        assert not norm.trainable
    assert norm.trainable
    assert not frozen.trainable
    assert [[w.trainable for w in layer.weights] for layer in (norm, frozen)] == flags


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": [1.0]}, "factors and frozen_in_warm_up .* 1 and 2"),
        ({"factors": [1.0, -1.0]}, "factors must be finite"),
        ({"factors": [1.0, float("nan")]}, "factors must be finite"),
        ({"warm_up": -1}, "warm_up must not"),
        ({"frozen_batch_norm": [keras.layers.ReLU()]}, "frozen_batch_norm: expected batch .*ReLU"),
    ],
)
def test_bad_rates(change, message):
    given = {"factors": [1.0, 1.0], "frozen_in_warm_up": [True, False], "warm_up": 2}
    with pytest.raises(ValueError, match=message):
        LearningRates(**{**given, **change})


def test_rates_that_do_not_fit():
    rates = LearningRates([1.0], [False], 5)
    with pytest.raises(ValueError, match=r"warm_up must leave at least one step. Received: 5 of 5"):
        Recipe(5, 4, 0.1, learning_rates=rates)
    made = Recipe(6, 4, 0.1, learning_rates=rates).make_optimizer()
    with pytest.raises(ValueError, match=r"expected one for each of 2 variables. Received: 1"):
        made.build([keras.Variable(np.ones(2)), keras.Variable(np.ones(2))])
