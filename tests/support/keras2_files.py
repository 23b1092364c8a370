"""Files as Keras 2 writes them, made without it: JSON configs, and weights by h5py."""

import io
import json
import zipfile

import h5py
import numpy as np

VERSION = "2.12.0"
ZEROS = {"class_name": "Zeros", "config": {}}
GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None}}
# What Keras 2 has in the config of every convolution.
CONVOLUTION = {
    "padding": "valid",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "linear",
    "use_bias": True,
    "kernel_initializer": GLOROT,
    "bias_initializer": ZEROS,
    "kernel_regularizer": None,
    "bias_regularizer": None,
    "activity_regularizer": None,
    "kernel_constraint": None,
    "bias_constraint": None,
}
DEPTHWISE = {key: value for key, value in CONVOLUTION.items() if not key.startswith("kernel")}


def layer(kind, name, *, trainable=True, **config):
    """Makes the entry of a layer."""
    own = {"name": name, "trainable": trainable, "dtype": "float32", **config}
    return {"class_name": kind, "config": own}


def begin(shape, name="input_1"):
    config = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False}
    return {"class_name": "InputLayer", "config": {**config, "ragged": False, "name": name}}


def conv(name, filters, size=3, **config):
    shape = {"filters": filters, "kernel_size": [size, size], "strides": [1, 1]}
    return layer("Conv2D", name, **shape, **CONVOLUTION | config)


def depthwise(name, size=3, **config):
    shape = {"kernel_size": [size, size], "strides": [1, 1], "depth_multiplier": 1}
    return layer(
        "DepthwiseConv2D", name, depthwise_initializer=GLOROT, depthwise_regularizer=None,
        depthwise_constraint=None, **shape, **DEPTHWISE | config,
    )  # fmt: skip


def norm(name, **config):
    one = {"class_name": "Ones", "config": {}}
    return layer(
        "BatchNormalization", name, axis=[3], momentum=0.9, epsilon=1e-3, center=True, scale=True,
        beta_initializer=ZEROS, gamma_initializer=one, moving_mean_initializer=ZEROS,
        moving_variance_initializer=one, **config,
    )  # fmt: skip


def dense(name, units, activation="linear", **config):
    return layer(
        "Dense", name, units=units, activation=activation, use_bias=True,
        kernel_initializer=GLOROT, bias_initializer=ZEROS, **config,
    )  # fmt: skip


def call(entry, *names, node=0, **arguments):
    """Gives the entry of a layer with a call of it on the outputs of others."""
    return {
        **entry,
        "name": entry["config"]["name"],
        "inbound_nodes": [[[name, node, 0, arguments] for name in names]] if names else [],
    }


def function(name, first, /, **arguments):
    """Makes the entry of a call of a TensorFlow function."""
    entry = layer("TFOpLambda", f"tf.{name}", function=name)
    return {**entry, "name": f"tf.{name}", "inbound_nodes": [[first, 0, 0, arguments]]}


def model(entries, name="model", kind="Functional", **config):
    """Makes the entry of a functional model from its first entry to its last."""
    ends = [[[entries[place]["name"], 0, 0]] for place in (0, -1)]
    own = {"name": name, "trainable": True, "layers": entries, **config}
    return {
        "class_name": kind,
        "config": {**own, "input_layers": ends[0], "output_layers": ends[1]},
    }


def sequential(entries, name="sequential"):
    return {"class_name": "Sequential", "config": {"name": name, "layers": entries}}


def write_h5(path, entry, weights, *, version=VERSION):
    """Writes an HDF5 file.

    Args:
        path: of the file.
        entry: of the model.
        weights: name of a layer of the model -> [(name of a weight, array)], in the order of Keras
            2; layers without weights may be missing.
        version: of Keras.
    """
    config = entry["config"]
    layers = config if isinstance(config, list) else config["layers"]
    names = [x.get("name") or x["config"]["name"] for x in layers]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(entry)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = names
        for name in names:
            own = group.create_group(name)
            own.attrs["weight_names"] = [f"{name}/{key}:0" for key, _ in weights.get(name, ())]
            for key, value in weights.get(name, ()):
                own[f"{name}/{key}:0"] = value
    return path


def write_keras(path, entry, weights, *, version=VERSION):
    """Writes a `.keras` file; `weights` are path of a layer in the archive -> arrays."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for place, values in {"": [], **weights}.items():
            file.create_group(f"{place}/vars")
            for number, value in enumerate(values):
                file[f"{place}/vars/{number}"] = value
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(_with_modules(entry)))
        archive.writestr("model.weights.h5", buffer.getvalue())
    return path


def _with_modules(value):
    """Adds to the entries of layers where Keras 2 has their classes, as `.keras` files say it."""
    if isinstance(value, list):
        return [_with_modules(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _with_modules(item) for key, item in value.items()}
    if "class_name" not in value or value["class_name"] in ("Zeros", "Ones", "GlorotUniform"):
        return value
    modules = {"Functional": "keras.src.engine.functional", "Sequential": "keras"}
    module = modules.get(value["class_name"], "keras.layers")
    name = "Functional" if value["class_name"] == "Functional" else None
    return {**value, "module": module, "registered_name": name}


class Small:
    """A network with what files of Keras 2 have that Keras 3 has not, and what it computes.

    Pixels are scaled by TensorFlow functions; names have slashes; a depthwise convolution says
    groups=1; trunk and head are nested as in the files of Teachable Machine.
    """

    def __init__(self, *, frozen=()):
        rng = np.random.default_rng(0)
        self.pixels = rng.uniform(0, 255, (2, 6, 6, 3)).astype(np.float32)
        shapes = {
            "one": {"kernel": (3, 3, 3, 4), "bias": (4,)},
            "norm": {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
            "deep": {"depthwise_kernel": (3, 3, 4, 1), "bias": (4,)},
            "hidden": {"kernel": (4, 5), "bias": (5,)},
            "out": {"kernel": (5, 3), "bias": (3,)},
        }
        self.values = {
            (place, key): rng.uniform(0.2, 0.9, shape).astype(np.float32)
            for place, own in shapes.items()
            for key, shape in own.items()
        }
        self._frozen = frozen

    def _flags(self, place):
        return {"trainable": place not in self._frozen}

    def entry(self):
        trunk = model(
            [
                call(begin((6, 6, 3))),
                function("math.truediv", "input_1", y=127.5, name=None),
                function("math.subtract", "tf.math.truediv", y=1.0, name=None),
                call(conv("Conv/one", 4, **self._flags("one")), "tf.math.subtract"),
                call(norm("Conv/norm", **self._flags("norm")), "Conv/one"),
                call(layer("ReLU", "relu", max_value=0.8, negative_slope=0.0), "Conv/norm"),
                call(depthwise("deep", **self._flags("deep")), "relu"),
            ],
            name="trunk",
        )
        pool = layer("GlobalAveragePooling2D", "pool", data_format="channels_last", keepdims=False)
        first = sequential([begin((6, 6, 3), "trunk_input"), trunk, pool], "sequential_1")
        second = sequential(
            [
                begin((4,), "hidden_input"),
                dense("hidden", 5, "relu", batch_input_shape=[None, 4], **self._flags("hidden")),
                dense("out", 3, "softmax", **self._flags("out")),
            ],
            "sequential_2",
        )
        return sequential([begin((6, 6, 3), "sequential_1_input"), first, second], "whole")

    def _stored(self, *places):
        """Lists the weights of layers in the order of Keras 2: those that are trained first."""
        moving = ("moving_mean", "moving_variance")
        of = [key for place in places for key in self.values if key[0] == place]
        others = [k for k in of if k[0] in self._frozen or k[1] in moving]
        return [
            (f"{place}/{key}", self.values[place, key])
            for place, key in [*(k for k in of if k not in others), *others]
        ]

    def write(self, path):
        first, second = self._stored("one", "norm", "deep"), self._stored("hidden", "out")
        return write_h5(path, self.entry(), {"sequential_1": first, "sequential_2": second})

    def write_keras(self, path):
        """Writes a `.keras` file, which has the weights by the kinds of the layers."""
        trunk = "layers/sequential/layers/functional/layers"
        places = {
            f"{trunk}/conv2d": "one",
            f"{trunk}/batch_normalization": "norm",
            f"{trunk}/depthwise_conv2d": "deep",
            "layers/sequential_1/layers/dense": "hidden",
            "layers/sequential_1/layers/dense_1": "out",
        }
        empty = [trunk.removesuffix("/layers"), f"{trunk}/re_lu"]
        empty += [f"{trunk}/tf_op_lambda", f"{trunk}/tf_op_lambda_1"]
        empty += ["layers/sequential", "layers/sequential_1"]
        empty += ["layers/sequential/layers/global_average_pooling2d"]
        weights = {
            path: [value for (own, _), value in self.values.items() if own == place]
            for path, place in places.items()
        } | {path: [] for path in empty}
        return write_keras(path, self.entry(), weights)

    def outputs(self):
        """Computes the outputs with NumPy."""
        v = self.values
        x = self.pixels.astype(np.float64) / 127.5 - 1
        x = np.einsum("bijcpq,pqcf->bijf", _patches(x), v["one", "kernel"]) + v["one", "bias"]
        x = (x - v["norm", "moving_mean"]) / np.sqrt(v["norm", "moving_variance"] + 1e-3)
        x = np.clip(x * v["norm", "gamma"] + v["norm", "beta"], 0, 0.8)
        kernel = v["deep", "depthwise_kernel"][..., 0]
        x = np.einsum("bijcpq,pqc->bijc", _patches(x), kernel) + v["deep", "bias"]
        x = x.mean(axis=(1, 2))
        x = np.maximum(x @ v["hidden", "kernel"] + v["hidden", "bias"], 0)
        x = np.exp(x @ v["out", "kernel"] + v["out", "bias"])
        return x / x.sum(axis=1, keepdims=True)


def _patches(x):
    """Gives the 3 x 3 patches of pictures: (batch, row, column, channel, 3, 3)."""
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
