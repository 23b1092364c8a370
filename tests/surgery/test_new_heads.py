"""New heads of several outputs and inside wrappers, and the reshaping that follows them."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, perturb, same, values

from transfer_keras import surgery

X = images(3, 8)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)


def softmax(x):
    x = np.exp(np.asarray(x, np.float64))
    return x / x.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def network(end, first=None):
    """Makes a network of images (8, 8, 3): a convolution "below", then what `end` makes of it."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = (first or LAYERS.Conv2D(4, 3, activation="relu", name="below"))(inputs)
    donor = keras.Model(inputs, end(x), name="donor")
    perturb(donor)
    return donor


def features(model, name):
    """Computes what goes into a layer."""
    layer = model.get_layer(name)
    return as_numpy(keras.Model(model.input, layer.input)(X)).astype(np.float64)


def dense_by_hand(model, name):
    layer = model.get_layer(name)
    layer = getattr(layer, "layer", layer)
    kernel, bias = as_numpy(layer.kernel), as_numpy(layer.bias)
    return features(model, name) @ kernel.reshape(kernel.shape[-2:]) + bias


def check_rest(donor, model, heads):
    """Checks that all weights but the heads' are copied, and that those of the heads are not."""
    old, new = values(donor), values(model)
    assert old.keys() == new.keys()
    for name in old:
        if name.split("/")[0] not in heads:
            assert same(old[name], new[name]), name
        elif name.endswith("kernel"):
            assert not same(old[name], new[name]), name


# The Reshape of MobileNet, and others: (what it reshapes, target, the new target).
def conv(x):
    return LAYERS.Conv2D(4, 1, name="head")(LAYERS.GlobalAveragePooling2D(keepdims=True)(x))


RESHAPED = {
    "MobileNet": (conv, (4,), (7,)),
    "trailing one": (conv, (4, 1), (7, 1)),
    "leading one": (conv, (1, 4), (1, 7)),
    "open": (conv, (-1,), (-1,)),
    "positions": (lambda x: LAYERS.Conv2D(4, 1, name="head")(x), (-1, 4), (-1, 7)),
    "positions, fixed": (lambda x: LAYERS.Conv2D(4, 1, name="head")(x), (36, 4), (36, 7)),
    "rows": (lambda x: LAYERS.Conv2D(4, 1, name="head")(x), (6, 6, 4), (6, 6, 7)),
    "rows joined": (
        lambda x: LAYERS.UpSampling2D()(LAYERS.Conv2D(4, 1, name="head")(x)),
        (12, 12, 1, 4),
        (12, 12, 1, 7),
    ),
}


@pytest.mark.parametrize("form", ["layer", "operation"])
@pytest.mark.parametrize("kind", RESHAPED)
def test_the_target_of_a_reshaping_follows(kind, form, tmp_path):
    end, target, new_target = RESHAPED[kind]

    def reshaped(x):
        if form == "layer":
            return LAYERS.Reshape(target, name="shape")(end(x))
        return keras.ops.reshape(end(x), (-1 if -1 not in target else 3, *target))

    donor = network(lambda x: LAYERS.Activation("softmax", name="act")(reshaped(x)))
    model = surgery.swap_head(donor, 7, seed=1)
    check_rest(donor, model, ["head"])
    scores = dense_by_hand(model, "head")
    if kind == "rows joined":
        scores = scores.repeat(2, 1).repeat(2, 2)
    expected = softmax(scores.reshape(3, *new_target))
    close(as_numpy(model(X)), expected)
    if form == "layer":
        assert model.get_layer("shape").target_shape == new_target
        assert donor.get_layer("shape").target_shape == target
    model.save(tmp_path / "m.keras")
    close(as_numpy(keras.saving.load_model(tmp_path / "m.keras")(X)), expected)
    fresh, _ = surgery.transplant(donor, 1, head=7, seed=3)
    close(
        as_numpy(fresh(X)).shape,
        expected.shape,
    )


def test_channels_that_come_first():
    """The order in which a Reshape takes the values of (classes, rows, columns)."""
    inputs = keras.Input((8, 8, 3))
    x = LAYERS.Permute((3, 1, 2))(LAYERS.Conv2D(4, 1, name="head")(inputs))
    donor = keras.Model(inputs, LAYERS.Reshape((4, 64))(x))
    model = surgery.swap_head(donor, 7, seed=1)
    scores = dense_by_hand(model, "head")
    close(as_numpy(model(X)), scores.transpose(0, 3, 1, 2).reshape(3, 7, 64))


def test_a_reshaping_that_the_number_does_not_fit():
    donor = network(lambda x: LAYERS.Reshape((2, 2))(conv(x)))
    with pytest.raises(surgery.NotRebuildable, match=r"new head .*'filters': 7.* does not fit"):
        surgery.swap_head(donor, 7, seed=0)
    donor = network(lambda x: LAYERS.Flatten()(LAYERS.Conv2D(4, 1, name="head")(x)))
    with pytest.raises(surgery.NotRebuildable, match=r"\(None, 144\) has no axis of 4"):
        surgery.swap_head(donor, 7, seed=0)
    inputs = keras.Input((4,))
    score = LAYERS.Dense(1, name="head")(inputs)
    donor = keras.Model(inputs, keras.ops.concatenate([1 - score, score], axis=-1))
    with pytest.raises(surgery.NotRebuildable, match=r"\(None, 2\) has no axis of 1"):
        surgery.swap_head(donor, 7, seed=0)
    donor = keras.Model(inputs, score * np.ones(4, "float32"))
    with pytest.raises(surgery.NotRebuildable, match=r"shape \(None, 4\) came out as \(None, 4\)"):
        surgery.swap_head(donor, {"head": 4}, seed=0)
    donor = keras.Model(inputs, keras.ops.squeeze(score, -1))
    with pytest.raises(surgery.NotRebuildable, match="does not fit"):
        surgery.swap_head(donor, 7, seed=0)
    assert surgery.swap_head(donor, 1, seed=0).output.shape == (None,)


WRAPPED = {
    "dense": lambda: LAYERS.TimeDistributed(
        LAYERS.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed=7), name="d"),
        name="head",
    ),
    "softmax": lambda: LAYERS.TimeDistributed(LAYERS.Dense(4, "softmax", name="d"), name="head"),
    "spectral": lambda: LAYERS.SpectralNormalization(LAYERS.Dense(4, name="d"), name="head"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_heads(kind):
    inputs = keras.Input((5, 4))
    x = LAYERS.Dense(6, "relu", name="below")(inputs)
    donor = keras.Model(inputs, WRAPPED[kind]()(x))
    perturb(donor)
    model = surgery.swap_head(donor, 7, seed=1)
    assert model.output.shape == (None, 5, 7)
    assert same(model.get_layer("below").kernel, donor.get_layer("below").kernel)
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    layer = model.get_layer("head").layer
    below = as_numpy(keras.Model(model.input, model.get_layer("below").output)(x))
    scores = below.astype(np.float64) @ as_numpy(layer.kernel) + as_numpy(layer.bias)
    close(as_numpy(model(x)), softmax(scores) if kind == "softmax" else scores)
    others = donor, *(surgery.swap_head(donor, count, seed=2) for count in (4, 7))
    kernels = [m.get_layer("head").layer.kernel for m in others]
    assert not same(kernels[0], kernels[1])
    assert not same(kernels[2], layer.kernel)


def several(form):
    """Makes a network of three outputs with their own heads, softmax and sigmoid layers of two."""
    inputs = keras.Input((4,))
    trunk = LAYERS.Dense(6, "relu", name="trunk")(inputs)
    outputs = {
        "kind": LAYERS.Softmax(name="kind_softmax")(LAYERS.Dense(3, name="kind_head")(trunk)),
        "flag": LAYERS.Dense(1, "sigmoid", name="flag_head")(trunk),
        "size": LAYERS.Dense(2, name="size_head")(trunk),
    }
    donor = keras.Model(inputs, outputs if form == "dictionary" else list(outputs.values()))
    perturb(donor)
    return donor


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (5, {"kind": 5, "flag": 5, "size": 5}),
        ({"kind": 7}, {"kind": 7, "flag": 1, "size": 2}),
        ({"kind_head": 7, "size": 4}, {"kind": 7, "flag": 1, "size": 4}),
        ({"flag_head": 2, "size_head": 2}, {"kind": 3, "flag": 2, "size": 2}),
    ],
)
def test_several_outputs(classes, expected):
    donor = several("dictionary")
    model = surgery.swap_head(donor, classes, seed=1)
    assert {name: x.shape[1] for name, x in model.output.items()} == expected
    new = expected if isinstance(classes, int) else [key.split("_")[0] for key in classes]
    check_rest(donor, model, [f"{name}_head" for name in new])
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    outputs = as_numpy(model(x))
    trunk = as_numpy(keras.Model(model.input, model.get_layer("trunk").output)(x))
    for name, function in {"kind": softmax, "flag": sigmoid, "size": np.asarray}.items():
        layer = model.get_layer(f"{name}_head")
        scores = trunk @ as_numpy(layer.kernel) + as_numpy(layer.bias)
        close(outputs[name], function(scores))
    fresh, _ = surgery.transplant(donor, 1, head=classes, seed=1)
    assert {name: x.shape[1] for name, x in fresh.output.items()} == expected


def test_names_of_a_list_of_outputs():
    donor = several("list")
    model = surgery.swap_head(donor, {"kind_softmax": 7, "size_head": 4}, seed=1)
    assert [x.shape[1] for x in model.outputs] == [7, 1, 4]
    with pytest.raises(surgery.NotRebuildable, match=r"named 'king'.*kind_softmax, flag_head.*"):
        surgery.swap_head(donor, {"king": 7}, seed=1)
    with pytest.raises(ValueError, match="at least one name"):
        surgery.swap_head(donor, {}, seed=1)
    with pytest.raises(ValueError, match=r"whole number of outputs.*Received: 0"):
        surgery.swap_head(donor, {"size_head": 0}, seed=1)


def test_one_head_of_two_outputs():
    inputs = keras.Input((4,))
    scores = LAYERS.Dense(3, name="head")(inputs)
    donor = keras.Model(inputs, [scores, LAYERS.Softmax(name="end")(scores)])
    for classes in (7, {"head": 7}, {"end": 7}):
        model = surgery.swap_head(donor, classes, seed=1)
        assert [x.shape for x in model.outputs] == [(None, 7), (None, 7)]
    with pytest.raises(surgery.NotRebuildable, match=r"needs one number\. Received: 7 and 5"):
        surgery.swap_head(donor, {"head": 7, "end": 5}, seed=1)
    with pytest.raises(surgery.NotRebuildable, match=r"'head' of .* makes 2 outputs"):
        surgery.swap_head(donor, 7, activation="sigmoid", seed=1)


def test_the_number_of_the_other_units_that_are_copied():
    donor = several("dictionary")
    with pytest.raises(surgery.ShapeMismatch, match="head=7 differs from the 3 outputs"):
        surgery.transplant(donor, 2, head={"kind": 7}, seed=1)
    model, report = surgery.transplant(donor, 1, head={"kind": 7}, seed=1)
    assert {row.weight: row.shape for row in report}["kind_head/kernel"] == (6, 7)
    assert model.get_layer("size_head").units == 2


def test_flags_and_seeds_of_new_heads():
    donor = several("dictionary")
    surgery.set_trainable(donor.layers, False)
    model = surgery.swap_head(donor, {"kind": 7, "flag": 2}, seed=1, name="new")
    trained = [layer.name for layer in model.layers if layer.trainable and layer.weights]
    assert (model.name, trained) == ("new", ["kind_head", "flag_head"])
    again, other = (surgery.swap_head(donor, {"kind": 7}, seed=seed) for seed in (1, 2))
    kernels = [m.get_layer("kind_head").kernel for m in (model, again, other)]
    assert same(kernels[0], kernels[1])
    assert not same(kernels[0], kernels[2])
