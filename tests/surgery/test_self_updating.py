"""Layers that change their own weights in training keep still where they are frozen."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, same

from transfer_keras import surgery

X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
Y = np.zeros((8, 3), "float32")


def network(*between):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    inside = LAYERS.Dense(5, name="inside")
    x = LAYERS.SpectralNormalization(inside, power_iterations=2, name="one")(inputs)
    for layer in between:
        x = layer(x)
    return keras.Model(inputs, LAYERS.Dense(3, name="two")(x), name="donor")


def fit(model, **arguments):
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, Y, batch_size=4, epochs=2, verbose=0, shuffle=False, **arguments)


def test_frozen_spectral_normalisation_keeps_still(tmp_path):
    donor = network()
    model, _ = surgery.transplant(donor, 1, seed=1)
    before = as_numpy(model.get_layer("one").weights)
    head = as_numpy(model.get_layer("two").weights)
    fit(model, callbacks=[surgery.FrozenGuard(every=1)])
    assert same(model.get_layer("one").weights, before)
    assert not same(model.get_layer("two").weights, head)
    surgery.save(model, tmp_path / "model.keras")
    loaded = surgery.load(tmp_path / "model.keras")
    fit(loaded, callbacks=[surgery.FrozenGuard(every=1)])
    assert same(loaded.get_layer("one").weights, before)


def test_its_outputs_are_those_of_the_donor():
    donor = network()
    fit(donor)
    model, _ = surgery.transplant(donor, 2, seed=1)
    assert same(model(X), donor(X))
    assert same(model(X, training=True), donor(X, training=False))


def test_fine_tuned_it_is_normalised_as_before():
    donor = network()
    tuned, _ = surgery.transplant(donor, 2, mode="fine_tune", seed=1)
    fit(donor)
    fit(tuned)
    for a, b in zip(as_numpy(donor.weights), as_numpy(tuned.weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_unfrozen_later_it_is_normalised():
    model, _ = surgery.transplant(network(), 1, seed=1)
    fit(model)
    before = as_numpy(model.get_layer("one").weights)
    model.trainable = True
    fit(model)
    after = as_numpy(model.get_layer("one").weights)
    assert not any(same(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("mode", ["frozen", "random"])
def test_inside_another_layer_it_is_refused(mode):
    inner = LAYERS.SpectralNormalization(LAYERS.Dense(4, name="deep"), name="norm")
    donor = network(keras.Sequential([keras.Input((5,)), inner], name="composite"))
    with pytest.raises(surgery.NotRebuildable, match=r"'norm' .*lies inside another layer"):
        surgery.transplant(donor, 2, mode=mode, seed=0)
    surgery.transplant(donor, 2, mode="fine_tune", seed=0)


def test_the_guard_names_the_layer():
    donor = network()
    surgery.set_trainable([donor.get_layer("one")], False)
    with pytest.raises(surgery.FrozenWeightChanged, match="one: SpectralNormalization changes"):
        fit(donor, callbacks=[surgery.FrozenGuard()])
