import random

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, make_donor, same, values

from transfer_keras import surgery


@pytest.fixture
def x():
    return images()


@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("mode", ["frozen", "fine_tune", "random"])
def test_lower_copied_upper_fresh(n, mode):
    donor = make_donor()
    initial = values(make_donor(perturbed=False))
    before = values(donor)
    model, report = surgery.transplant(donor, n, mode=mode, seed=1, name="new")
    lower = {layer.name for unit in surgery.units(donor)[:n] for layer in unit.layers}
    flags = {layer.name: layer.trainable for layer in model.layers}
    for name, value in values(model).items():
        layer, weight = name.split("/")
        if layer in lower and mode != "random":
            assert same(value, before[name]), name
        elif weight == "kernel":
            assert not same(value, before[name]), name
            assert not same(value, initial[name]), name
    frozen = {name for name, flag in flags.items() if not flag}
    assert frozen == (lower if mode != "fine_tune" else set())
    assert {row.weight for row in report if row.origin == "copied"} == {
        name for name in values(model) if name.split("/")[0] in lower and mode != "random"
    }
    assert model.name == "new"
    assert all(same(before[k], v) for k, v in values(donor).items())
    assert all(layer.trainable for layer in donor.layers)


def test_a_full_copy_gives_the_donors_outputs(x):
    donor = make_donor()
    model, _ = surgery.transplant(donor, 4, seed=1)
    assert same(model(x), donor(x))


def test_fresh_values_depend_on_the_seed_and_nothing_else():
    donor = make_donor()
    first = values(surgery.transplant(donor, 1, seed=1).model)
    keras.utils.set_random_seed(99)
    LAYERS.Dense(3).build((2, 2))
    again = values(surgery.transplant(donor, 1, seed=1).model)
    other = values(surgery.transplant(donor, 1, seed=2).model)
    kernels = [name for name in first if name.endswith("kernel") and not name.startswith("one")]
    assert len(kernels) == 3
    assert all(same(first[name], again[name]) for name in first)
    assert not any(same(first[name], other[name]) for name in kernels)


def test_the_donors_own_seed_gives_other_values():
    """Cloning under the global seed that built the donor would give the donor's first values."""
    donor = make_donor(seed=3, perturbed=False)
    random.seed(3)
    model, _ = surgery.transplant(donor, 0, seed=3)
    fresh, own = values(model), values(donor)
    assert not any(same(fresh[k], own[k]) for k in own if k.endswith("kernel"))


def test_seeded_and_shared_initialisers_and_composites_get_fresh_values():
    shared = keras.initializers.GlorotUniform(seed=7)
    inputs = keras.Input((4, 6))
    x = LAYERS.Dense(6, kernel_initializer=shared, name="a")(inputs)
    x = LAYERS.Dense(6, kernel_initializer=shared, name="b")(x)
    outputs = LAYERS.MultiHeadAttention(2, 3, name="attention")(x, x)
    donor = keras.Model(inputs, outputs)
    model, _ = surgery.transplant(donor, 0, seed=0)
    kernels = [w.numpy().ravel() for w in model.weights if w.name == "kernel"]
    own = [w.numpy().ravel() for w in donor.weights if w.name == "kernel"]
    assert len(kernels) == 6
    for i, kernel in enumerate(kernels):
        assert not any(same(kernel, k) for k in [*kernels[:i], *own])


def test_callers_random_state_is_left_alone():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    surgery.transplant(make_donor_without_seeding(), 1, seed=1)
    assert random.random() == expected


def make_donor_without_seeding():
    state = random.getstate()
    donor = make_donor()
    random.setstate(state)
    return donor


def test_new_head():
    donor = make_donor(classes=5)
    model, _ = surgery.transplant(donor, 3, head=9, seed=1)
    assert model.output.shape == (None, 9)
    assert surgery.transplant(donor, 4, head=5, seed=1).model.output.shape == (None, 5)
    with pytest.raises(surgery.ShapeMismatch, match="head=9 differs from the 5 outputs of 'four'"):
        surgery.transplant(donor, 4, head=9, seed=1)


@pytest.mark.parametrize("n", [-5, 5])
def test_too_many_units(n):
    with pytest.raises(surgery.NotACutPoint, match=r"-4 to 4.*one, two, three, four.*n="):
        surgery.transplant(make_donor(), n, seed=1)


def test_a_layer_on_both_sides():
    inputs = keras.Input((4,))
    shared = LAYERS.Dense(4, name="shared")
    x = LAYERS.Dense(4, name="between")(shared(inputs))
    donor = keras.Model(inputs, shared(x))
    with pytest.raises(surgery.SharedAcrossCut, match="shared of"):
        surgery.transplant(donor, 1, seed=1)


def test_a_layer_that_cannot_be_made_again():
    class Odd(LAYERS.Layer):
        def __init__(self, width):
            super().__init__(name="odd")
            self.width = width

        def build(self, shape):
            self.w = self.add_weight((shape[-1], self.width))

        def call(self, x):
            return x @ self.w

    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(2)(Odd(3)(inputs)))
    with pytest.raises(surgery.NotRebuildable, match=r"'odd' \(Odd\).*get_config"):
        surgery.transplant(donor, 1, seed=1)


def test_bad_mode():
    with pytest.raises(ValueError, match="mode must be one of"):
        surgery.transplant(make_donor(), 1, mode="frosen", seed=1)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(0.1),
    "ema": lambda: keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_moves_what_is_not_frozen_and_nothing_else(optimizer, x):
    """Two steps, the last batch a short one."""
    model, _ = surgery.transplant(make_donor(), 2, seed=1)
    before, frozen = values(model), surgery.snapshot(model)
    assert len(frozen) == 8  # Two kernels and biases, four of BatchNorm.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](), loss)
    model.fit(x, np.array([0, 1, 2, 3]), batch_size=3, epochs=1, verbose=0)
    surgery.assert_unchanged(model, frozen)
    for name, value in values(model).items():
        moved = not same(value, before[name])
        assert moved == name.startswith(("three", "four")), name
    count = len(model.trainable_weights)
    slots = [v for v in model.optimizer.variables if len(v.shape) >= 1]
    assert len(slots) == {"sgd": 1, "adamw": 2, "ema": 3}[optimizer] * count
    model.get_layer("one").kernel.assign_add(np.full((3, 3, 3, 4), 1e-6, np.float32))
    with pytest.raises(surgery.FrozenWeightChanged, match=r"1 of .* frozen weights.*one/0/0"):
        surgery.assert_unchanged(model, frozen)


def test_set_trainable_reaches_inner_layers_whose_parent_has_the_flag_already():
    inner = LAYERS.Dense(2)
    outer = keras.Sequential([keras.Input((3,)), inner])
    inner.trainable = False
    surgery.set_trainable([outer], True)
    assert inner.trainable
    assert len(outer.trainable_weights) == 2
    inner.trainable = True
    surgery.set_trainable([outer], False)
    assert not inner.trainable
    assert not outer.trainable_weights


def test_fresh_layers_are_trained_though_the_donors_were_frozen(x):
    donor, _ = surgery.transplant(make_donor(), 4, seed=1)
    assert not donor.trainable_weights
    model, _ = surgery.transplant(donor, 2, seed=2)
    trained = {layer.name for layer in model.layers if layer.trainable and layer.weights}
    assert trained == {"three", "three_bn", "four"}
    model, _ = surgery.transplant(donor, 2, mode="fine_tune", seed=2, unfreeze=True)
    assert {layer.name for layer in model.layers if layer.trainable} >= {"one", "one_bn", "two"}


def test_dropout_follows_the_seed_and_nothing_else(x):
    donor = make_donor()
    masked = []
    for seed in (1, 1, 2):
        model, _ = surgery.transplant(donor, 4, mode="frozen", seed=seed)
        keras.utils.set_random_seed(len(masked))
        masked.append([as_numpy(model(x, training=True)) for _ in range(2)])
    assert same(masked[0], masked[1])
    assert not same(masked[0][0], masked[0][1])
    assert not same(masked[0][0], masked[2][0])
