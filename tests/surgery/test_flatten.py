import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, make_donor, perturb, same

from transfer_keras import surgery


def names(model):
    return [layer.name for layer in model.layers if not isinstance(layer, LAYERS.InputLayer)]


def make_trunk(name="trunk", **arguments):
    inputs = keras.Input((12, 12, 3))
    x = LAYERS.Conv2D(4, 3, name="conv")(inputs)
    x = LAYERS.BatchNormalization(name="bn")(x)
    x = LAYERS.Dropout(0.5, seed=7, name="drop")(x)
    return keras.Model(inputs, LAYERS.ReLU(name="relu")(x), name=name, **arguments)


def on_trunk(trunk, **arguments):
    """Puts a head upon a nested model, as people write it."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = LAYERS.GlobalAveragePooling2D(name="pool")(trunk(inputs, **arguments))
    model = keras.Model(inputs, LAYERS.Dense(5, name="head")(x), name="network")
    perturb(model)
    return model


def test_layers_become_layers_of_the_network():
    donor = on_trunk(make_trunk())
    model = surgery.flatten(donor)
    assert names(donor) == ["trunk", "pool", "head"]
    assert names(model) == ["conv", "bn", "drop", "relu", "pool", "head"]
    assert (model.name, model.input.name) == ("network", "image")
    assert same(model(images()), donor(images()))
    assert model.get_layer("conv") is donor.get_layer("trunk").get_layer("conv")
    assert {id(w) for w in model.weights} == {id(w) for w in donor.weights}
    model.get_layer("conv").kernel.assign_add(np.ones((3, 3, 3, 4)))
    assert same(model(images()), donor(images()))
    assert [u.name for u in surgery.units(donor)] == ["trunk", "head"]
    assert [u.name for u in surgery.units(model)] == ["conv", "head"]


def test_sequential_in_sequential_in_model(tmp_path):
    inner = keras.Sequential([LAYERS.Dense(3, name="a"), LAYERS.ReLU(name="b")])
    middle = keras.Sequential([inner, LAYERS.Dense(4, name="c")])
    donor = keras.Sequential([keras.Input((6,)), middle, LAYERS.Dense(2, name="d")])
    perturb(donor)
    model = surgery.flatten(donor)
    assert names(model) == ["a", "b", "c", "d"]
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    assert same(model(x), donor(x))
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert same(again(x), donor(x))
    assert names(again) == names(model)


def test_nothing_to_open():
    donor = make_donor()
    model = surgery.flatten(donor)
    assert model.layers == donor.layers
    assert same(model(images()), donor(images()))


def test_backbone_of_keras_applications():
    trunk = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.35
    )
    head = [LAYERS.GlobalAveragePooling2D(), LAYERS.Dense(5, name="head")]
    donor = keras.Sequential([trunk, *head])
    perturb(donor)
    model = surgery.flatten(donor)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    assert same(model(x), donor(x))
    assert model.layers[1:] == [*trunk.layers[1:], *head]
    assert [len(surgery.units(m)) for m in (donor, model)] == [2, 33]
    model_units = surgery.units(model, blocks=surgery.block_names(model))
    assert [unit.name for unit in model_units][-3:] == ["block_16", "Conv_1", "head"]
    assert len(model_units) == 17 + 3


def two_trunks():
    inputs = keras.Input((12, 12, 3))
    x = [make_trunk("left")(inputs), make_trunk("right")(inputs)]
    x = LAYERS.Conv2D(2, 3, name="conv")(LAYERS.Concatenate(name="join")(x))
    return keras.Model(inputs, LAYERS.Flatten(name="left_conv")(x), name="network")


def test_names_that_are_taken():
    donor = two_trunks()
    perturb(donor)
    donor(images(), training=True)  # Statistics and the state of dropout move.
    surgery.set_trainable([donor.get_layer("right").get_layer("bn")], False)
    before = surgery.snapshot(donor, frozen_only=False)
    model = surgery.flatten(donor)
    own = ["left_conv_2", "bn", "drop", "relu", "join", "conv", "left_conv"]
    assert {*names(model)} == {*own, "right_conv", "right_bn", "right_drop", "right_relu"}
    assert same(model(images()), donor(images()))
    assert surgery.snapshot(donor, frozen_only=False) == before
    right = donor.get_layer("right")
    assert model.get_layer("conv") is donor.get_layer("conv"), "the outer layer keeps its name"
    assert model.get_layer("bn") is donor.get_layer("left").get_layer("bn")
    assert model.get_layer("right_bn") is not right.get_layer("bn")
    flags = [model.get_layer(name).trainable for name in ("bn", "right_bn", "right_conv")]
    assert flags == [True, False, True]
    copied = {id(w) for w in model.weights} - {id(w) for w in donor.weights}
    assert len(copied) == 2 + 2 + 4  # left_conv_2, right_conv, right_bn
    assert names(surgery.flatten(donor)) == names(model)
    # The state of the dropout's seed is a copy too: both draw the same masks next.
    branch = keras.Model(model.input, model.get_layer("right_relu").output)
    assert same(branch(images(), training=True), right(images(), training=True))


def test_a_copy_that_cannot_be_made():
    class NoConfig(LAYERS.Layer):
        def __init__(self, width):
            super().__init__(name="odd")
            self.dense = LAYERS.Dense(width)

        def call(self, x):
            return self.dense(x)

    def inner(name):
        inputs = keras.Input((4,))
        return keras.Model(inputs, NoConfig(4)(inputs), name=name)

    inputs = keras.Input((4,))
    alone = keras.Model(inputs, inner("left")(inputs))
    assert names(surgery.flatten(alone)) == ["odd"]
    both = keras.Model(inputs, inner("right")(inner("left")(inputs)))
    message = r"'odd' \(NoConfig\) of 'right' has the name of a layer of 'left'.*as 'right_odd'"
    with pytest.raises(surgery.NotRebuildable, match=message):
        surgery.flatten(both)


def test_copies_that_would_lose_something():
    @keras.saving.register_keras_serializable(package="tests")
    class Transposed(LAYERS.Layer):
        def __init__(self, other, **arguments):
            super().__init__(**arguments)
            self.other = other

        def call(self, x):
            return keras.ops.matmul(x, keras.ops.transpose(self.other.kernel))

    def inner(name):
        inputs = keras.Input((4,))
        first = LAYERS.Dense(4, name="first")
        return keras.Model(inputs, Transposed(first, name=f"tied_{name}")(first(inputs)), name=name)

    inputs = keras.Input((4,))
    left, right = inner("left"), inner("right")
    model = keras.Model(inputs, left(inputs))
    x = np.ones((2, 4), np.float32)
    assert same(surgery.flatten(model)(x), model(x)), "no copy, no harm"
    model = keras.Model(inputs, right(left(inputs)))
    with pytest.raises(surgery.NotRebuildable, match=r"'first' and 'tied_right' are tied"):
        surgery.flatten(model)
    right.get_layer("first").enable_lora(2)
    with pytest.raises(surgery.NotRebuildable, match=r"'first' of 'right' has LoRA"):
        surgery.flatten(model)


def test_flags_stay():
    trunk = make_trunk()
    donor = on_trunk(trunk)
    surgery.set_trainable([trunk.get_layer("bn")], False)
    assert [x.trainable for x in surgery.flatten(donor).layers[1:4]] == [True, False, True]
    trunk.trainable = False
    model = surgery.flatten(donor)
    assert model.layers[1:5] == trunk.layers[1:]
    assert {x.name for x in model.layers[1:] if x.trainable} == {"pool", "head"}
    frozen = surgery.snapshot(model)
    model.compile("sgd", "mse")
    model.fit(images(), np.zeros((4, 5)), verbose=0, callbacks=[surgery.FrozenGuard()])
    surgery.assert_unchanged(model, frozen)
    assert len(frozen) == 2 + 4


def trained(model):
    """Names the weights that two steps of training change, whatever the flags say."""
    before = {w.path: as_numpy(w).copy() for w in model.weights}
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(images(), np.ones((4, 5)), batch_size=2, verbose=0)
    return {w.path for w in model.weights if not same(before[w.path], w)}


@pytest.mark.parametrize("kind", ["inner layer", "constructor", "network", "Sequential"])
def test_flags_that_differ_from_those_of_the_model_around(kind):
    def make():
        trunk = make_trunk(trainable=False) if kind == "constructor" else make_trunk()
        donor = on_trunk(trunk)
        if kind == "inner layer":
            trunk.trainable = False
        elif kind == "network":
            donor.trainable = False
        elif kind == "Sequential":
            donor = keras.Sequential([keras.Input((12, 12, 3)), donor])
            donor.trainable = False
        if kind != "constructor":
            surgery.set_trainable([trunk.get_layer("conv")], True)
        return donor

    donor = make()
    model = surgery.flatten(donor)
    paths = {w.path for w in donor.trainable_weights}
    assert {w.path for w in model.trainable_weights} == paths
    assert bool(paths) == (kind in ("inner layer", "constructor"))
    if paths:
        assert trained(model) == trained(make()) >= paths


@pytest.mark.parametrize("given", [{}, {"training": None}, {"training": False}, {"training": True}])
def test_training_of_the_call_means_what_it_meant(given):
    """Keras 3.15: `fit` overrides it, a call without `training` heeds it."""
    runs = []
    for flat in (False, True):
        keras.utils.set_random_seed(0)
        model = on_trunk(make_trunk(), **given)
        trunk = model.get_layer("trunk")
        if flat:
            model = surgery.flatten(model)
        before = as_numpy(trunk.get_layer("bn").moving_mean).copy()
        seen = [as_numpy(model(images())), as_numpy(model(images()))]
        statistics = [as_numpy(trunk.get_layer("bn").moving_mean).copy()]
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(images(), np.ones((4, 5)), batch_size=2, shuffle=False, verbose=0)
        statistics.append(as_numpy(trunk.get_layer("bn").moving_mean).copy())
        moved = [not np.array_equal(before, statistics[0])]
        moved.append(not np.array_equal(*statistics))
        assert moved == [given.get("training") is True, True]
        assert np.array_equal(*seen) == (given.get("training") is not True)
        runs.append([*seen, *statistics, model.predict(images(), verbose=0)])
    for closed, opened in zip(*runs, strict=True):
        np.testing.assert_allclose(opened, closed, rtol=0, atol=1e-6)


def test_called_twice():
    a, b = keras.Input((12, 12, 3), name="a"), keras.Input((12, 12, 3), name="b")
    trunk = make_trunk()
    x = LAYERS.Subtract(name="minus")([trunk(a), trunk(b)])
    donor = keras.Model([a, b], LAYERS.Dense(2, name="head")(LAYERS.Flatten(name="flat")(x)))
    perturb(donor)
    model = surgery.flatten(donor)
    assert sorted(names(model)) == sorted([*names(trunk), "minus", "flat", "head"])
    data = [images(), images(seed=1)]
    assert same(model(data), donor(data))


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_several_inputs_and_outputs(structure):
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    x = LAYERS.Dense(3, name="one")(a)
    outputs = {"sum": LAYERS.Add(name="add")([x, b]), "same": b, "x": x}
    inputs = {"b": b, "a": a} if structure == "dict" else [b, a]
    inner = keras.Model(inputs, outputs, name="inner")
    c, d = keras.Input((4,), name="c"), keras.Input((3,), name="d")
    made = inner({"b": d, "a": c} if structure == "dict" else [d, c])
    y = LAYERS.Concatenate(name="join")([made["x"], made["sum"], made["same"]])
    donor = keras.Model({"c": c, "d": d}, {"y": y, "z": LAYERS.Dense(2, name="head")(y)})
    perturb(donor)
    model = surgery.flatten(donor)
    assert sorted(names(model)) == ["add", "head", "join", "one"]
    rng = np.random.default_rng(0)
    data = {"c": rng.normal(size=(5, 4)), "d": rng.normal(size=(5, 3))}
    data = {name: value.astype(np.float32) for name, value in data.items()}
    outputs, expected = model(data), donor(data)
    assert set(outputs) == set(expected) == {"y", "z"}
    assert all(same(outputs[name], expected[name]) for name in outputs)


def test_what_stays_closed():
    @keras.saving.register_keras_serializable(package="tests")
    class Subclassed(keras.Model):
        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.dense = LAYERS.Dense(4)

        def call(self, x):
            return self.dense(x)

    class Doubled(keras.Sequential):
        def call(self, x, training=None, mask=None):
            return 2 * super().call(x, training=training, mask=mask)

    inputs = keras.Input((4,))
    x = Doubled([keras.Input((4,)), LAYERS.Dense(4)], name="doubled")(inputs)
    x = Subclassed(name="subclassed")(x)
    donor = keras.Model(inputs, keras.Sequential([LAYERS.Dense(2, name="d")])(x))
    perturb(donor)
    model = surgery.flatten(donor)
    assert names(model) == ["doubled", "subclassed", "d"]
    x = np.ones((2, 4), np.float32)
    assert same(model(x), donor(x))
    with pytest.raises(surgery.NotRebuildable, match="built Sequential"):
        surgery.flatten(keras.Sequential([LAYERS.Dense(2)]))


def test_a_model_that_is_called_with_a_mask_stays_closed():
    inner = keras.Sequential([LAYERS.LSTM(4), LAYERS.Dense(2)], name="inner")
    embed = LAYERS.Embedding(10, 3, mask_zero=True, name="embed")
    donor = keras.Sequential([keras.Input((5,), dtype="int32"), embed, inner])
    perturb(donor)
    model = surgery.flatten(donor)
    assert names(model) == ["embed", "inner"]
    x = np.array([[1, 2, 0, 0, 0], [0, 3, 4, 5, 0]])
    assert same(model(x), donor(x))


def test_whole_numbers_are_cast_where_the_inner_model_begins():
    inner_inputs = keras.Input((4,))
    inner = keras.Model(inner_inputs, keras.ops.divide(inner_inputs, 2))
    inputs = keras.Input((4,), dtype="int32")
    donor = keras.Model(inputs, LAYERS.Dense(2, name="head")(inner(inputs)))
    x = np.arange(8, dtype=np.int32).reshape(2, 4)
    assert same(surgery.flatten(donor)(x), donor(x))
    assert same(surgery.flatten(surgery.flatten(donor))(x), donor(x))


def below():
    """Puts layers for pictures of 0 to 255 below the network, one of them a nested model."""
    picture = keras.Input((12, 12, 3), dtype="uint8", name="picture")
    scale = keras.Sequential([LAYERS.Rescaling(1 / 127.5, name="scale")], name="scaling")
    return picture, LAYERS.Conv2D(3, 1, name="conv")(scale(picture))


@pytest.mark.parametrize("nested", [False, True])
def test_layers_below_the_network(nested):
    donor = on_trunk(make_trunk()) if nested else make_donor()
    picture, tensor = below()
    lower = keras.Model(picture, tensor)
    perturb(lower)
    model = surgery.flatten(donor, inputs=tensor)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)
    assert same(model(pixels), donor(lower(pixels)))
    own = ["trunk_conv", "bn", "drop", "relu", "pool", "head"] if nested else names(donor)
    assert names(model) == ["scale", "conv", *own]
    assert model.input is picture
    assert (model.name, model.output.shape) == (donor.name, donor.output.shape)
    assert model.get_layer("conv") is lower.get_layer("conv"), "the caller's layer stays"


def test_a_size_for_a_network_without_one():
    donor = keras.applications.MobileNet(weights=None, alpha=0.25, include_top=False)
    assert donor.input.shape == (None, None, None, 3)
    model = surgery.flatten(donor, inputs=keras.Input((64, 64, 3)))
    assert model.output.shape == (None, 2, 2, 256)
    assert model.layers[1:] == donor.layers[1:]
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    assert same(model(x), donor(x))
    assert len(surgery.units(model)) == 27


def test_two_inputs_below():
    a, b = keras.Input((12, 12, 3), name="a"), keras.Input((12, 12, 3), name="b")
    donor = make_donor()
    model = surgery.flatten(donor, inputs=LAYERS.Add(name="plus")([a, b]))
    assert [x.name for x in model.inputs] == ["a", "b"]
    data = images(), images(seed=1)
    assert same(model(list(data)), donor(data[0] + data[1]))


@pytest.mark.parametrize("shape", [(12, 12, 4), (13, 12, 3), (None, None, 3), (12, 12)])
def test_inputs_that_do_not_fit(shape):
    with pytest.raises(surgery.ShapeMismatch, match=r"'donor' takes \(None, 12, 12, 3\). Rec"):
        surgery.flatten(make_donor(), inputs=keras.Input(shape))


def test_inputs_too_small_for_a_layer():
    inputs = keras.Input((None, None, 3))
    donor = keras.Model(inputs, LAYERS.Conv2D(2, 5, name="wide")(inputs), name="donor")
    with pytest.raises(
        surgery.ShapeMismatch, match=r"'donor' cannot be built on .*\(None, 4, 4, 3"
    ):
        surgery.flatten(donor, inputs=keras.Input((4, 4, 3)))
    for wrong in (images(), keras.KerasTensor((None, 12, 12, 3))):
        with pytest.raises(surgery.ShapeMismatch, match=r"expected a tensor that `keras\.Input`"):
            surgery.flatten(donor, inputs=wrong)


def test_a_network_of_two_inputs_has_no_single_place_to_build_upon():
    a, b = keras.Input((4,)), keras.Input((4,))
    donor = keras.Model([a, b], LAYERS.Dense(2)(LAYERS.Add()([a, b])))
    with pytest.raises(surgery.ShapeMismatch, match=r"takes \(None, 4\) and \(None, 4\)"):
        surgery.flatten(donor, inputs=keras.Input((4,)))


def test_transplant_of_an_opened_network():
    donor = surgery.flatten(on_trunk(make_trunk()))
    model, _ = surgery.transplant(donor, "relu", head=3, seed=0)
    frozen = [x.name for x in model.layers if not x.trainable]
    assert frozen == ["conv", "bn", "drop", "relu"]
    assert same(model.get_layer("conv").kernel, donor.get_layer("conv").kernel)
