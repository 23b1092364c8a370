"""Dropout of frozen units that does nothing, as with `training=False` in Keras's guide."""

import keras
import numpy as np
import pytest
from support.small_network import as_numpy, images, same

from transfer_keras import surgery

LAYERS = keras.layers


def noisy():
    """A network with every layer of Keras that drops or adds noise, two units below the last."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 3))
    x = LAYERS.Conv2D(4, 3, name="one")(x)
    x = LAYERS.SpatialDropout2D(0.5, name="spatial")(x)
    x = LAYERS.Dropout(0.5, noise_shape=(None, 1, 1, 1), name="drop_connect")(x)
    x = LAYERS.GaussianNoise(1.0, name="noise")(x)
    x = LAYERS.Conv2D(5, 3, name="two")(LAYERS.GaussianDropout(0.5, name="gaussian")(x))
    x = LAYERS.AlphaDropout(0.5, name="alpha")(x)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    x = LAYERS.Dropout(0.5, name="last_dropout")(LAYERS.Dense(6, name="three")(x))
    return keras.Model(inputs, LAYERS.Dense(3, name="out")(x))


def cut(model, n):
    return surgery.lower(model, n)


@pytest.mark.parametrize("mode", ["frozen", "random"])
def test_frozen_units_give_the_same_values_in_training(mode):
    donor = noisy()
    model = surgery.transplant(donor, 2, seed=0, mode=mode, dropout=False).model
    lower, batch = cut(model, 2), images()
    assert same(lower(batch, training=True), lower(batch, training=False))
    if mode == "frozen":
        assert same(lower(batch, training=False), cut(donor, 2)(batch, training=False))
    acting = surgery.transplant(donor, 2, seed=0, mode=mode).model
    assert not same(cut(acting, 2)(batch, training=True), cut(acting, 2)(batch, training=False))


def test_units_above_and_the_donor_keep_their_dropout():
    donor = noisy()
    model = surgery.transplant(donor, 2, seed=0, dropout=False).model
    assert model.get_layer("last_dropout").rate == 0.5
    assert not np.array_equal(*(as_numpy(model(images(), training=True)) for _ in range(2)))
    rates = [donor.get_layer(name).rate for name in ("spatial", "drop_connect", "alpha")]
    assert rates == [0.5] * 3


def test_what_is_fine_tuned_keeps_its_dropout():
    model = surgery.transplant(noisy(), 2, seed=0, mode="fine_tune", dropout=False).model
    assert model.get_layer("drop_connect").rate == 0.5
    assert model.get_layer("noise").stddev == 1.0


def test_the_frozen_part_then_ends_at_the_cut():
    donor = noisy()
    silent, acting = (
        surgery.transplant(donor, 2, seed=0, dropout=dropout).model for dropout in (False, True)
    )
    (end,) = surgery.frozen_boundary(silent)
    assert end.shape == (None, 5), "what the pooling above the second unit gives"
    (end,) = surgery.frozen_boundary(acting)
    assert end.shape == (None, 10, 10, 4), "what the first convolution gives"


def test_such_networks_are_fused_saved_and_loaded(tmp_path):
    donor = noisy()
    networks = {
        name: surgery.transplant(donor, n, head=head, seed=head, dropout=False).model
        for name, n, head in (("a", 2, 3), ("b", 1, 4))
    }
    fused = surgery.fuse(networks)
    assert sum(layer.name.endswith("--one") for layer in fused.layers) == 1, "it is shared"
    for name, network in networks.items():
        surgery.extract(fused, name).save(tmp_path / f"{name}.keras")
        again = keras.saving.load_model(tmp_path / f"{name}.keras")
        assert same(again(images()), network(images()))
        assert again.get_layer("spatial").rate == 0
