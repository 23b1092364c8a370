"""Donors that are damaged, edited or made to do harm, each as a function that writes one.

A function is given a path that ends in `.keras`, and gives another path if it wrote that one. All
are made from files that Keras wrote. What is drawn at random has fixed seeds.
"""

import copy
import json
import random
import zipfile

import h5py
import keras
import numpy as np

from support import keras2_files
from support.network_archives import (
    CONFIG,
    HDF5_TRICKS,
    METADATA,
    WEIGHTS,
    hdf5,
    members,
    packed_bomb,
    packed_weights,
    write_members,
    zeros,
)

HUGE = 10**400
ODD_VALUES = (
    None, True, False, 0, -1, 1, 3, 10**6, 10**12, 2**63, HUGE, -HUGE, 0.5, -0.0, 1e300,
    float("nan"), float("inf"), "", "text", "float64", "bfloat16", "channels_first", "__lambda__",
    "../../x", "conv 1", "größe", "a/b", "\x1b[31m", "<img src=x onerror=alert(1)>", "x" * 100_000,
    [], [None], [[]], [1, 2], [-1, 0], ["text"], {}, {"a": 1}, {"class_name": "Dense"},
    {"class_name": "__lambda__", "config": {"value": "x"}},
    {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
    {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}},
    {"class_name": "__keras_tensor__", "config": {"shape": [1], "dtype": "float32"}},
)  # fmt: skip


def places(value, path=()):
    """Lists the paths of all values in a JSON document, the document's own first."""
    yield path
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from places(value[key], (*path, key))


def edited(document, rng):
    """Copies a JSON document, with one value in it replaced, removed, or there twice."""
    document = copy.deepcopy(document)
    *above, last = rng.choice([path for path in places(document) if path])
    holder = document
    for key in above:
        holder = holder[key]
    how = rng.random()
    if how < 0.8:
        holder[last] = copy.deepcopy(rng.choice(ODD_VALUES))
    elif how < 0.9 or isinstance(holder, dict):
        del holder[last]
    else:
        holder.append(copy.deepcopy(holder[last]))
    return document


def nested(depth, begin=b'{"a":', end=b"}") -> bytes:
    return begin * depth + b"1" + end * depth


def _with_config(document) -> dict:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return members() | {CONFIG: text}


def _layer(config, kind):
    return next(x for x in config["config"]["layers"] if x["class_name"] == kind)["config"]


def with_setting(kind, **settings):
    """Gives members of a file in which the first layer of a kind has other settings."""
    content = members()
    config = json.loads(content[CONFIG])
    _layer(config, kind).update(settings)
    return content | {CONFIG: json.dumps(config).encode()}


def _writer(content, compression=zipfile.ZIP_STORED):
    return lambda path: write_members(
        path, content() if callable(content) else content, compression
    )


def _damaged(change):
    def write(path):
        write_members(path, members())
        path.write_bytes(change(path.read_bytes()))

    return write


def _flipped(seed, begin, end):
    rng = random.Random(seed)

    def change(data):
        data = bytearray(data)
        for _ in range(rng.choice((1, 1, 3, 30))):
            place = rng.randrange(int(begin * len(data)), max(1, int(end * len(data))))
            data[place] ^= 1 << rng.randrange(8)
        return bytes(data)

    return change


def archives():
    """Gives zips that are no good: name -> a function that writes it."""
    good = members()
    cases = {
        f"without {name}": _writer(good | {name: None}) for name in (CONFIG, METADATA, WEIGHTS)
    }
    for name in (CONFIG, METADATA, WEIGHTS):
        cases[f"{name} empty"] = _writer(good | {name: b""})
        cases[f"{name} of zeros"] = _writer(good | {name: zeros(5000)})
        cases[f"{name} not UTF-8"] = _writer(good | {name: b"\xff\xfe{}"})
    cases |= {
        "nothing in it": _writer({}),
        "whole": _writer(good),
        "packed": _writer(good, zipfile.ZIP_DEFLATED),
        "packed by LZMA": _writer(good, zipfile.ZIP_LZMA),
        "a config twice": _writer([*good.items(), (CONFIG, b"{}")]),
        "names that climb": _writer(good | {"../../x": b"1", "/tmp/x": b"1", "assets/../x": b"1"}),
        "10,000 members": _writer(good | {f"assets/{k}": b"" for k in range(10_000)}),
        "weights as .npz": _writer(good | {WEIGHTS: None, "model.weights.npz": zeros(100)}),
        "flags of text": _writer(good | {"surgery_flags.json": b'["yes"]'}),
        "flags too few": _writer(good | {"surgery_flags.json": b"[true]"}),
        "flags too deep": _writer(good | {"surgery_flags.json": nested(100_000, b"[", b"]")}),
    }

    def encrypted(path):
        write_members(path, good)
        data = bytearray(path.read_bytes())
        for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(mark) + offset] |= 1
        path.write_bytes(data)

    cases["encrypted"] = encrypted
    return cases


def documents():
    """Gives configs that are no configs: name -> a function that writes it."""
    texts = {
        "null": b"null", "a number": b"3", "a list": b"[]", "a text": b'"x"', "nothing": b"{}",
        "no JSON": b"{", "deep": nested(100_000), "deep lists": nested(100_000, b"[", b"]"),
        "deep enough": nested(900), "an int of 5,000 digits": b'{"a":' + b"9" * 5000 + b"}",
        "not a number": b'{"class_name": NaN}',
    }  # fmt: skip
    cases = {f"config: {name}": _writer(_with_config(text)) for name, text in texts.items()}
    good = members()
    for name, text in texts.items():
        cases[f"metadata: {name}"] = _writer(good | {METADATA: text})
    for version in ("", "3", "2.12.0", "9.9", "x", "-1", 3, None, [], {}, "9" * 5000):
        text = json.dumps({"keras_version": version}).encode()
        cases[f"version {str(version)[:6]!r} {type(version).__name__}"] = _writer(
            good | {METADATA: text}
        )
    return cases


SETTINGS = [
    ("Conv2D", {"filters": 10**12}),
    ("Conv2D", {"filters": HUGE}),
    ("Conv2D", {"filters": -1}),
    ("Conv2D", {"filters": "6"}),
    ("Conv2D", {"filters": 6.5}),
    ("Conv2D", {"kernel_size": [10**6, 10**6]}),
    ("Conv2D", {"dilation_rate": [10**9, 10**9]}),
    ("Conv2D", {"strides": [0, 0]}),
    ("Conv2D", {"groups": 10**9}),
    ("Conv2D", {"padding": "valide"}),
    ("Conv2D", {"dtype": "float65"}),
    ("Conv2D", {"name": "../x"}),
    ("Conv2D", {"name": 3}),
    ("Conv2D", {"name": ""}),
    ("Conv2D", {"trainable": "yes"}),
    ("Rescaling", {"scale": "text"}),
    ("Rescaling", {"scale": HUGE}),
    ("Rescaling", {"scale": [1, 2]}),
    ("Rescaling", {"scale": {}}),
    ("Rescaling", {"offset": "text"}),
    ("Rescaling", {"offset": None}),
    ("BatchNormalization", {"axis": 10**9}),
    ("BatchNormalization", {"axis": "x"}),
    ("BatchNormalization", {"momentum": "x"}),
    ("BatchNormalization", {"epsilon": HUGE}),
    ("BatchNormalization", {"epsilon": None}),
    ("Dense", {"units": 10**12}),
    ("Dense", {"units": HUGE}),
    ("Dense", {"activation": "os.system"}),
    ("Dense", {"activation": {"value": ["code", None, None]}}),
    ("Dense", {"activation": 3}),
    ("Dense", {"kernel_initializer": "text"}),
    ("Dense", {"quantization_config": "int4"}),
    ("Dense", {"lora_rank": 10**12}),
    ("InputLayer", {"batch_shape": [None, 10**6, 10**6, 3]}),
    ("InputLayer", {"batch_shape": [10**9, 24, 24, 3]}),
    ("InputLayer", {"batch_shape": [None, HUGE, HUGE, 3]}),
    ("InputLayer", {"batch_shape": [None, -24, -24, 3]}),
    ("InputLayer", {"batch_shape": [None, "24", "24", 3]}),
    ("InputLayer", {"batch_shape": "text"}),
    ("InputLayer", {"batch_shape": [None] * 40}),
    ("InputLayer", {"dtype": "string"}),
    ("InputLayer", {"dtype": "complex64"}),
    ("InputLayer", {"sparse": True}),
    ("InputLayer", {"ragged": True}),
]


def edited_configs(count, seed=0):
    """Gives files in each of which one value of the config, at random, is another."""
    cases, good = {}, members()
    config = json.loads(good[CONFIG])
    for number in range(count):
        changed = edited(config, random.Random(f"{seed} {number}"))
        cases[f"edit {number}"] = _writer(good | {CONFIG: json.dumps(changed).encode()})
    return cases


def damaged_h5():
    """Gives `.h5` files that are cut short, or in which bits are flipped."""

    def make(change):
        def write(path):
            path = path.with_suffix(".h5")
            path.write_bytes(change(hdf5()))
            return path

        return write

    cases = {
        f"at {part}": make(lambda data, p=part: data[: int(len(data) * p)])
        for part in (0, 0.01, 0.1, 0.5, 0.9, 0.999)
    }
    for begin, end in ((0, 1), (0, 0.05), (0.05, 0.3)):
        for seed in range(10):
            cases[f"{begin} to {end}, {seed}"] = make(_flipped(seed, begin, end))
    return cases


def edited_h5(count, seed=0):
    """Gives the same of `.h5` files."""

    def make(number):
        def write(path):
            path = path.with_suffix(".h5")
            path.write_bytes(hdf5())
            with h5py.File(path, "r+") as file:
                config = json.loads(file.attrs["model_config"])
                changed = edited(config, random.Random(f"h5 {seed} {number}"))
                file.attrs["model_config"] = json.dumps(changed)
            return path

        return write

    def whole(path):
        path.with_suffix(".h5").write_bytes(hdf5())
        return path.with_suffix(".h5")

    return {"whole": whole} | {f"edit {number}": make(number) for number in range(count)}


def edited_keras2(count, seed=0):
    """Gives the same of files of Keras 2."""
    layers = [
        keras2_files.layer("InputLayer", "photo", batch_input_shape=[None, 24, 24, 3]),
        keras2_files.layer("Rescaling", "scale", scale=1 / 255, offset=0.0),
        keras2_files.layer(
            "Conv2D", "c1", filters=4, kernel_size=[3, 3], strides=[1, 1],
            **keras2_files.CONVOLUTION,
        ),
        keras2_files.layer("GlobalAveragePooling2D", "pool", data_format="channels_last"),
        keras2_files.layer(
            "Dense", "out", units=5, activation="softmax", use_bias=True,
            kernel_initializer=keras2_files.GLOROT, bias_initializer=keras2_files.ZEROS,
        ),
    ]  # fmt: skip
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    rng = np.random.default_rng(0)
    weights = {
        "c1": {"kernel": rng.normal(size=(3, 3, 3, 4)), "bias": np.zeros(4)},
        "out": {"kernel": rng.normal(size=(4, 5)), "bias": np.zeros(5)},
    }

    def write_one(path, changed):
        with h5py.File(path, "w") as file:
            file.attrs["keras_version"] = keras2_files.VERSION
            file.attrs["backend"] = "tensorflow"
            file.attrs["model_config"] = json.dumps(changed)
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [x["config"]["name"].encode() for x in layers]
            for layer in layers:
                name = layer["config"]["name"]
                own = group.create_group(name)
                given = weights.get(name, {})
                own.attrs["weight_names"] = [f"{name}/{k}:0".encode() for k in given]
                for kind, value in given.items():
                    own.create_dataset(f"{name}/{kind}:0", data=value.astype("f4"))

    cases = {"whole": lambda path: write_one(path, config)}
    for number in range(count):
        changed = edited(config, random.Random(f"keras2 {seed} {number}"))
        cases[f"edit {number}"] = lambda path, changed=changed: write_one(path, changed)
    return cases


def _single_layer(path):
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    file = path.with_suffix(".keras")
    keras.saving.save_model(layer, file)


def _folder(path):
    path.mkdir()
    (path / CONFIG).write_text("{}")


def settings():
    """Gives files with a setting of a layer that is wrong or beyond measure."""
    return {
        f"{kind} {str(changes)[:60]}": _writer(lambda k=kind, s=changes: with_setting(k, **s))
        for kind, changes in SETTINGS
    }


def tricks():
    """Gives files whose weights lie elsewhere, are too many, or are no numbers."""
    return {
        name: _writer(lambda c=change: members() | {WEIGHTS: packed_weights(c)})
        for name, change in HDF5_TRICKS.items()
    }


def damages():
    """Gives `.keras` files that are cut short, or in which bits are flipped."""
    cases = {
        f"at {part}": _damaged(lambda data, p=part: data[: int(len(data) * p)])
        for part in (0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999)
    }
    for begin, end in ((0, 1), (0, 0.1), (0.9, 1), (0.2, 0.6)):
        for seed in range(8):
            cases[f"{begin} to {end}, {seed}"] = _damaged(_flipped(seed, begin, end))
    return cases


# Kind -> a function that gives its cases: name -> a function that writes such a file.
KINDS = {
    "archive": archives,
    "document": documents,
    "setting": settings,
    "edited .keras": lambda: edited_configs(60),
    "edited .h5": lambda: edited_h5(25),
    "edited Keras 2": lambda: edited_keras2(25),
    "HDF5": tricks,
    "damaged .keras": damages,
    "damaged .h5": damaged_h5,
    "no network": lambda: {"a layer": _single_layer, "a folder": _folder},
}


def bombs():
    """Gives files that would take much memory: name -> a function that writes it."""
    claim = lambda size: lambda path: packed_bomb(path, WEIGHTS, 2**32, size)  # noqa: E731
    return {
        "weights of 8 GiB": lambda path: packed_bomb(path, WEIGHTS, 2**33),
        "weights of 4 GiB that claim 1 MiB": claim(2**20),
        "config of 4 GiB": lambda path: packed_bomb(path, CONFIG, 2**32),
        "metadata of 4 GiB": lambda path: packed_bomb(path, METADATA, 2**32),
        "assets of 4 GiB": lambda path: packed_bomb(path, "assets/x", 2**32),
        "config of 3 GiB that claims 1 MiB": lambda path: packed_bomb(
            path, CONFIG, 3 * 2**30, 2**20
        ),
        "10^12 filters": _writer(lambda: with_setting("Conv2D", filters=10**12)),
        "10^8 filters": _writer(lambda: with_setting("Conv2D", filters=10**8)),
        "units of 6 GiB": _writer(lambda: with_setting("Dense", units=2**27)),
        "a side of 10^6": _writer(
            lambda: with_setting("InputLayer", batch_shape=[None, 10**6, 10**6, 3])
        ),
        "a side of 20,000": _writer(
            lambda: with_setting("InputLayer", batch_shape=[None, 20_000, 20_000, 3])
        ),
        "a shape of 10^13": _writer(
            lambda: members() | {WEIGHTS: packed_weights(HDF5_TRICKS["a shape of 10^13"])}
        ),
        "a shape of 10^9, packed": _writer(
            lambda: members() | {WEIGHTS: packed_weights(HDF5_TRICKS["a shape of 10^9, packed"])}
        ),
    }
