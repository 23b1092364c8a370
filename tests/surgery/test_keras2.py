"""Files of Keras 2, written by hand, against what NumPy computes from their weights."""

import json

import h5py
import keras
import numpy as np
import pytest
from support import keras2_files as files
from support.keras2_files import (
    Small,
    begin,
    call,
    conv,
    dense,
    function,
    layer,
    model,
    norm,
    sequential,
    write_h5,
)  # fmt: skip

from transfer_keras import surgery

RNG = np.random.default_rng(3)


def outputs(network, x):
    return keras.ops.convert_to_numpy(network(x, training=False))


def dense_weights(inputs, units):
    kernel, bias = RNG.normal(size=(inputs, units)), RNG.normal(size=units)
    return [("kernel", kernel.astype(np.float32)), ("bias", bias.astype(np.float32))]


@pytest.mark.parametrize("write", ["write", "write_keras"])
@pytest.mark.parametrize("frozen", [(), ("one", "deep"), ("one", "norm", "deep", "hidden")])
def test_it_computes_what_the_file_says(tmp_path, write, frozen):
    small = Small(frozen=frozen)
    path = getattr(small, write)(tmp_path / ("m.h5" if write == "write" else "m.keras"))
    network = surgery.load(path)
    assert outputs(network, small.pixels) == pytest.approx(small.outputs(), abs=1e-6)
    opened = surgery.flatten(network)
    flags = {x.name: x.trainable for x in opened.layers if x.weights}
    names = {"one": "Conv_one", "norm": "Conv_norm"}
    places = ("one", "norm", "deep", "hidden", "out")
    assert flags == {names.get(place, place): place not in frozen for place in places}


def test_it_can_be_operated_on_and_saved(tmp_path):
    small = Small()
    network = surgery.flatten(surgery.load(small.write(tmp_path / "m.h5")))
    names = [unit.name for unit in surgery.units(network)]
    assert names == ["Conv_one", "deep", "hidden", "out"]
    new, _ = surgery.transplant(network, "deep", head=7, seed=0)
    kernel = keras.ops.convert_to_numpy(new.get_layer("Conv_one").kernel)
    assert np.array_equal(kernel, small.values["one", "kernel"])
    fused = surgery.fuse({"a": network, "b": new})
    surgery.save(surgery.extract(fused, "a"), tmp_path / "new.keras")
    again = surgery.load(tmp_path / "new.keras")
    assert outputs(again, small.pixels) == pytest.approx(small.outputs(), abs=1e-6)


def test_a_sequential_of_the_oldest_files(tmp_path):
    """Its config is a list, and its first layer says what it takes."""
    first = dense("a", 4, "relu", batch_input_shape=[None, 3])
    weights = {"a": dense_weights(3, 4), "b": dense_weights(4, 2)}
    entry = {"class_name": "Sequential", "config": [first, dense("b", 2)]}
    path = write_h5(tmp_path / "m.h5", entry, weights, version="2.1.6")
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    (a, a_bias), (b, b_bias) = ((w for _, w in weights[name]) for name in "ab")
    expected = np.maximum(x @ a + a_bias, 0) @ b + b_bias
    assert outputs(surgery.load(path), x) == pytest.approx(expected, abs=1e-5)


def test_a_sequential_that_was_built_by_its_data(tmp_path):
    entry = sequential([dense("a", 2)])
    entry["config"]["build_input_shape"] = [None, 3]
    path = write_h5(tmp_path / "m.h5", entry, {"a": dense_weights(3, 2)})
    assert surgery.load(path).input_shape == (None, 3)
    del entry["config"]["build_input_shape"]
    write_h5(path, entry, {})
    with pytest.raises(surgery.UnreadableFile, match=r"'sequential' was saved before it was built"):
        surgery.load(path)


def test_a_nested_model_that_is_called_twice(tmp_path):
    """The file counts its calls from 1, as the first was the one that made it."""
    inside = model([call(begin((3,), "x")), call(dense("a", 3), "x")], "inside")
    twice = {**call(inside, "input_1"), "name": "inside"}
    twice["inbound_nodes"].append([["inside", 1, 0, {}]])
    entry = model([call(begin((3,))), twice])
    entry["config"]["output_layers"] = [["inside", 1, 0], ["inside", 2, 0]]
    weights = dense_weights(3, 3)
    path = write_h5(tmp_path / "m.h5", entry, {"inside": weights})
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    kernel, bias = (w for _, w in weights)
    once, again = surgery.load(path)(x)
    assert keras.ops.convert_to_numpy(once) == pytest.approx(x @ kernel + bias, abs=1e-5)
    expected = (x @ kernel + bias) @ kernel + bias
    assert keras.ops.convert_to_numpy(again) == pytest.approx(expected, abs=1e-5)


def test_hard_sigmoid_is_that_of_keras2(tmp_path):
    x = np.linspace(-4, 4, 33, dtype=np.float32)[:, None]
    entry = sequential([begin((1,)), layer("Activation", "act", activation="hard_sigmoid")])
    network = surgery.load(write_h5(tmp_path / "m.h5", entry, {}))
    expected = np.clip(0.2 * x + 0.5, 0, 1)
    assert outputs(network, x) == pytest.approx(expected, abs=1e-6)
    assert outputs(network, x) != pytest.approx(np.clip(x / 6 + 0.5, 0, 1), abs=1e-2)
    network.save(tmp_path / "m.keras")
    assert outputs(surgery.load(tmp_path / "m.keras"), x) == pytest.approx(expected, abs=1e-6)


def test_settings_that_have_other_names_now(tmp_path):
    x = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
    entry = sequential([
        begin((1,)),
        layer("LeakyReLU", "leaky", alpha=0.3),
        layer("ThresholdedReLU", "threshold", theta=0.5),
        layer("Dropout", "drop", rate=0.5, noise_shape=None, seed=None),
    ])  # fmt: skip
    network = surgery.load(write_h5(tmp_path / "m.h5", entry, {}))
    leaky = np.where(x < 0, 0.3 * x, x)
    assert outputs(network, x) == pytest.approx(np.where(leaky > 0.5, leaky, 0), abs=1e-6)


def test_mixed_precision(tmp_path):
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    first = dense("a", 4)
    first["config"]["dtype"] = policy
    entry = sequential([begin((3,)), first, dense("b", 2)])
    weights = {"a": dense_weights(3, 4), "b": dense_weights(4, 2)}
    network = surgery.load(write_h5(tmp_path / "m.h5", entry, weights))
    assert [x.compute_dtype for x in network.layers] == ["float16", "float32"]
    assert network.layers[0].kernel.dtype == "float32"


def test_what_normalization_learned_from_data_is_used(tmp_path):
    entry = sequential([
        begin((3,)), layer("Normalization", "n", axis=[-1], mean=None, variance=None),
    ])  # fmt: skip
    mean, variance = np.float32([1, 2, 3]), np.float32([4, 9, 16])
    stored = [("mean", mean), ("variance", variance), ("count", np.int64(7))]
    network = surgery.load(write_h5(tmp_path / "m.h5", entry, {"n": stored}))
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    assert outputs(network, x) == pytest.approx((x - mean) / [2, 3, 4], abs=1e-5)


X = RNG.uniform(0.5, 2, (2, 4, 4, 3)).astype(np.float32)
LIST = [1.0, 2.0, 4.0]
SLICES = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
FUNCTIONS = [
    ("__operators__.add", {"y": 3.0, "name": None}, X + 3),
    ("__operators__.getitem", {"slice_spec": SLICES}, X[..., ::-1]),
    ("cast", {"dtype": "int32"}, X.astype(np.int32)),
    ("clip_by_value", {"clip_value_min": 0.7, "clip_value_max": 1.0}, X.clip(0.7, 1.0)),
    ("expand_dims", {"axis": 1}, X[:, None]),
    ("math.add", {"y": LIST}, X + LIST),
    ("math.divide", {"y": LIST}, X / LIST),
    ("math.exp", {}, np.exp(X)),
    ("math.l2_normalize", {"axis": -1}, X / np.sqrt((X**2).sum(-1, keepdims=True))),
    ("math.log", {}, np.log(X)),
    ("math.maximum", {"y": 1.0}, X.clip(1.0)),
    ("math.minimum", {"y": 1.0}, X.clip(None, 1.0)),
    ("math.multiply", {"y": LIST}, X * LIST),
    ("math.negative", {}, -X),
    ("math.pow", {"y": 2.0}, X**2),
    ("math.reduce_max", {"axis": [1, 2]}, X.max((1, 2))),
    ("math.reduce_mean", {"axis": [1, 2], "keepdims": True}, X.mean((1, 2), keepdims=True)),
    ("math.reduce_sum", {"axis": -1}, X.sum(-1)),
    ("math.rsqrt", {}, X**-0.5),
    ("math.sigmoid", {}, 1 / (1 + np.exp(-X))),
    ("math.sqrt", {}, X**0.5),
    ("math.square", {}, X**2),
    ("math.subtract", {"y": LIST}, X - LIST),
    ("math.tanh", {}, np.tanh(X)),
    ("math.truediv", {"y": 127.5}, X / 127.5),
    ("nn.bias_add", {"bias": LIST, "data_format": "NHWC"}, X + LIST),
    ("nn.leaky_relu", {"alpha": 0.1}, X),
    ("nn.relu6", {}, X.clip(0, 6)),
    ("nn.silu", {}, X / (1 + np.exp(-X))),
    ("nn.softmax", {}, np.exp(X) / np.exp(X).sum(-1, keepdims=True)),
    ("reshape", {"shape": [-1, 48]}, X.reshape(-1, 48)),
    ("transpose", {"perm": [0, 3, 1, 2]}, X.transpose(0, 3, 1, 2)),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), FUNCTIONS, ids=lambda x: str(x)[:20])
def test_functions_of_tensorflow(tmp_path, name, arguments, expected):
    entry = model([call(begin((4, 4, 3))), function(name, "input_1", **arguments)])
    network = surgery.load(write_h5(tmp_path / "m.h5", entry, {}))
    assert outputs(network, X) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    surgery.save(network, tmp_path / "m.keras")
    again = surgery.load(tmp_path / "m.keras")
    assert outputs(again, X) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_functions_of_several_tensors(tmp_path):
    """1 - x, x + y and a concatenation, beside a layer that has the name of an operation."""
    minus = layer("TFOpLambda", "tf.minus", function="math.subtract")
    both = layer("TFOpLambda", "tf.both", function="__operators__.add")
    joined = layer("TFOpLambda", "tf.joined", function="concat")
    constant = ["_CONSTANT_VALUE", -1, 1.0, {"y": ["input_1", 0, 0], "name": None}]
    entry = model([
        call(begin((4, 4, 3))),
        call(layer("Multiply", "add"), "input_1", "input_1"),
        {**minus, "name": "tf.minus", "inbound_nodes": [constant]},
        {**both, "name": "tf.both", "inbound_nodes": [["add", 0, 0, {"y": ["tf.minus", 0, 0]}]]},
        call(joined, "tf.both", "input_1", axis=-1),
    ])  # fmt: skip
    network = surgery.load(write_h5(tmp_path / "m.h5", entry, {}))
    expected = np.concatenate([X**2 + 1 - X, X], axis=-1)
    assert outputs(network, X) == pytest.approx(expected, abs=1e-5)


def test_classes_of_ones_own(tmp_path):
    class Halve(keras.layers.Layer):
        def call(self, x):
            return x / 2

    entry = sequential([begin((3,)), layer("Custom>Halve", "halve")])
    path = write_h5(tmp_path / "m.h5", entry, {})
    x = np.float32([[2, 4, 6]])
    loaded = surgery.load(path, custom_objects={"Halve": Halve})
    assert outputs(loaded, x) == pytest.approx(x / 2)
    with pytest.raises(surgery.UnreadableFile, match=r"m\.h5: Layer 'halve' is of class 'Halve', "):
        surgery.load(path)


def lambda_entry():
    code = {"function": ["4wEAAAA=", None, None], "function_type": "lambda"}
    return sequential([begin((3,)), layer("Lambda", "scale", **code)])


def unknown_function():
    return model([call(begin((4,))), function("signal.fft", "input_1")])


def transposed():
    return model([call(begin((4,))), function("linalg.matmul", "input_1", b=1, transpose_b=True)])


def ragged():
    entry = begin((4,))
    entry["config"]["ragged"] = True
    return sequential([entry])


def grouped():
    return sequential([begin((6, 6, 4)), files.depthwise("deep", groups=2)])


def lost():
    return model([call(begin((4,))), call(dense("a", 2), "nowhere")])


def time_major():
    return sequential([begin((5, 3)), layer("LSTM", "lstm", units=2, time_major=True)])


REFUSED = [
    (lambda_entry, r"Layer 'scale' is a Lambda: .* not run\. .*Rescaling\(1 / 127\.5.*set_weights"),
    (unknown_function, r"Layer 'tf\.signal\.fft' calls tf\.signal\.fft, which is not among"),
    (transposed, r"calls tf\.linalg\.matmul, with arguments that are not known here: a transposed"),
    (ragged, r"Input 'input_1' is ragged"),
    (grouped, r"'deep' \(DepthwiseConv2D\) of Keras 2 has groups=2, .* Expected groups=1"),
    (lost, r"m\.h5: The input 'nowhere' of a layer is not in the file"),
    (time_major, r"'lstm' \(LSTM\) of Keras 2 has time_major=True"),
    (lambda: {"class_name": "Mine", "config": {"name": "m", "layers": [], "input_layers": []}},
     r"'m' is of the class 'Mine', a model with code of its own"),
    (lambda: dense("a", 2), r"holds a Dense\. Expected a functional model or a Sequential"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_what_cannot_be_made_is_named(tmp_path, make, message):
    entry = make()
    layers = {"config": {"layers": []}} if entry["class_name"] == "Dense" else entry
    path = write_h5(tmp_path / "m.h5", layers, {})
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(entry)
    with pytest.raises(surgery.UnreadableFile, match=message) as error:
        surgery.load(path)
    assert "\n" not in str(error.value)


def damage_shape(group):
    del group["b/b/kernel:0"]
    group["b/b/kernel:0"] = np.zeros((4, 3))


def damage_number(group):
    group["b"].attrs["weight_names"] = ["b/kernel:0"]


def damage_names(group):
    group.attrs["layer_names"] = ["a"]


def damage_link(group):
    del group["b/b/kernel:0"]
    group["b/b/kernel:0"] = h5py.ExternalLink("elsewhere.h5", "/x")


def damage_own(group):
    own = group.create_group("top_level_model_weights")
    own.attrs["weight_names"] = ["x:0"]


DAMAGE = [
    (damage_shape, r"Layer 'b': 'b/kernel:0' \(4, 3\) is in the file where .*kernel \(4, 2\) was"),
    (damage_number, r"Layer 'b': 1 weights are in the file\. Expected 2: .*kernel, .*bias"),
    (damage_names, r"The weights of layer 'b' are missing"),
    (damage_link, r"'/model_weights/b/b/kernel:0' in it is a link"),
    (damage_own, r"'sequential' has weights of its own"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=lambda x: getattr(x, "__name__", ""))
def test_weights_that_do_not_fit_are_named(tmp_path, damage, message):
    entry = sequential([begin((3,)), dense("a", 4), dense("b", 2)])
    weights = {"a": dense_weights(3, 4), "b": dense_weights(4, 2)}
    path = write_h5(tmp_path / "m.h5", entry, weights)
    with h5py.File(path, "a") as file:
        damage(file["model_weights"])
    with pytest.raises(surgery.UnreadableFile, match=message):
        surgery.load(path)


def test_statistics_in_another_order_are_refused(tmp_path):
    """All four have one shape, so that only their names tell."""
    entry = sequential([begin((6, 6, 3)), conv("c", 4), norm("n")])
    names = ["gamma", "beta", "moving_variance", "moving_mean"]
    kernel = [("kernel", np.zeros((3, 3, 3, 4))), ("bias", np.zeros(4))]
    weights = {"c": kernel, "n": [(name, np.ones(4)) for name in names]}
    path = write_h5(tmp_path / "m.h5", entry, weights)
    with pytest.raises(surgery.UnreadableFile, match=r"'n/moving_variance:0' .*n/moving_mean"):
        surgery.load(path)


def test_a_keras_file_with_too_many_weights(tmp_path):
    entry = sequential([begin((3,)), dense("a", 2)])
    own = [value for _, value in dense_weights(3, 2)]
    weights = {"layers/dense": own, "layers/dense_1": own}
    path = files.write_keras(tmp_path / "m.keras", entry, weights)
    with pytest.raises(surgery.UnreadableFile, match=r"4 weights are in the file\. Expected 2"):
        surgery.load(path)
    del weights["layers/dense"]
    files.write_keras(path, entry, weights)
    with pytest.raises(surgery.UnreadableFile, match=r"The weights do not fit the layers: "):
        surgery.load(path)
