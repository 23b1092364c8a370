"""What is frozen can be trained later; what the donor's author froze stays frozen unless asked."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, make_donor, same

from transfer_keras import surgery

X, Y = images(4), np.array([0, 1, 2, 3])


def fit(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    model.fit(X, Y, verbose=0, callbacks=[surgery.FrozenGuard()])


def test_all_is_trained_in_the_second_stage():
    model, _ = surgery.transplant(make_donor(), 2, seed=1)
    fit(model)
    before = as_numpy(model.get_layer("one").kernel)
    model.trainable = True
    assert len(model.trainable_variables) == 12
    fit(model)
    assert not same(model.get_layer("one").kernel, before)
    model.trainable = False
    assert not model.trainable_variables


def test_of_a_network_with_a_new_head():
    donor = make_donor()
    surgery.set_trainable(donor.layers, False)
    model = surgery.swap_head(donor, 3, seed=0)
    assert len(model.trainable_variables) == 2
    model.trainable = True
    assert len(model.trainable_variables) == 12


def test_after_saving_and_loading(tmp_path):
    model, _ = surgery.transplant(make_donor(), 2, seed=1)
    surgery.save(model, tmp_path / "a.keras")
    loaded = surgery.load(tmp_path / "a.keras")
    loaded.trainable = True
    assert len(loaded.trainable_variables) == 12
    plain = keras.saving.load_model(tmp_path / "a.keras")
    surgery.set_trainable([plain], True)
    assert len(plain.trainable_variables) == 12


def test_layers_inside_others_are_reached():
    inner = keras.Sequential(
        [keras.Input((4,)), LAYERS.Dense(5, name="a"), LAYERS.Dense(5, name="b")], name="inner"
    )
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(3, name="c")(inner(inputs)))
    opened = {"inner": lambda layer: layer.layers}
    model, _ = surgery.transplant(donor, 1, seed=0, expand=opened)
    assert len(model.trainable_variables) == 4
    surgery.set_trainable([model], True)
    assert len(model.trainable_variables) == 6


def with_a_blur():
    """Makes a donor with a filter that its author fixed, a frozen norm and a frozen bias."""
    donor = make_donor()
    inputs = donor.inputs[0]
    blur = LAYERS.DepthwiseConv2D(3, padding="same", use_bias=False, name="blur")
    x = blur(donor.get_layer("two").output)
    x = donor.get_layer("three")(LAYERS.Flatten(name="flat2")(x))
    donor = keras.Model(inputs, donor.get_layer("four")(donor.get_layer("three_bn")(x)))
    surgery.set_trainable([donor.get_layer("blur"), donor.get_layer("three_bn")], False)
    donor.get_layer("one").bias.trainable = False
    return donor


FIXED = {"blur/kernel", "one/bias"}


@pytest.mark.parametrize("unfreeze", [False, True])
def test_what_the_donor_froze(unfreeze):
    donor = with_a_blur()
    model, report = surgery.transplant(donor, 4, mode="fine_tune", seed=0, unfreeze=unfreeze)
    kept = {row.weight for row in report if row.frozen_in_donor}
    assert kept == (set() if unfreeze else FIXED | {"three_bn/gamma", "three_bn/beta"})
    assert ("what the donor froze stays so" in str(report)) != unfreeze
    before = as_numpy([model.get_layer("blur").kernel, model.get_layer("one").bias])
    fit(model)
    after = as_numpy([model.get_layer("blur").kernel, model.get_layer("one").bias])
    assert [same(a, b) for a, b in zip(before, after, strict=True)] == [not unfreeze] * 2
    assert not same(model.get_layer("one").kernel, donor.get_layer("one").kernel)


def test_a_policy_that_is_given_decides_on_batch_norm():
    donor = with_a_blur()
    _, report = surgery.transplant(donor, 4, mode="fine_tune", seed=0, batch_norm="train")
    assert {row.weight for row in report if row.frozen_in_donor} == FIXED
    _, report = surgery.transplant(donor, 4, mode="frozen", seed=0)
    assert not any(row.frozen_in_donor for row in report)
