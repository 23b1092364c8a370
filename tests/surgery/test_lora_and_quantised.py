"""Networks with low-rank adapters or quantised weights are copied right, or refused."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, perturb, same

from transfer_keras import surgery

X = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = LAYERS.Dense(6, "relu", name="one")(inputs)
    x = LAYERS.EinsumDense("ab,bc->ac", output_shape=(4,), bias_axes="c", name="two")(x)
    x = LAYERS.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, LAYERS.Dense(3, name="three")(x), name="donor")
    perturb(model)
    return model


def with_lora():
    model = network()
    for name in ("one", "two"):
        model.get_layer(name).enable_lora(2)
    perturb(model, 1)
    surgery.set_trainable([model.get_layer("norm")], False)
    return model


def test_lora_is_merged():
    model = with_lora()
    merged = surgery.merge_lora(model)
    kernel, a, b = (
        as_numpy(w)
        for w in (model.get_layer("one")._kernel, *model.get_layer("one").trainable_weights[-2:])
    )
    scale = model.get_layer("one").lora_alpha / 2
    new_kernel = as_numpy(merged.get_layer("one").kernel)
    np.testing.assert_allclose(new_kernel, kernel + scale * a @ b, rtol=1e-5)
    np.testing.assert_allclose(as_numpy(merged(X)), as_numpy(model(X)), rtol=1e-4, atol=1e-6)
    assert len(merged.weights) == len(network().weights)
    trained = {w.path.split("/")[0] for w in merged.trainable_variables}
    assert trained == {"one", "two", "three"}
    assert len(merged.trainable_variables) == 6


def test_a_network_with_lora_is_refused_with_the_way_out():
    model = with_lora()
    for operate in (
        lambda m: surgery.transplant(m, 1, seed=0),
        lambda m: surgery.fuse({"a": m}),
        surgery.logits,
        lambda m: surgery.swap_head(m, 2, seed=0),
    ):
        with pytest.raises(surgery.NotRebuildable, match=r"'one' .* has LoRA.*merge_lora"):
            operate(model)
        operate(surgery.merge_lora(model))


def test_lora_inside_a_composite_layer():
    inputs = keras.Input((5, 8))
    attention = LAYERS.MultiHeadAttention(2, 4, name="attention")
    model = keras.Model(inputs, LAYERS.Dense(3, name="head")(attention(inputs, inputs)))
    attention.query_dense.enable_lora(2)
    perturb(model, 1)
    merged = surgery.merge_lora(model)
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    np.testing.assert_allclose(as_numpy(merged(x)), as_numpy(model(x)), rtol=1e-4, atol=1e-5)
    assert len(merged.weights) == len(model.weights) - 2
    assert len(merged.trainable_variables) == len(merged.weights)


def test_lora_inside_a_nested_model_is_merged_once_it_is_opened():
    inner = keras.Sequential([keras.Input((8,)), LAYERS.Dense(6, name="one")], name="trunk")
    model = keras.Sequential([keras.Input((8,)), inner, LAYERS.Dense(3, name="two")])
    inner.get_layer("one").enable_lora(2)
    perturb(model, 1)
    with pytest.raises(surgery.NotRebuildable, match=r"inside trunk .*merge_lora\(flatten\(model"):
        surgery.merge_lora(model)
    merged = surgery.merge_lora(surgery.flatten(model))
    assert len(merged.weights) == 4
    x = np.random.default_rng(0).normal(size=(2, 8)).astype("float32")
    np.testing.assert_allclose(as_numpy(merged(x)), as_numpy(model(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantised_units_below_the_cut_stay(mode):
    model = network()
    model.quantize(mode)
    new, report = surgery.transplant(model, 3, seed=0)
    assert same(new(X), model(X))
    dtypes = {w.path: str(w.dtype) for w in model.weights}
    assert {w.path: str(w.dtype) for w in new.weights} == dtypes
    assert any("int8" in dtype for dtype in dtypes.values()) == (mode != "float8")
    assert not any(row.trainable for row in report)
    fused = surgery.fuse({"a": new, "b": surgery.transplant(model, 3, seed=1).model})
    assert same(surgery.extract(fused, "b")(X), model(X))


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_whole_numbers_are_neither_trained_nor_made_anew(mode):
    model = network()
    model.quantize(mode)
    for cut, way in ((2, "frozen"), (3, "fine_tune"), (3, "random")):
        with pytest.raises(surgery.NotRebuildable, match=f"weights of {mode}, which can be copied"):
            surgery.transplant(model, cut, mode=way, seed=0)


def test_only_the_lower_units_are_quantised():
    model = network()
    model.get_layer("one").quantize("int8")
    new, _ = surgery.transplant(model, 1, head=5, seed=0)
    assert same(new.get_layer("one")(X), model.get_layer("one")(X))
    before = keras.ops.convert_to_numpy(new.get_layer("one").weights[1]).copy()
    new.compile("sgd", "mse")
    new.fit(X, np.zeros((5, 5)), verbose=0, callbacks=[surgery.FrozenGuard()])
    assert same(new.get_layer("one").weights[1], before)
    heads = surgery.swap_head(model, 2, seed=0)
    assert same(heads.get_layer("one")(X), model.get_layer("one")(X))
