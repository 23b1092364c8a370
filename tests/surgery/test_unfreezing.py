"""Units that are frozen and unfrozen in place, and during a `fit`."""

import itertools

import keras
import numpy as np
import pytest
from support.several import examples, make_masked
from support.small_network import LAYERS, as_numpy, images, make_donor, perturb, values

from transfer_keras import surgery

OPTIONS = {"batch_size": 3, "shuffle": False, "verbose": 0}
X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)


def trainable(model):
    return [layer.name for layer in model.layers if layer.weights and layer.trainable]


def stack():
    """A network of four units, with batch normalisation and dropout."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([
        keras.Input((3,)),
        LAYERS.Dense(6, "relu", name="one"),
        LAYERS.BatchNormalization(name="one_bn"),
        LAYERS.Dropout(0.3, seed=3, name="one_drop"),
        LAYERS.Dense(5, "tanh", name="two"),
        LAYERS.Dense(4, "relu", name="three"),
        LAYERS.Dense(2, name="four"),
    ])  # fmt: skip
    perturb(model)
    return model


def test_freeze_and_unfreeze_in_place():
    model, before = make_donor(), values(make_donor())
    assert surgery.freeze(model, 3) == ["one", "one_bn", "two", "three", "three_bn"]
    assert trainable(model) == ["four"]
    assert [v.path for v in model.trainable_variables] == ["four/kernel", "four/bias"]
    assert surgery.freeze(model, "three") == []
    assert surgery.unfreeze(model, 2) == ["three"]
    assert trainable(model) == ["three", "four"]
    # Those below the cut keep their flags.
    model.get_layer("one").trainable = True
    assert surgery.unfreeze(model, 2, batch_norm="train") == ["three_bn"]
    assert surgery.unfreeze(model, -3) == ["two"]
    assert surgery.unfreeze(model, 0) == []
    assert surgery.unfreeze(model, 0, batch_norm="train") == ["one_bn"]
    assert len(model.trainable_variables) == 12
    assert surgery.freeze(model, 0) == []
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_training_changes_what_is_unfrozen_and_nothing_else(batch_norm):
    model = make_donor()
    surgery.freeze(model, 3)
    surgery.unfreeze(model, 1, batch_norm=batch_norm)
    before = values(model)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(images(), np.ones((4, 5)), verbose=0)
    moved = {name for name, new in values(model).items() if not np.array_equal(new, before[name])}
    assert {name.split("/")[0] for name in moved} - {"three_bn"} == {"two", "three", "four"}
    norms = {name.split("/")[1] for name in moved if name.startswith("three_bn")}
    every = {"gamma", "beta", "moving_mean", "moving_variance"}
    assert norms == (every if batch_norm == "train" else set())


def test_a_frozen_model_is_unfrozen():
    for model in (stack(), make_donor()):
        model.trainable = False
        surgery.unfreeze(model, -1)
        assert trainable(model) == ["four"]
        assert len(model.trainable_variables) == 2
        surgery.unfreeze(model, 0, batch_norm="train")
        expected = [w.path for w in model.weights if "moving" not in w.path]
        assert [w.path for w in model.trainable_weights] == expected


def test_what_is_fixed_by_design_stays():
    model = stack()
    surgery.set_trainable([model.get_layer("two")], False)
    three = model.get_layer("three")
    three.bias.trainable = False
    surgery.freeze(model, 1)
    assert surgery.unfreeze(model, 0, keep=["two"]) == ["one"]
    assert trainable(model) == ["one", "three", "four"]
    # A weight that is frozen by itself, in a layer that is not.
    assert not three.bias.trainable
    fixed = surgery.transplant(
        make_donor(), 2, mode="fine_tune", batch_norm="statistics_frozen", seed=0
    ).model
    assert surgery.freeze(fixed, 2) == ["one", "one_bn", "two"]
    # Its statistics stay whatever its flag is.
    assert surgery.unfreeze(fixed, 0) == ["one", "one_bn", "two"]


def nested():
    trunk = keras.Sequential(
        [keras.Input((3,)), LAYERS.Dense(4, name="a"), LAYERS.BatchNormalization(name="b")],
        name="trunk",
    )
    inputs = keras.Input((3,))
    model = keras.Model(inputs, LAYERS.Dense(2, name="head")(trunk(inputs)))
    perturb(model)
    return model, trunk


def test_layers_inside_others():
    model, trunk = nested()
    assert surgery.freeze(model, 1) == ["trunk"]
    assert [x.trainable for x in trunk.layers] == [False, False]
    assert surgery.unfreeze(model, 0) == ["trunk"]
    assert [x.trainable for x in trunk.layers] == [True, False]
    assert trunk.trainable
    assert {v.path.split("/")[-2] for v in model.trainable_variables} == {"a", "head"}
    # One unit of a layer that is opened, while the layer itself is frozen.
    surgery.freeze(model, 2)
    expand = {"trunk": lambda layer: layer.layers}
    assert surgery.unfreeze(model, 0, expand=expand, keep=["head", "b"]) == ["trunk"]
    assert {v.path.split("/")[-2] for v in model.trainable_variables} == {"a"}


def test_blocks():
    model = stack()
    blocks = {"blocks": lambda layer: "low" if layer.name in ("one", "two") else layer.name}
    assert surgery.freeze(model, "low", **blocks) == ["one", "one_bn", "two"]
    assert surgery.unfreeze(model, 0, **blocks) == ["one", "two"]


def test_a_network_that_several_tensors_pass():
    """A mask lives through all blocks of a small BERT, so it has no cut of one tensor there."""
    model = make_masked()
    several = surgery.units(model, cuts="several")
    assert len(several) > len(surgery.units(model))
    surgery.freeze(model, "narrow_0_norm", cuts="several")
    frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
    below = ("embedding", "attention_0", "wide_0", "narrow_0")
    assert frozen == {
        x.name
        for x in model.layers
        if x.weights and (x.name == "norm" or any(part in x.name for part in below))
    }
    surgery.unfreeze(model, 0, cuts="several")
    assert all(layer.trainable for layer in model.layers)
    surgery.freeze(model, len(several) - 1, cuts="several")
    assert [x.name for x in model.layers if x.weights and x.trainable] == ["head"]
    model.compile("sgd", "mse")
    stages = surgery.GradualUnfreezing({1: "narrow_0_norm"}, cuts="several")
    x = examples(model, count=4)
    model.fit(x, np.ones((4, 3)), epochs=2, callbacks=[stages], verbose=0)
    assert model.get_layer("wide_1").trainable
    assert not model.get_layer("wide_0").trainable
    factors = surgery.layerwise_decay(model, 0.5, cuts="several")
    assert len(factors) == len(several)
    surgery.unit_learning_rates(model, "adam", factors, cuts="several")


def test_what_is_refused():
    inputs = keras.Input((3,))
    twin = LAYERS.Dense(3, name="twin")
    x = LAYERS.Dense(3, name="between")(twin(inputs))
    model = keras.Model(inputs, LAYERS.Dense(2, name="top")(twin(x)))
    for function in (surgery.freeze, surgery.unfreeze):
        with pytest.raises(surgery.SharedAcrossCut, match=r"twin of .* below and above .* n=1"):
            function(model, 1)
        assert len(trainable(model)) == 3
        with pytest.raises(surgery.NotACutPoint):
            function(model, 5)
    with pytest.raises(ValueError, match="batch_norm must be 'frozen' or 'train'"):
        surgery.unfreeze(model, 0, batch_norm="statistics_frozen")
    with pytest.raises(surgery.UnknownLayer, match="no layer 'tops'"):
        surgery.unfreeze(model, 0, keep=["tops"])
    with pytest.raises(surgery.UnknownLayer, match="keep: expected a list"):
        surgery.unfreeze(model, 0, keep="top")


# Gradual unfreezing.


class Recorder(keras.callbacks.Callback):
    """Keeps the weights at the beginning of each epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(values(self.model))

    on_train_end = lambda self, logs=None: self.epochs.append(values(self.model))  # noqa: E731


def fit_by_hand(model, make, stages, epochs):
    """Trains stage by stage: flags, a new optimizer that gets the old one's momentum, `fit`."""
    bounds = [*[first for first, _ in stages], epochs]
    momentum = {}
    for (first, names), last in zip(stages, bounds[1:], strict=True):
        for layer in model.layers:
            layer.trainable = layer.name in names
        optimizer = make()
        optimizer.build(model.trainable_variables)
        for variable, slot in zip(model.trainable_variables, optimizer.momentums, strict=True):
            if variable.path in momentum:
                slot.assign(momentum[variable.path])
        model.compile(optimizer, "mse")
        model.fit(X, Y, initial_epoch=first, epochs=last, **OPTIONS)
        for variable, slot in zip(model.trainable_variables, optimizer.momentums, strict=True):
            momentum[variable.path] = np.array(as_numpy(slot))


def test_equals_a_loop_of_stages():
    def make():
        return keras.optimizers.SGD(0.05, momentum=0.9)

    expected = stack()
    stages = [(0, {"four"}), (2, {"three", "four"}), (3, {"one", "two", "three", "four"})]
    fit_by_hand(expected, make, stages, epochs=5)

    model, recorder = stack(), Recorder()
    surgery.freeze(model, 3)
    model.compile(make(), "mse")
    gradual = surgery.GradualUnfreezing({2: 2, 3: 0})
    model.fit(X, Y, epochs=5, callbacks=[gradual, recorder, surgery.FrozenGuard()], **OPTIONS)
    for name, value in values(model).items():
        np.testing.assert_allclose(value, values(expected)[name], atol=1e-6)
    # Frozen weights are bit-identical before their epoch, and move in it.
    begins = {"four": 0, "three": 2, "two": 3, "one": 3, "one_bn": 5}
    for epoch, (before, after) in enumerate(itertools.pairwise(recorder.epochs)):
        for name in before:
            same = np.array_equal(before[name], after[name])
            assert same == (epoch < begins[name.split("/")[0]]), (name, epoch)


def gradients(weights, x, y):
    """Gives the gradients of the mean squared error of a linear network of three layers."""
    a, b, c = weights
    error = 2 * (x @ a @ b @ c - y) / y.size
    return [x.T @ error @ c.T @ b.T, (x @ a).T @ error @ c.T, (x @ a @ b).T @ error]


def adam_by_hand(model, begins, rates, epochs, b1=0.9, b2=0.999):
    """Trains a linear network by Adam; each weight counts its steps from its own beginning."""
    weights = [as_numpy(w).astype(np.float64) for w in model.weights]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    steps = [0] * len(weights)
    for epoch in range(epochs):
        for place in range(0, len(X), 3):
            x, y = X[place : place + 3], Y[place : place + 3]
            for i, gradient in enumerate(gradients(weights, x, y)):
                if epoch < begins[i]:
                    continue
                steps[i] += 1
                m[i] = b1 * m[i] + (1 - b1) * gradient
                v[i] = b2 * v[i] + (1 - b2) * gradient**2
                size = rates[i] * np.sqrt(1 - b2 ** steps[i]) / (1 - b1 ** steps[i])
                weights[i] = weights[i] - size * m[i] / (np.sqrt(v[i]) + 1e-7)
    return weights


def linear():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((3,)),
        LAYERS.Dense(4, use_bias=False, name="one"),
        LAYERS.Dense(3, use_bias=False, name="two"),
        LAYERS.Dense(2, use_bias=False, name="three"),
    ])  # fmt: skip
    perturb(model)
    surgery.freeze(model, 2)
    return model


@pytest.mark.parametrize("by_unit", [False, True])
def test_adam_counts_the_steps_of_each_weight(by_unit):
    model = linear()
    factors = {1: 0.25, 2: 0.5} if by_unit else {}
    expected = adam_by_hand(
        model, begins=[3, 1, 0], rates=[0.05 * factors.get(i, 1.0) for i in (1, 2, 3)], epochs=5
    )
    optimizer = keras.optimizers.Adam(0.05)
    if by_unit:
        optimizer = surgery.unit_learning_rates(model, optimizer, factors)
    model.compile(optimizer, "mse")
    model.fit(X, Y, epochs=5, callbacks=[surgery.GradualUnfreezing({1: 1, 3: 0})], **OPTIONS)
    for value, by_hand in zip(model.weights, expected, strict=True):
        np.testing.assert_allclose(as_numpy(value), by_hand, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.Adam(0.05, amsgrad=True, weight_decay=0.01),
        lambda: keras.optimizers.RMSprop(0.05, momentum=0.9, centered=True),
        lambda: keras.optimizers.Adagrad(0.05),
        lambda: keras.optimizers.Adamax(0.05),
        lambda: keras.optimizers.Lion(0.05),
        lambda: keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), momentum=0.9
        ),
    ],
)
def test_the_state_of_weights_that_are_trained_is_kept(make):
    # The input is zero, so the gradient of the lower kernel is zero too, and the upper layer is
    # trained as if the lower one had stayed frozen.
    def train(*epochs, callbacks=()):
        keras.utils.set_random_seed(1)
        lower = LAYERS.Dense(4, use_bias=False, trainable=False, name="lower")
        model = keras.Sequential([keras.Input((3,)), lower, LAYERS.Dense(2, name="upper")])
        for first, last in itertools.pairwise(epochs):
            model.compile(make(), "mse")
            options = {"initial_epoch": first, "callbacks": list(callbacks), **OPTIONS}
            model.fit(np.zeros_like(X), Y, epochs=last, **options)
        return model

    model = train(0, 4, callbacks=[surgery.GradualUnfreezing({2: 0})])
    bias = as_numpy(model.get_layer("upper").bias)
    np.testing.assert_allclose(bias, as_numpy(train(0, 4).get_layer("upper").bias), atol=1e-7)
    # Without the state it is another one.
    assert np.abs(bias - as_numpy(train(0, 2, 4).get_layer("upper").bias)).max() > 1e-3
    assert len(model.trainable_variables) == 3
    assert int(as_numpy(model.optimizer.iterations)) == 12


def test_a_moving_average_of_the_weights():
    model = linear()
    weights = [as_numpy(w).astype(np.float64) for w in model.weights]
    model.compile(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.75), "mse")
    model.fit(X, Y, epochs=3, callbacks=[surgery.GradualUnfreezing({1: 0})], **OPTIONS)
    # The average of a weight begins with the weight; Keras takes that of the first step.
    averages = [np.copy(w) for w in weights]
    for step in range(9):
        x, y = (values[3 * step % 9 : 3 * step % 9 + 3] for values in (X, Y))
        trained = [0, 1, 2] if step >= 3 else [2]
        steps = gradients(weights, x, y)
        for i in trained:
            weights[i] = weights[i] - 0.05 * steps[i]
            share = 0.75 if step else 0.0
            averages[i] = share * averages[i] + (1 - share) * weights[i]
    # `fit` ends with the averages in place of the weights.
    for value, by_hand in zip(model.weights, averages, strict=True):
        np.testing.assert_allclose(as_numpy(value), by_hand, atol=1e-5)


def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, recorder = linear(), Recorder()
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=4.0)
        model.compile(optimizer, "mse")
        callbacks = [surgery.GradualUnfreezing({1: 0}), recorder]
        model.fit(X, Y, epochs=2, callbacks=callbacks, **OPTIONS)
    finally:
        keras.config.set_dtype_policy(policy)
    first, second, third = (epoch["one/kernel"] for epoch in recorder.epochs)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(second, third)
    assert float(as_numpy(model.optimizer.dynamic_scale)) == 4.0
    assert int(as_numpy(model.optimizer.step_counter)) == 6


def test_a_fit_that_begins_later_begins_with_the_stage_that_is_due():
    model = stack()
    surgery.freeze(model, 3)
    model.compile("sgd", "mse")
    callback = surgery.GradualUnfreezing({1: 2, 3: 1, 8: 0})
    model.fit(X, Y, initial_epoch=4, epochs=5, callbacks=[callback], **OPTIONS)
    assert trainable(model) == ["two", "three", "four"]
    # The same callback serves another `fit`.
    model.fit(X, Y, initial_epoch=8, epochs=9, callbacks=[callback], **OPTIONS)
    assert trainable(model) == ["one", "two", "three", "four"]


@pytest.mark.parametrize("options", [{}, {"batch_norm": "train"}, {"keep": ["two"]}])
def test_options_reach_unfreeze(options):
    model, expected = stack(), stack()
    for network in (model, expected):
        surgery.freeze(network, 3)
    surgery.unfreeze(expected, 0, **options)
    model.compile("sgd", "mse")
    callback = surgery.GradualUnfreezing({0: 0}, **options)
    model.fit(X, Y, callbacks=[callback, surgery.FrozenGuard()], **OPTIONS)
    assert trainable(model) == trainable(expected)


def test_a_network_is_saved_and_loaded(tmp_path):
    model = linear()
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(X, Y, epochs=2, callbacks=[surgery.GradualUnfreezing({1: 0})], **OPTIONS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(as_numpy(loaded(X)), as_numpy(model(X)))
    # The file names the optimizer that `compile` was given, with the state of all weights.
    assert type(loaded.optimizer) is type(keras.optimizers.Adam())
    for value, saved in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(as_numpy(value), as_numpy(saved))


def test_the_guard_still_finds_what_moves():
    class Saboteur(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                kernel = self.model.get_layer("one").kernel
                kernel.assign(as_numpy(kernel) + 1)

    model = stack()
    surgery.freeze(model, 3)
    model.compile("sgd", "mse")
    callbacks = [surgery.GradualUnfreezing({1: 2}), Saboteur(), surgery.FrozenGuard()]
    with pytest.raises(surgery.FrozenWeightChanged, match="one/0/0:kernel"):
        model.fit(X, Y, epochs=3, callbacks=callbacks, **OPTIONS)


def test_schedules_that_are_refused():
    for schedule in ({}, {-1: 0}, {1.5: 0}, {True: 0}, {"1": 0}):
        with pytest.raises(ValueError, match="schedule: expected epochs"):
            surgery.GradualUnfreezing(schedule)
    with pytest.raises(ValueError, match="batch_norm must be"):
        surgery.GradualUnfreezing({0: 0}, batch_norm="statistics_frozen")
    model = stack()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"leave a unit frozen .*\{1: 'two', 2: -1\}"):
        model.fit(X, Y, callbacks=[surgery.GradualUnfreezing({1: "two", 2: -1})], **OPTIONS)
    surgery.freeze(model, 3)
    model.compile("ftrl", "mse")
    with pytest.raises(surgery.NotRebuildable, match=r"class Ftrl. Expected one of"):
        model.fit(X, Y, epochs=2, callbacks=[surgery.GradualUnfreezing({1: 0})], **OPTIONS)
