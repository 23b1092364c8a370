"""Softmax and sigmoid in every spelling, and what cannot be told."""

import keras
import numpy as np
import pytest
from support.heads import data, sigmoid, softmax
from support.small_network import LAYERS, as_numpy, perturb, same

from transfer_keras import surgery


def close(a, b):
    np.testing.assert_allclose(a, b + np.zeros_like(a), rtol=0, atol=2e-6)


def log_probabilities(x, axis=-1):
    """Gives logarithms of softmax, which are logits up to a constant."""
    return np.log(softmax(x, axis))


def mine(x):
    """Computes softmax without Keras's."""
    powers = keras.ops.exp(x - keras.ops.max(x, axis=-1, keepdims=True))
    return powers / keras.ops.sum(powers, axis=-1, keepdims=True)


def native(name):
    """Gives the softmax or sigmoid of the backend itself."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return getattr(tensorflow.nn, name)
    if keras.backend.backend() == "jax":
        import jax

        return getattr(jax.nn, name)
    import torch

    return torch.sigmoid if name == "sigmoid" else lambda x: torch.softmax(x, -1)


@keras.saving.register_keras_serializable(package="tests")
class OwnSoftmax(LAYERS.Layer):
    def call(self, x):
        return mine(x)


SOFTMAX = {
    "operation": keras.ops.softmax,
    "name": "softmax",
    "native": native("softmax"),
    "own": mine,
    "lambda": lambda x: keras.ops.softmax(x, axis=-1),
    "layer": LAYERS.Softmax(name="s"),
    "activation layer": LAYERS.Activation("softmax", name="a"),
    "layer of an operation": LAYERS.Activation(keras.ops.softmax, name="o"),
    "own layer": OwnSoftmax(name="mine"),
}
SIGMOID = {
    "operation": keras.ops.sigmoid,
    "name": "sigmoid",
    "native": native("sigmoid"),
    "own": lambda x: 1 / (1 + keras.ops.exp(-x)),
    "tanh": lambda x: 0.5 + 0.5 * keras.ops.tanh(x / 2),
    "layer": LAYERS.Activation("sigmoid", name="a"),
}


def linear_part(layer, x):
    """Computes a dense layer by hand."""
    return x @ as_numpy(layer.kernel).astype(np.float64) + as_numpy(layer.bias)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("place", ["of the layer", "after it"])
@pytest.mark.parametrize("name", SOFTMAX)
def test_every_spelling_of_softmax(name, place):
    inputs = keras.Input((4,))
    function = SOFTMAX[name]
    if place == "of the layer":
        donor = keras.Model(inputs, LAYERS.Dense(5, activation=function, name="d")(inputs))
    else:
        x = LAYERS.Dense(5, name="d")(inputs)
        donor = keras.Model(inputs, LAYERS.Activation(function, name="end")(x))
    perturb(donor)
    x = data(6, 4)
    model = surgery.logits(donor)
    actual = as_numpy(model(x))
    close(actual, linear_part(donor.get_layer("d"), x))
    close(log_probabilities(actual), np.log(as_numpy(donor(x))))
    assert model.get_layer("d").activation is keras.activations.linear
    assert model.layers[-1].name == "d"


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("name", SIGMOID)
def test_every_spelling_of_sigmoid(name):
    inputs = keras.Input((4,))
    for x in (
        LAYERS.Dense(3, activation=SIGMOID[name], name="d")(inputs),
        LAYERS.Activation(SIGMOID[name])(LAYERS.Dense(3, name="d")(inputs)),
    ):
        donor = keras.Model(inputs, x)
        perturb(donor)
        actual = as_numpy(surgery.logits(donor)(data(6, 4)))
        close(actual, linear_part(donor.get_layer("d"), data(6, 4)))
        close(sigmoid(actual), as_numpy(donor(data(6, 4))))


OPERATIONS = {
    "by hand": (mine, softmax),
    "log of softmax": (lambda x: keras.ops.log(keras.ops.softmax(x)), log_probabilities),
    "exp of log_softmax": (lambda x: keras.ops.exp(keras.ops.log_softmax(x)), softmax),
    "log_softmax by hand": (
        lambda x: x - keras.ops.logsumexp(x, axis=-1, keepdims=True),
        log_probabilities,
    ),
    "clipped": (lambda x: keras.ops.clip(keras.ops.softmax(x), 1e-7, 1 - 1e-7), softmax),
    "sigmoid by hand": (lambda x: 1.0 / (1.0 + keras.ops.exp(-x)), sigmoid),
    "log of sigmoid": (
        lambda x: keras.ops.log(keras.ops.sigmoid(x)),
        lambda x: np.log(sigmoid(x)),
    ),
    "lambda": (lambda x: LAYERS.Lambda(keras.ops.softmax)(x), softmax),
    "own layer": (lambda x: OwnSoftmax()(x), softmax),
    "axis": (lambda x: keras.ops.softmax(x, axis=1), lambda x: softmax(x, 1)),
    "layer's axis": (lambda x: LAYERS.Softmax(axis=1)(x), lambda x: softmax(x, 1)),
    "layer's axes": (
        lambda x: LAYERS.Softmax(axis=(1, 2))(x),
        lambda x: softmax(x.reshape(len(x), -1)).reshape(x.shape),
    ),
    "several axes": (
        lambda x: keras.ops.softmax(x, axis=(1, 2)),
        lambda x: softmax(x.reshape(len(x), -1)).reshape(x.shape),
    ),
    "wrapped layer": (lambda x: LAYERS.TimeDistributed(LAYERS.Softmax())(x), softmax),
    "wrapped activation": (
        lambda x: LAYERS.TimeDistributed(LAYERS.Activation("sigmoid"))(x),
        sigmoid,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_and_layers(name):
    end, expected = OPERATIONS[name]
    if name == "several axes" and keras.backend.backend() != "jax":
        pytest.skip("Keras's operation of several axes works on JAX only")
    inputs = keras.Input((3, 4))
    donor = keras.Model(inputs, end(LAYERS.Dense(5, name="d")(inputs)))
    perturb(donor)
    x = data(6, 3, 4)
    actual = as_numpy(surgery.logits(donor)(x))
    difference = actual - linear_part(donor.get_layer("d"), x)
    # Softmax by hand subtracts a constant from the logits first.
    close(difference, difference[..., :1] if name == "by hand" else 0)
    close(expected(actual), as_numpy(donor(x)))


def test_the_logarithm_of_a_layers_own_softmax():
    inputs = keras.Input((4,))
    x = keras.ops.log(LAYERS.Dense(5, activation=mine, name="d")(inputs))
    donor = keras.Model(inputs, LAYERS.Reshape((5, 1), name="wide")(x))
    perturb(donor)
    actual = as_numpy(surgery.logits(donor)(data(6, 4)))
    close(actual[..., 0], linear_part(donor.get_layer("d"), data(6, 4)))


def test_a_softmax_over_another_axis():
    """One that a person wrote, over the channels of an image whose channels come first."""
    inputs = keras.Input((4, 4, 3))
    layer = LAYERS.Conv2D(5, 2, activation=lambda x: keras.ops.softmax(x, axis=1), name="d")
    donor = keras.Model(inputs, layer(inputs))
    perturb(donor)
    with pytest.warns(UserWarning, match="lambda"):
        model = surgery.logits(donor)
    x = data(2, 4, 4, 3)
    actual = as_numpy(model(x))
    close(softmax(actual, 1), as_numpy(donor(x)))
    assert np.abs(actual.sum(1) - 1).min() > 1e-3


@pytest.mark.parametrize(
    "layer",
    [
        lambda: LAYERS.TimeDistributed(LAYERS.Dense(5, "softmax", name="d"), name="end"),
        lambda: LAYERS.TimeDistributed(LAYERS.Dense(5, keras.ops.softmax, name="d"), name="end"),
        lambda: LAYERS.TimeDistributed(LAYERS.Dense(5, LAYERS.Softmax(), name="d"), name="end"),
        lambda: LAYERS.EinsumDense("abc,cd->abd", (None, 5), "softmax", bias_axes="d", name="end"),
        lambda: LAYERS.Conv1D(5, 1, activation=keras.ops.softmax, name="end"),
        lambda: LAYERS.Dense(5, mine, name="end"),
    ],
)
def test_layers_of_several_positions(layer):
    inputs = keras.Input((3, 4))
    donor = keras.Model(inputs, layer()(inputs))
    perturb(donor)
    x = data(6, 3, 4)
    model = surgery.logits(donor)
    inner = getattr(donor.layers[-1], "layer", donor.layers[-1])
    kernel, bias = (as_numpy(w).astype(np.float64) for w in (inner.kernel, inner.bias))
    actual = as_numpy(model(x))
    close(actual, x @ kernel.reshape(4, 5) + bias)
    close(softmax(actual), as_numpy(donor(x)))


def test_spectral_normalisation_of_a_classifier():
    inputs = keras.Input((4,))
    layer = LAYERS.SpectralNormalization(LAYERS.Dense(5, keras.ops.softmax))
    donor = keras.Model(inputs, layer(inputs))
    perturb(donor)
    actual = as_numpy(surgery.logits(donor)(data(6, 4)))
    close(softmax(actual), as_numpy(donor(data(6, 4))))
    assert np.abs(actual.sum(-1) - 1).min() > 1e-3


@keras.saving.register_keras_serializable(package="tests")
def scaled(x):
    return keras.ops.softmax(x / 3)


@keras.saving.register_keras_serializable(package="tests")
def scaled_logarithm(x):
    return keras.ops.log_softmax(x * 3)


@keras.saving.register_keras_serializable(package="tests")
def broken(x):
    raise RuntimeError("only inside a model") if not hasattr(x, "_keras_history") else x


UNKNOWN = {
    "scaled": (lambda x: LAYERS.Dense(3, scaled, name="d")(x), "'d' .*look like probabilities"),
    "activation": (lambda x: LAYERS.Activation(scaled, name="a")(x), "'a' .*like probabilities"),
    "hard": (lambda x: LAYERS.Dense(3, "hard_sigmoid", name="d")(x), "'d' .*like probabilities"),
    "sparse": (lambda x: LAYERS.Dense(3, "sparsemax", name="d")(x), "'d' .*like probabilities"),
    "operation": (lambda x: keras.ops.hard_sigmoid(x), "HardSigmoid.*like probabilities"),
    "logarithm": (
        lambda x: LAYERS.Dense(3, scaled_logarithm, name="d")(x),
        "'d' .*look like logarithms of probabilities",
    ),
    "mean of two": (
        lambda x: LAYERS.Average(name="mean")([LAYERS.Dense(3, "softmax")(x) for _ in range(2)]),
        r"'mean' \(Average\).*look like probabilities",
    ),
    "mean of positions": (
        lambda x: LAYERS.GlobalAveragePooling1D(name="pool")(
            LAYERS.Dense(3, "softmax")(LAYERS.Reshape((2, 2))(x))
        ),
        r"'pool' .*look like probabilities",
    ),
    "broken": (lambda x: LAYERS.Dense(3, broken, name="d")(x), "cannot be applied.*only inside"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_told_is_an_error(name):
    end, message = UNKNOWN[name]
    if name == "broken" and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow traces the function with symbols of its own")
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, end(inputs), name="donor")
    with pytest.raises(surgery.NotRebuildable, match=rf"'donor' ends in .*{message}.*by hand"):
        surgery.logits(donor)


@keras.saving.register_keras_serializable(package="tests")
class OwnDense(LAYERS.Dense):
    def call(self, x):
        return mine(super().call(x))


@keras.saving.register_keras_serializable(package="tests")
class Holder(LAYERS.Layer):
    """A layer of one's own that holds the dense layer, and applies a function to its result."""

    def __init__(self, function="softmax", **options):
        super().__init__(**options)
        self.function, self.dense = function, LAYERS.Dense(3)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return getattr(keras.ops, self.function)(self.dense(x))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)

    def get_config(self):
        return {**super().get_config(), "function": self.function}


@pytest.mark.parametrize("head", [OwnDense(3, name="own"), Holder(name="own")], ids=["in", "on"])
def test_layers_of_ones_own_with_weights(head):
    model = keras.Sequential([keras.Input((8,)), head])
    perturb(model)
    with pytest.raises(
        surgery.NotRebuildable, match=r"ends in 'own' \(\w+\), which gives values that look"
    ):
        surgery.logits(model)


def test_one_output_of_a_layer_of_ones_own():
    model = keras.Sequential([keras.Input((8,)), OwnDense(3, name="own")])
    with pytest.raises(surgery.NotRebuildable, match=r"'own' gives .*told whether .*Give two"):
        surgery.swap_head(model, 1, seed=0)
    assert surgery.swap_head(model, 2, seed=0).output.shape == (None, 2)


@pytest.mark.parametrize("function", ["relu", "tanh", "softplus"])
def test_other_layers_of_ones_own_stay(function):
    model = keras.Sequential([keras.Input((8,)), Holder(function, name="own")])
    perturb(model)
    x = data(2, 8)
    close(as_numpy(surgery.logits(model)(x)), as_numpy(model(x)))


def test_a_masked_softmax_is_an_error():
    inputs, mask = keras.Input((4,)), keras.Input((3,), dtype="bool")
    x = LAYERS.Softmax(name="masked")(LAYERS.Dense(3)(inputs), mask)
    with pytest.raises(surgery.NotRebuildable, match=r"'masked' .*like probabilities"):
        surgery.logits(keras.Model([inputs, mask], x))


def test_a_wrapped_classifier_is_an_error():
    inner = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3), LAYERS.Softmax()])
    inputs = keras.Input((5, 4))
    donor = keras.Model(inputs, LAYERS.TimeDistributed(inner, name="each")(inputs))
    with pytest.raises(surgery.NotRebuildable, match=r"'each' .*wraps a model"):
        surgery.logits(donor)


@pytest.mark.parametrize(
    "name",
    sorted(
        set(vars(keras.activations))
        & {
            *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_silu", "hard_tanh"),
            *("leaky_relu", "linear", "mish", "relu", "relu6", "selu", "silu", "soft_shrink"),
            *("softplus", "softsign", "squareplus", "tanh", "tanh_shrink", "sparse_plus"),
        }
    ),
)
def test_other_activations_come_back(name):
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.Dense(6, name)(LAYERS.Dense(3, "softmax")(inputs)))
    perturb(donor)
    model = surgery.logits(donor)
    assert same(model(data(5, 4)), donor(data(5, 4)))
    assert model.layers[-1].activation is getattr(keras.activations, name)


def test_a_clipped_relu_is_no_probability():
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, LAYERS.ReLU(max_value=1)(LAYERS.Dense(3)(inputs)))
    assert same(surgery.logits(donor)(data(5, 4)), donor(data(5, 4)))


def test_means_that_lie_between_0_and_1_are_no_probabilities():
    """The end of MobileNetV3 without its top: means of many values of a hard swish."""
    inputs = keras.Input((14, 14, 3))
    x = LAYERS.Conv2D(4, 1)(inputs)
    x = LAYERS.Multiply()([x, LAYERS.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)])
    donor = keras.Model(inputs, LAYERS.GlobalAveragePooling2D()(x))
    assert same(surgery.logits(donor)(data(2, 14, 14, 3)), donor(data(2, 14, 14, 3)))
    donor = keras.Model(inputs, keras.ops.mean(keras.ops.hard_silu(x), axis=(1, 2)))
    assert same(surgery.logits(donor)(data(2, 14, 14, 3)), donor(data(2, 14, 14, 3)))


def test_an_activation_with_weights_is_copied():
    inputs = keras.Input((4,))
    layer = LAYERS.Dense(3, LAYERS.PReLU(alpha_initializer="ones"))
    donor = keras.Model(inputs, LAYERS.Softmax()(layer(inputs)))
    perturb(donor)
    x = data(5, 4)
    close(softmax(as_numpy(surgery.logits(donor)(x))), as_numpy(donor(x)))


def test_the_function_of_a_nested_model():
    inner = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3, mine, name="d")])
    inputs = keras.Input((4,))
    donor = keras.Model(inputs, keras.ops.log(inner(inputs)))
    perturb(donor)
    x = data(5, 4)
    close(as_numpy(surgery.logits(donor)(x)), linear_part(inner.get_layer("d"), x))


def test_half_precision():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(3, dtype="mixed_bfloat16", activation=mine, name="d")(inputs)
    donor = keras.Model(inputs, x)
    model = surgery.logits(donor)
    assert model.output.dtype == "bfloat16"
    assert model.get_layer("d").activation is keras.activations.linear
    x = OwnSoftmax(dtype="mixed_bfloat16")(LAYERS.Dense(3, dtype="mixed_bfloat16")(inputs))
    assert isinstance(surgery.logits(keras.Model(inputs, x)).layers[-1], LAYERS.Dense)
