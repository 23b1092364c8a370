import keras
import numpy as np
import pytest
from support.small_network import images, make_donor, same

from transfer_keras import surgery

X, Y = images(4), np.array([0, 1, 2, 3])


def compiled(model):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture
def model():
    return compiled(surgery.transplant(make_donor(), 2, seed=1).model)


def fit(model, *callbacks, **arguments):
    arguments = {"batch_size": 2, "epochs": 2, "verbose": 0, **arguments}
    return model.fit(X, Y, callbacks=[surgery.FrozenGuard(), *callbacks], **arguments)


def test_a_sound_fit_passes(model):
    assert len(fit(model).history["loss"]) == 2
    fit(model)


@pytest.mark.parametrize("value", [True, False])
def test_flags_set_between_two_fits(model, value):
    fit(model)
    layer = model.get_layer("two" if value else "three")
    surgery.set_trainable([layer], value)
    with pytest.raises(surgery.StaleFlags, match=rf"{layer.name}/kernel.*Call `compile` again"):
        fit(model)
    before = layer.kernel.numpy().copy()
    fit(compiled(model))
    assert same(layer.kernel.numpy(), before) != value


class Meddler(keras.callbacks.Callback):
    """Does something to the model when the first batch has ended."""

    def __init__(self, deed):
        super().__init__()
        self.deed = deed

    def on_train_batch_end(self, batch, logs=None):
        self.deed(self.model)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras itself refuses there")
def test_flags_set_during_fit(model):
    meddler = Meddler(lambda m: surgery.set_trainable([m.get_layer("one")], True))
    with pytest.raises(surgery.StaleFlags, match="since this `fit` began"):
        fit(model, meddler)


@pytest.mark.parametrize(("layer", "weight"), [("two", "kernel"), ("one_bn", "moving_mean")])
def test_something_assigns_to_frozen_weights(model, layer, weight):
    def nudge(m):
        variable = getattr(m.get_layer(layer), weight)
        variable.assign(np.nextafter(variable.numpy(), np.float32(9)))

    with pytest.raises(surgery.FrozenWeightChanged, match=rf"1 of 8 .*{layer}/.*{weight}"):
        fit(model, Meddler(nudge))


def test_within_an_epoch():
    seen = []
    model = compiled(surgery.transplant(make_donor(), 2, seed=1).model)

    def deed(m):
        seen.append(1)
        m.get_layer("two").bias.assign(np.ones(6))

    with pytest.raises(surgery.FrozenWeightChanged):
        model.fit(
            X, Y, batch_size=1, verbose=0, callbacks=[Meddler(deed), surgery.FrozenGuard(every=2)]
        )
    assert len(seen) == 2


def test_fit_builds_the_model_itself():
    """A `Sequential` without an input has no weights when `fit` begins."""
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2)])
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(6, 4))
    arguments = {"batch_size": 2, "verbose": 0, "epochs": 2}
    model.fit(x, x[:, :2], callbacks=[surgery.FrozenGuard()], **arguments)
    model.fit(x, x[:, :2], callbacks=[surgery.FrozenGuard(every=1)], **arguments)


def test_what_fit_has_built_is_watched():
    model = keras.Sequential([keras.layers.Dense(3, trainable=False), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.zeros((6, 4))
    calls = []

    def deed(m):
        calls.append(1)
        if len(calls) == 2:
            m.layers[0].bias.assign(np.ones(3))

    with pytest.raises(surgery.FrozenWeightChanged, match="1 of 2 frozen weights"):
        model.fit(
            x, x[:, :2], batch_size=2, verbose=0, callbacks=[surgery.FrozenGuard(), Meddler(deed)]
        )
