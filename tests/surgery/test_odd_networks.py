"""Networks of every kind: right, or a named error; and the donor untouched by all of it."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, make_donor, perturb, same, values

from transfer_keras import surgery


def check(donor, x, n=1):
    """Checks that a full copy equals the donor, that n lower units agree, and that both reload."""
    everything = len(surgery.units(donor))
    copy, _ = surgery.transplant(donor, everything, seed=1)
    expected = as_numpy(donor(x))
    keras.tree.map_structure(np.testing.assert_array_equal, as_numpy(copy(x)), expected)
    model, _ = surgery.transplant(donor, n, seed=1)
    assert len(model.weights) == len(donor.weights)
    frozen = surgery.snapshot(model)
    original = surgery.snapshot(donor, frozen_only=False)
    assert frozen
    assert frozen.items() <= original.items()
    return model


def test_adapted_normalisation_is_copied_in_every_mode():
    layer = LAYERS.Normalization(name="pixels")
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32))
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, name="a")(layer(inputs))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="b")(x))
    probe = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    check(donor, probe)
    for n, mode in [(0, "frozen"), (1, "random"), (1, "fine_tune")]:
        model, _ = surgery.transplant(donor, n, mode=mode, seed=0)
        np.testing.assert_array_equal(
            as_numpy(model.get_layer("pixels")(probe)), as_numpy(layer(probe))
        )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="lookup needs TensorFlow")
@pytest.mark.parametrize("adapted", [True, False])
def test_lookup(adapted):
    tokens = np.array([10, 20, 30, 30])
    layer = LAYERS.IntegerLookup(vocabulary=None if adapted else [30, 20, 10], name="words")
    if adapted:
        layer.adapt(tokens)
    inputs = keras.Input((3,), dtype="int64")
    x = LAYERS.Embedding(5, 4, name="embed")(layer(inputs))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="b")(LAYERS.Flatten()(x)))
    check(donor, np.array([[10, 20, 99], [30, 30, 10]]))


def test_nested_model():
    inner_in = keras.Input((12, 12, 3))
    inner = keras.Model(
        inner_in,
        LAYERS.BatchNormalization(name="bn")(LAYERS.Conv2D(4, 3, name="conv")(inner_in)),
        name="trunk",
    )
    inputs = keras.Input((12, 12, 3))
    x = LAYERS.Flatten()(inner(inputs))
    donor = keras.Model(inputs, LAYERS.Dense(2, name="head")(x))
    perturb(donor)
    model = check(donor, images())
    assert not model.get_layer("trunk").get_layer("conv").trainable
    assert not model.get_layer("trunk").get_layer("bn").trainable


def test_sequential():
    donor = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3), LAYERS.Dense(2)])
    perturb(donor)
    check(donor, np.ones((2, 4), np.float32))
    with pytest.raises(surgery.NotRebuildable, match="built Sequential"):
        surgery.units(keras.Sequential([LAYERS.Dense(3)]))


def test_shared_layer_below_the_cut_stays_shared():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    twin = LAYERS.Dense(3, name="twin")
    x = LAYERS.Concatenate()([twin(a), twin(b)])
    donor = keras.Model([a, b], LAYERS.Dense(2, name="head")(x))
    perturb(donor)
    model = check(donor, [np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)])
    assert len(model.get_layer("twin").weights) == 2


def test_tied_weights():
    @keras.saving.register_keras_serializable(package="tests")
    class Tied(LAYERS.Layer):
        def __init__(self, other, **kwargs):
            super().__init__(**kwargs)
            self.other = other

        def call(self, x):
            return keras.ops.matmul(x, keras.ops.transpose(self.other.kernel))

    inputs = keras.Input((4,))
    first = LAYERS.Dense(3, name="first")
    x = LAYERS.Dense(3, name="second")(first(inputs))
    donor = keras.Model(inputs, Tied(first, name="tied")(x))
    with pytest.raises(surgery.NotRebuildable, match=r"'first' and 'tied' .*are tied"):
        surgery.transplant(donor, 1, seed=0)


def test_dict_inputs_and_several_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    x = LAYERS.Dense(3, name="trunk")(LAYERS.Concatenate()([a, b]))
    outputs = {"x": LAYERS.Dense(2, name="x")(x), "y": LAYERS.Dense(1, name="y")(x)}
    donor = keras.Model({"a": a, "b": b}, outputs)
    perturb(donor)
    model = check(donor, {"a": np.ones((2, 4), np.float32), "b": np.ones((2, 2), np.float32)})
    assert set(model.output) == {"x", "y"}
    swapped = surgery.swap_head(donor, 5, seed=0)
    assert {name: x.shape for name, x in swapped.output.items()} == {"x": (None, 5), "y": (None, 5)}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_dtype_policies(policy):
    inputs = keras.Input((12, 12, 3))
    x = LAYERS.Conv2D(4, 3, name="one", dtype=policy)(inputs)
    donor = keras.Model(inputs, LAYERS.Dense(2, name="two", dtype=policy)(LAYERS.Flatten()(x)))
    perturb(donor)
    model = check(donor, images())
    assert model.get_layer("one").dtype_policy.name == policy
    assert [w.dtype for w in model.weights] == [w.dtype for w in donor.weights]


def test_operations_as_nodes():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, name="a")(inputs)
    x = keras.ops.relu(x) + 2 * inputs
    donor = keras.Model(inputs, LAYERS.Dense(2, name="b")(x))
    perturb(donor)
    x = np.ones((2, 4), np.float32)
    check(donor, x)
    fused = surgery.fuse({"one": donor, "two": surgery.swap_head(donor, 3, seed=0)})
    np.testing.assert_array_equal(as_numpy(surgery.extract(fused, "one")(x)), as_numpy(donor(x)))


def test_lora():
    donor = make_donor()
    donor.get_layer("three").enable_lora(2)
    with pytest.raises(surgery.NotRebuildable, match=r"'three' .*LoRA.*merge_lora"):
        surgery.transplant(donor, 2, seed=1)


def test_a_lambda_is_refused_or_shared():
    inputs = keras.Input((4,))
    x = LAYERS.Lambda(lambda t: t * 2, name="twice")(inputs)
    x = LAYERS.Dense(3, name="a")(x)
    donor = keras.Model(inputs, LAYERS.Dense(2, name="b")(x))
    with pytest.raises(surgery.NotRebuildable, match=r"'twice' \(Lambda\).*share=\['twice'\]"):
        surgery.transplant(donor, 1, seed=0)
    model, _ = surgery.transplant(donor, 1, seed=0, share=["twice"])
    assert model.get_layer("twice") is donor.get_layer("twice")


def test_a_shared_layer_with_weights_must_be_frozen():
    donor = make_donor()
    with pytest.raises(surgery.NotRebuildable, match=r"share: 'one' has weights"):
        surgery.transplant(donor, 1, seed=0, share=["one"])
    surgery.set_trainable([donor.get_layer("one")], False)
    model, report = surgery.transplant(donor, 1, seed=0, share=["one"])
    assert model.get_layer("one") is donor.get_layer("one")
    assert {row.origin for row in report if row.weight.startswith("one/")} == {"shared"}
    assert not donor.get_layer("one").trainable


@pytest.mark.parametrize("mode", ["frozen", "fine_tune", "random"])
def test_results_reload_with_outputs_and_flags(mode, tmp_path):
    model, _ = surgery.transplant(make_donor(), 2, mode=mode, seed=1)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(as_numpy(again(images())), as_numpy(model(images())))
    assert [x.trainable for x in again.layers] == [x.trainable for x in model.layers]


def test_fused_models_reload(tmp_path):
    donor = make_donor()
    parts = {n: surgery.transplant(donor, 2, seed=i).model for i, n in enumerate(["a", "b+"])}
    fused = surgery.fuse(parts)
    fused.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    for name, part in parts.items():
        expected = as_numpy(part(images()))
        np.testing.assert_array_equal(as_numpy(again(images()))[name], expected)
        extracted = surgery.extract(again, name)
        np.testing.assert_array_equal(as_numpy(extracted(images())), expected)
        assert [x.trainable for x in extracted.layers] == [x.trainable for x in part.layers]


def test_swap_head_keeps_all_but_the_head():
    donor, _ = surgery.transplant(make_donor(), 2, seed=5)
    model = surgery.swap_head(donor, 9, seed=1, name="nine")
    assert (model.name, model.output.shape) == ("nine", (None, 9))
    old, new = values(donor), values(model)
    for name in old:
        if not name.startswith("four"):
            assert same(old[name], new[name]), name
    assert [x.trainable for x in model.layers] == [x.trainable for x in donor.layers]
    again, other = (values(surgery.swap_head(donor, 9, seed=s))["four/kernel"] for s in (1, 2))
    assert same(new["four/kernel"], again)
    assert not same(same, other)


def test_the_donor_is_untouched():
    donor = make_donor()
    surgery.set_trainable([donor.get_layer("two")], False)
    donor.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = images(), np.array([0, 1, 2, 3])
    donor.fit(x, y, verbose=0)

    def state():
        flags = [layer.trainable for layer in donor.layers]
        compiled = (id(donor.optimizer), id(donor.loss), donor.compiled, donor.built)
        slots = [keras.ops.convert_to_numpy(v).tobytes() for v in donor.optimizer.variables]
        return (
            surgery.snapshot(donor, frozen_only=False),
            flags,
            compiled,
            slots,
            donor.output.shape,
        )

    before, outputs = state(), as_numpy(donor(x))
    surgery.units(donor)
    surgery.lower(donor, 2)
    surgery.upper(donor, 2)
    networks = {
        m: surgery.transplant(donor, 2, mode=m, seed=1).model for m in ("frozen", "fine_tune")
    }
    fused = surgery.fuse({**networks, "donor": donor, "head": surgery.swap_head(donor, 5, seed=0)})
    surgery.extract(fused, "donor")
    fused.compile("sgd", dict.fromkeys(fused.output, "mse"))
    fused.fit(x, dict.fromkeys(fused.output, np.ones((4, 5))), verbose=0)
    assert state() == before
    np.testing.assert_array_equal(as_numpy(donor(x)), outputs)
    donor.fit(x, y, verbose=0)
