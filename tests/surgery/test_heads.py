"""What a head is, and what is none."""

import keras
import pytest
from support.heads import X, check_rest, close, network
from support.small_network import LAYERS, as_numpy, same, values

from transfer_keras import surgery

HEADS = {
    "flat dense": lambda x, n: LAYERS.Dense(n, name="head")(LAYERS.Flatten()(x)),
    "dense and activation": lambda x, n: LAYERS.Activation("softmax")(
        LAYERS.Dense(n, name="head")(LAYERS.GlobalAveragePooling2D()(x))
    ),
    "einsum": lambda x, n: LAYERS.EinsumDense("abcd,de->abce", (None, None, n), name="head")(x),
    "einsum, ellipsis": lambda x, n: LAYERS.EinsumDense("...d,de->...e", n, name="head")(x),
    "map": lambda x, n: LAYERS.Conv2D(n, 1, name="head")(x),
    "map of softmax": lambda x, n: LAYERS.Conv2D(n, 3, activation="softmax", name="head")(x),
    "map of image size": lambda x, n: LAYERS.Softmax()(
        LAYERS.Cropping2D(1)(LAYERS.UpSampling2D(2)(LAYERS.Conv2D(n, 1, name="head")(x)))
    ),
    "transposed": lambda x, n: LAYERS.Conv2DTranspose(n, 3, name="head")(x),
    "separable": lambda x, n: LAYERS.SeparableConv2D(n, 3, name="head")(x),
    "squeezenet": lambda x, n: LAYERS.Softmax()(
        LAYERS.GlobalAveragePooling2D()(LAYERS.Conv2D(n, 1, activation="relu", name="head")(x))
    ),
    "sigmoid of pooling": lambda x, n: keras.ops.sigmoid(
        LAYERS.GlobalMaxPooling2D()(LAYERS.ReLU()(LAYERS.Conv2D(n, 1, name="head")(x)))
    ),
    "mean as an operation": lambda x, n: keras.ops.softmax(
        keras.ops.mean(LAYERS.Conv2D(n, 1, name="head")(x), axis=(1, 2))
    ),
    "dropout": lambda x, n: LAYERS.Activation("softmax", dtype="float32")(
        LAYERS.Dropout(0.5)(LAYERS.Dense(n, name="head")(LAYERS.Flatten()(x)))
    ),
    "constant factor": lambda x, n: keras.ops.softmax(
        LAYERS.Dense(n, name="head")(LAYERS.Flatten()(x)) / 2.0 + 1.0
    ),
    "rescaled": lambda x, n: LAYERS.Rescaling(2)(LAYERS.Dense(n, name="head")(LAYERS.Flatten()(x))),
    "normalised scores": lambda x, n: LAYERS.Softmax()(
        LAYERS.BatchNormalization()(LAYERS.Dense(n, name="head")(LAYERS.Flatten()(x)))
    ),
    "softmax by hand": lambda x, n: (
        lambda y: keras.ops.exp(y) / keras.ops.sum(keras.ops.exp(y), axis=-1, keepdims=True)
    )(LAYERS.Dense(n, name="head")(LAYERS.Flatten()(x))),
}


@pytest.mark.parametrize("kind", HEADS)
def test_what_a_head_is(kind):
    """The new network equals one that was built by hand with another number of classes."""
    donor = network(lambda x: HEADS[kind](x, 4))
    before = surgery.snapshot(donor, frozen_only=False)
    model = surgery.swap_head(donor, 7, seed=1)
    assert same(values(model)["below/kernel"], values(donor)["below/kernel"])
    assert not same(model.get_layer("head").weights[0], donor.get_layer("head").weights[0])
    by_hand = network(lambda x: HEADS[kind](x, 7))
    by_hand.set_weights(model.get_weights())
    assert by_hand.output.shape == model.output.shape != donor.output.shape
    close(as_numpy(model(X)), as_numpy(by_hand(X)))
    fresh, _ = surgery.transplant(donor, 1, head=7, seed=2)
    by_hand.set_weights(fresh.get_weights())
    close(as_numpy(fresh(X)), as_numpy(by_hand(X)))
    assert same(values(fresh)["below/kernel"], values(donor)["below/kernel"])
    assert surgery.snapshot(donor, frozen_only=False) == before


NO_HEADS = {
    "VGG": (
        lambda x: LAYERS.GlobalAveragePooling2D()(
            LAYERS.MaxPooling2D(name="pool")(LAYERS.Conv2D(4, 3, activation="relu", name="last")(x))
        ),
        r"after 'last' comes 'pool' \(MaxPooling2D\).*\{'last': 5\}",
    ),
    "MobileNet": (
        lambda x: LAYERS.GlobalAveragePooling2D()(
            LAYERS.ReLU()(LAYERS.BatchNormalization(name="bn")(LAYERS.Conv2D(4, 3, name="last")(x)))
        ),
        r"after 'last' comes 'bn' \(BatchNormalization\)",
    ),
    "pooled map": (
        lambda x: LAYERS.GlobalAveragePooling2D(name="pool")(LAYERS.Conv2D(4, 3, name="last")(x)),
        r"after 'last' comes 'pool' \(GlobalAveragePooling2D\)",
    ),
    "mean of a map": (
        lambda x: keras.ops.mean(LAYERS.Conv2D(4, 3, name="last")(x), axis=(1, 2)),
        r"after 'last' comes 'mean.*' \(Mean\)",
    ),
    "normalised map": (
        lambda x: LAYERS.BatchNormalization(name="bn")(LAYERS.Conv2D(4, 3, name="last")(x)),
        r"after 'last' comes 'bn'",
    ),
    "hidden block": (
        lambda x: LAYERS.ReLU()(
            LAYERS.BatchNormalization(name="bn")(LAYERS.Dense(4, name="last")(LAYERS.Flatten()(x)))
        ),
        r"after 'last' comes 'bn'",
    ),
    "embedding": (
        lambda x: LAYERS.UnitNormalization(name="unit")(
            LAYERS.Dense(4, name="last")(LAYERS.Flatten()(x))
        ),
        r"after 'last' comes 'unit'",
    ),
    "hidden dense layer": (
        lambda x: LAYERS.Dense(4, "relu", name="last")(LAYERS.Flatten()(x)),
        r"'last' \(Dense\) gives features.*name it: \{'last': 5\}",
    ),
    "hidden convolution": (
        lambda x: LAYERS.Conv2D(4, 3, activation="gelu", name="last")(x),
        r"'last' \(Conv2D\) gives features.*name it: \{'last': 5\}",
    ),
    "ReLU as a layer": (
        lambda x: LAYERS.LeakyReLU(name="leaky")(LAYERS.Conv2D(4, 3, name="last")(x)),
        r"'leaky' \(LeakyReLU\) gives features.*name it: \{'last': 5\}",
    ),
    "ReLU as an operation": (
        lambda x: keras.ops.relu(LAYERS.Conv2D(4, 3, name="last")(x)),
        r"\(Relu\) gives features.*name it: \{'last': 5\}",
    ),
    "recurrent": (
        lambda x: LAYERS.LSTM(4, name="last")(LAYERS.Reshape((-1, 4))(x)),
        r"last weighted layer is 'last' \(LSTM\)",
    ),
    "depthwise": (
        lambda x: LAYERS.DepthwiseConv2D(3, name="last")(x),
        r"last weighted layer is 'last' \(DepthwiseConv2D\)",
    ),
    "residual": (
        lambda x: LAYERS.Add(name="sum")([x, LAYERS.Conv2D(4, 1, name="last")(x)]),
        r"'last' and 'below' are joined by 'sum' \(Add\)",
    ),
    "gated": (
        lambda x: LAYERS.Dense(4, name="last")(x) * LAYERS.Dense(4, name="gate")(x),
        r"'gate' and 'last' are joined by 'multiply.*' \(Multiply\)",
    ),
}


@pytest.mark.parametrize("kind", NO_HEADS)
def test_features_are_no_head(kind):
    end, message = NO_HEADS[kind]
    donor = network(end)
    expected = rf"'donor' has no head .*{message}.*Add a head: `keras\.layers\.Dense"
    if r"\{" in message:
        expected = r"'donor' has no head .*Add a head.*name it: \{'last': 5\}"
    with pytest.raises(surgery.NotRebuildable, match=expected):
        surgery.swap_head(donor, 5, seed=0)
    with pytest.raises(surgery.NotRebuildable, match="'donor' has no head"):
        surgery.transplant(donor, 1, head=5, seed=0)


@pytest.mark.parametrize(
    "kind",
    [
        "VGG",
        "MobileNet",
        "pooled map",
        "hidden block",
        "recurrent",
        "hidden dense layer",
        "hidden convolution",
        "ReLU as a layer",
        "ReLU as an operation",
    ],
)
def test_a_head_can_be_named(kind):
    donor = network(NO_HEADS[kind][0])
    model = surgery.swap_head(donor, {"last": 5}, seed=0)
    assert model.output.shape == (*donor.output.shape[:-1], 5)
    assert same(values(model)["below/kernel"], values(donor)["below/kernel"])
    new, _ = surgery.transplant(donor, 1, head={"last": 5}, seed=0)
    assert new.output.shape == model.output.shape


def test_the_advice_of_the_error_works():
    donor = network(NO_HEADS["MobileNet"][0])
    model = keras.Model(donor.input, LAYERS.Dense(5, name="new")(donor.output))
    swapped = surgery.swap_head(model, 2, seed=0)
    assert swapped.output.shape == (None, 2)
    check_rest(model, swapped, ["new"])


@pytest.mark.parametrize("join", [LAYERS.Add, LAYERS.Multiply, LAYERS.Average, LAYERS.Concatenate])
@pytest.mark.parametrize("outputs", [1, 4])
def test_branches_that_are_joined(join, outputs):
    a, b = keras.Input((6,)), keras.Input((3,))
    wide = LAYERS.Dense(outputs, name="wide")(a)
    deep = LAYERS.Dense(outputs, name="deep")(LAYERS.Dense(5, "relu", name="below")(b))
    x = LAYERS.Activation("sigmoid")(join(name="joined")([wide, deep]))
    donor = keras.Model([a, b], x, name="donor")
    with pytest.raises(surgery.NotRebuildable, match="'deep' and 'wide' are joined by 'joined'"):
        surgery.swap_head(donor, 5, seed=0)
    with pytest.raises(surgery.NotRebuildable, match="'deep' and 'wide' are joined by 'joined'"):
        surgery.transplant(donor, 0, head=5, seed=0)


def test_a_head_joined_with_an_input_or_with_itself():
    a, b = keras.Input((6,), name="a"), keras.Input((3,), name="b")
    x = LAYERS.Dense(3, name="head")(a)
    with pytest.raises(surgery.NotRebuildable, match="'head' and the input 'b' are joined"):
        surgery.swap_head(keras.Model([a, b], x + b), 5, seed=0)
    twin = LAYERS.Dense(3, name="twin")
    c = keras.Input((6,), name="c")
    with pytest.raises(surgery.NotRebuildable, match="calls of 'twin' are joined by 'subtract"):
        surgery.swap_head(keras.Model([a, c], twin(a) - twin(c)), 5, seed=0)


def test_a_head_that_feeds_the_network_too():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, name="first")(inputs)
    donor = keras.Model(inputs, [x, LAYERS.Dense(2, name="second")(x)])
    with pytest.raises(surgery.NotRebuildable, match="'first' makes an output and feeds 'second'"):
        surgery.swap_head(donor, 5, seed=0)
    assert [x.shape for x in surgery.swap_head(donor, {"second": 5}, seed=0).outputs] == [
        (None, 3),
        (None, 5),
    ]
    twice = LAYERS.Dense(4, name="twice")
    with pytest.raises(surgery.NotRebuildable, match="'twice' makes an output and"):
        surgery.swap_head(keras.Model(inputs, twice(twice(inputs))), 5, seed=0)


def test_a_nested_model_must_be_opened():
    inner = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3, name="d")], name="inner")
    donor = keras.Sequential([keras.Input((4,)), inner])
    with pytest.raises(surgery.NotRebuildable, match=r"ends in 'inner', a model.*flatten\(model\)"):
        surgery.swap_head(donor, 5, seed=0)
    assert surgery.swap_head(surgery.flatten(donor), 5, seed=0).output.shape == (None, 5)
