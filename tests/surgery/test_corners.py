"""Corners that were once wrong: each would come out silently different or with a bare error."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, images, make_donor, perturb, same, values

from transfer_keras import surgery

X, Y = images(4), np.array([0, 1, 2, 3])


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def nested(inner_name="inner", norm=False):
    """Makes a trunk in a model of its own, then a dense head named "head"."""
    inner = keras.Input((4,))
    x = LAYERS.Dense(4, name=inner_name)(inner)
    trunk = keras.Model(inner, LAYERS.BatchNormalization(name="bn")(x) if norm else x, name="trunk")
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="head")(trunk(inputs)))
    perturb(donor)
    return donor


def test_a_new_head_of_the_same_size_is_new():
    donor = make_donor(classes=5)
    model = surgery.swap_head(donor, 5, seed=1)
    assert not same(values(model)["four/kernel"], values(donor)["four/kernel"])
    assert same(values(model)["three/kernel"], values(donor)["three/kernel"])


def test_the_head_of_a_frozen_model_is_trained():
    donor, _ = surgery.transplant(make_donor(), 4, seed=0)
    model = surgery.swap_head(donor, 9, seed=1)
    assert [layer.name for layer in model.layers if layer.trainable and layer.weights] == ["four"]


def test_an_inner_layer_with_the_heads_name_is_copied():
    donor = nested(inner_name="head")
    model = surgery.swap_head(donor, 3, seed=1)
    old, new = (m.get_layer("trunk").get_layer("head").kernel for m in (donor, model))
    assert same(old, new)


def test_layers_after_the_head_get_its_size():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, name="a")(inputs)
    x = LAYERS.BatchNormalization(name="after")(LAYERS.Dense(5, name="head")(x))
    donor = keras.Model(inputs, x)
    perturb(donor)
    model = surgery.swap_head(donor, 7, seed=1)
    assert model.get_layer("after").gamma.shape == (7,)
    assert same(values(model)["a/kernel"], values(donor)["a/kernel"])


def test_a_head_that_does_not_fit_what_follows():
    inputs = keras.Input((4,))
    x = LAYERS.Reshape((2, 5))(LAYERS.Dense(10, name="head")(inputs))
    with pytest.raises(surgery.NotRebuildable, match=r"new head \{'units': 7\} does not fit"):
        surgery.swap_head(keras.Model(inputs, x), 7, seed=1)


@pytest.mark.parametrize("head", [0, -1, 2.0, True, "3"])
def test_bad_heads(head):
    with pytest.raises(ValueError, match="whole number of outputs"):
        surgery.transplant(make_donor(), 2, head=head, seed=1)


@pytest.mark.parametrize("n", [1.0, None, True, [1]])
def test_bad_n(n):
    with pytest.raises(surgery.NotACutPoint, match="whole number or a name"):
        surgery.transplant(make_donor(), n, seed=1)


def test_numpy_integers_are_integers():
    one = surgery.transplant(make_donor(), np.int64(1), seed=np.int64(3)).model
    other = surgery.transplant(make_donor(), 1, seed=3).model
    assert all(same(a, b) for a, b in zip(one.weights, other.weights, strict=True))


def test_statistics_inside_a_nested_model_cannot_be_frozen():
    with pytest.raises(surgery.NotRebuildable, match=r"'bn' .* lies inside another layer"):
        surgery.transplant(nested(norm=True), 1, seed=1, batch_norm="statistics_frozen")


def test_statistics_of_a_subclass_cannot_be_frozen():
    @keras.saving.register_keras_serializable(package="tests")
    class Doubled(LAYERS.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs, training=training, mask=mask) * 2

    inputs = keras.Input((4,))
    x = Doubled(name="mine")(LAYERS.Dense(4)(inputs))
    donor = keras.Model(inputs, LAYERS.Dense(2)(x))
    with pytest.raises(surgery.NotRebuildable, match=r"'mine' \(Doubled\)"):
        surgery.transplant(donor, 1, seed=1, batch_norm="statistics_frozen")


def test_frozen_statistics_are_compared_and_can_be_trained_again():
    first, _ = surgery.transplant(make_donor(), 2, seed=1, batch_norm="statistics_frozen")
    compared = [name for name in surgery.snapshot(first) if name.startswith("one_bn")]
    assert [name.split(":")[1] for name in compared] == ["moving_mean", "moving_variance"]
    second, _ = surgery.transplant(first, 2, seed=2, mode="fine_tune")
    assert type(second.get_layer("one_bn")) is LAYERS.BatchNormalization
    before = values(second)["one_bn/moving_mean"]
    compiled(second).fit(X, Y, verbose=0)
    assert not same(values(second)["one_bn/moving_mean"], before)


def test_a_layer_without_weights_may_be_used_on_both_sides():
    relu = LAYERS.ReLU(name="relu")
    inputs = keras.Input((4,))
    x = relu(LAYERS.Dense(3, name="a")(inputs))
    x = relu(LAYERS.Dense(3, name="b")(x))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="c")(x))
    perturb(donor)
    probe = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for n in range(4):
        assert same(surgery.upper(donor, n)(surgery.lower(donor, n)(probe)), donor(probe))
        surgery.transplant(donor, n, seed=1)


def test_the_parts_keep_the_structure_of_outputs():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, name="a")(inputs)
    donor = keras.Model(inputs, {"y": LAYERS.Dense(2, name="b")(x)})
    probe = np.ones((2, 4), np.float32)
    for n in range(3):
        outputs = surgery.upper(donor, n)(surgery.lower(donor, n)(probe))
        assert same(outputs["y"], donor(probe)["y"])


def test_biases_that_begin_as_a_pattern_are_no_sign_of_a_copy():
    inputs = keras.Input((3, 4))
    donor = keras.Model(inputs, LAYERS.Dense(2)(LAYERS.LSTM(4)(inputs)))
    model, _ = surgery.transplant(donor, 0, seed=1)
    moved = [not same(a, b) for a, b in zip(model.weights, donor.weights, strict=True)]
    assert moved == [True, True, False, True, False]  # Kernels are new, biases begin alike.


@pytest.mark.parametrize("share", ["one_bn", ["nothing"]])
def test_share_names_layers(share):
    with pytest.raises(surgery.NotRebuildable, match="share: expected a list of names"):
        surgery.transplant(make_donor(), 1, seed=0, share=share)


def test_expand_names_a_layer():
    with pytest.raises(surgery.UnknownLayer, match="no layer named 'tower'"):
        surgery.units(make_donor(), expand={"tower": lambda layer: []})


def test_the_guard_sees_a_step_that_was_built_with_all_frozen():
    model = compiled(surgery.transplant(make_donor(), 4, seed=1).model)
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras trains nothing without a trainable weight there")
    model.fit(X, Y, verbose=0, callbacks=[surgery.FrozenGuard()])
    surgery.set_trainable(model.layers, True)
    with pytest.raises(surgery.StaleFlags):
        model.fit(X, Y, verbose=0, callbacks=[surgery.FrozenGuard()])


def test_fuse_refuses_what_it_would_change():
    donor = make_donor()
    donor.get_layer("three").enable_lora(2)
    with pytest.raises(surgery.NotRebuildable, match="LoRA"):
        surgery.fuse({"one": donor})
    for models in ({}, {"a/b": make_donor()}, {1: make_donor()}):
        with pytest.raises(ValueError, match=r"Expected one network|string without a slash"):
            surgery.fuse(models)


def test_fuse_keeps_a_single_weight_frozen():
    donor = make_donor()
    donor.get_layer("three").bias.trainable = False
    fused = surgery.fuse({"one": donor})
    assert len(fused.trainable_weights) == len(donor.trainable_weights)
    part = surgery.extract(fused, "one")
    assert not part.get_layer("three").bias.trainable
    assert part.get_layer("three").kernel.trainable


def test_fuse_keeps_seeds_that_make_a_layer_what_it_is():
    @keras.saving.register_keras_serializable(package="tests")
    class Projection(LAYERS.Layer):
        def __init__(self, seed, **kwargs):
            super().__init__(**kwargs)
            self.seed = seed
            self.matrix = np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)

        def call(self, x):
            return keras.ops.matmul(x, self.matrix)

        def get_config(self):
            return {**super().get_config(), "seed": self.seed}

    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(2)(Projection(5)(inputs)))
    x = np.ones((2, 4), np.float32)
    assert same(surgery.fuse({"one": donor})(x)["one"], donor(x))


def test_a_call_of_its_own_is_not_in_the_graph():
    class Odd(keras.Model):
        def call(self, x):
            return super().call(x) * 2

    inputs = keras.Input((4,))
    odd = Odd(inputs, LAYERS.Dense(2)(inputs), name="odd")
    with pytest.raises(surgery.NotRebuildable, match=r"'odd' \(Odd\) has a `call` of its own"):
        surgery.transplant(odd, 1, seed=0)
