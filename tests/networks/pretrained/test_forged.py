"""Donors that are damaged, edited, or made to fill the memory: one line each, and no harm."""

import json
import subprocess
import sys
import time
import warnings

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from support import forged_donors, network_archives
from support.networks import network, request, saved, unit_list
from support.paths import ROOT
from support.refusals import refuses

from transfer_keras import surgery
from transfer_keras.config import UserError, memory

LAYERS = keras.layers
HANGS = 60  # Seconds.


def outcome(path):
    """Opens a donor; gives what is wrong with the answer, or None."""
    begin = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            unit_list(request(path))
    except UserError as error:
        if len(str(error).splitlines()) != 1 or len(str(error)) > 1500:
            return f"no line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if time.monotonic() - begin < HANGS else "hangs"


@pytest.mark.slow
@pytest.mark.parametrize("kind", forged_donors.KINDS)
def test_every_forged_donor_opens_or_is_refused_in_a_line(tmp_path, kind):
    wrong = {}
    for number, (name, write) in enumerate(forged_donors.KINDS[kind]().items()):
        path = tmp_path / f"{number}.keras"
        path = write(path) or path
        if found := outcome(path):
            wrong[name] = found
    assert not wrong


@pytest.mark.slow
def test_there_are_many_of_them():
    assert sum(len(cases()) for cases in forged_donors.KINDS.values()) >= 300


# Of each file: prints the peak of the memory so far in bytes, the seconds, and the message.
OPEN = """
import sys, time
sys.path.insert(0, "tests")
from support.networks import request, unit_list
from support.peak_memory import peak_memory
from transfer_keras.config import UserError
for path in sys.argv[1:]:
    begin = time.monotonic()
    try:
        unit_list(request(path))
    except UserError as error:
        print(peak_memory(), time.monotonic() - begin, error, flush=True)
"""


@pytest.mark.slow
def test_bombs_are_refused_before_they_take_memory(tmp_path):
    paths = []
    for number, write in enumerate(forged_donors.bombs().values()):
        paths.append(tmp_path / f"{number}.keras")
        write(paths[-1])
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *map(str, paths)], capture_output=True, text=True, cwd=ROOT,
        timeout=len(paths) * HANGS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = dict(zip(forged_donors.bombs(), done.stdout.splitlines(), strict=True))
    for name, line in lines.items():
        peak, seconds, _ = line.split(" ", 2)
        assert int(peak) < 2 * 2**30, (name, line)
        assert float(seconds) < HANGS, (name, line)


@pytest.fixture(autouse=True)
def some_memory(monkeypatch):
    """The limit is the same on every machine."""
    monkeypatch.setenv(memory.VARIABLE, "16")


EXAMPLES = {
    ("archive", "packed by LZMA"): r"packed as Keras does not",
    ("archive", "a config twice"): r"holds 'config\.json' twice",
    ("archive", "without model.weights.h5"): r"holds no model\.weights\.h5",
    ("archive", "weights as .npz"): r"holds no model\.weights\.h5",
    ("document", "config: deep"): r"recursion depth",
    ("document", "config: a list"): r"'config\.json' is no JSON object",
    (
        "setting",
        "Conv2D {'filters': 1000000000000}",
    ): r"layer 'c1' it would take 98 TiB\. .*at most "
    r"8 GiB, half of the memory; .*set TRANSFER_KERAS_MEMORY_GIB",
    ("setting", "Rescaling {'scale': 'text'}"): r"does not compute with pictures .*Cast string",
    ("setting", "Dense {'lora_rank': 1000000000000}"): r"layer 'f1' it would take 29 TiB",
    ("setting", "InputLayer {'batch_shape': [None, 1000000, 1000000, 3]}"): r"input of it would "
    r"take 10\.\d+ TiB|input of it would take 10 TiB",
    ("HDF5", "a shape of 10^13"): r"says that it has 36 TiB, and 0 bytes of them are there",
    ("HDF5", "a shape of 10^9, packed"): r"is packed, which Keras does not do: `h5repack",
    ("HDF5", "an external link"): r"is a link",
    ("HDF5", "values outside"): r"lies in another file",
    ("HDF5", "a virtual dataset"): r"lies in another file",
    ("HDF5", "a group in itself"): r"is there twice",
    ("HDF5", "complex numbers"): r"no array of numbers",
    ("HDF5", "another shape"): r"'c1': .*\(3, 3, 3, 6\), Received: value\.shape=\(3, 3, 3, 7\)",
    ("no network", "a layer"): r"It holds a Dense\. Expected a model",
}


@pytest.mark.parametrize(("case", "message"), EXAMPLES.items(), ids=str)
def test_an_example_of_each_kind(tmp_path, case, message):
    kind, name = case
    forged_donors.KINDS[kind]()[name](tmp_path / "own.keras")
    with refuses(tmp_path, message):
        unit_list(request(tmp_path / "own.keras"))


def test_numbers_that_no_float_holds(tmp_path):
    write = forged_donors.with_setting("Dense", units=10**400)
    network_archives.write_members(tmp_path / "own.keras", write)
    with refuses(tmp_path, r"layer 'f1' it would take 10\^389 TiB"):
        unit_list(request(tmp_path / "own.keras"))


@pytest.mark.parametrize("claimed", [None, 1000])
@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5", "assets/x"])
def test_a_member_that_expands(tmp_path, member, claimed):
    """Whether its headers tell the size, or lie."""
    network_archives.packed_bomb(tmp_path / "own.keras", member, 2**25, claimed)
    expected = r"KiB that would become 32 MiB" if claimed is None else r"Bad CRC-32 for file"
    with refuses(tmp_path, expected):
        unit_list(request(tmp_path / "own.keras"))


def test_more_weights_than_the_file_has(tmp_path, monkeypatch):
    """Nothing is made of a layer that the file has no values for."""
    made = []
    own = keras.Layer.add_weight
    monkeypatch.setattr(
        keras.Layer,
        "add_weight",
        lambda self, *a, **k: made.append(self.name) or own(self, *a, **k),
    )
    members = forged_donors.with_setting("Dense", units=2**20)
    network_archives.write_members(tmp_path / "own.keras", members)
    with refuses(tmp_path, r"Layer 'f1' would bring its weights to \S+, and 815 are in the file"):
        unit_list(request(tmp_path / "own.keras"))
    assert "c2" in made
    assert "f1" not in made


def test_outputs_that_no_memory_holds(tmp_path):
    """Few weights, but pictures of 20,000 pixels a side."""
    members = forged_donors.with_setting("InputLayer", batch_shape=[None, None, None, 3])
    network_archives.write_members(tmp_path / "own.keras", members)
    with refuses(tmp_path, r"layer '\w+' would take \d+ GiB for 3 pictures\. .*--image_size"):
        unit_list(request(tmp_path / "own.keras", image_size=20_000))


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_the_limit_is_a_number(tmp_path, monkeypatch, text):
    monkeypatch.setenv(memory.VARIABLE, text)
    network_archives.write_members(tmp_path / "own.keras", network_archives.members())
    with refuses(tmp_path, rf"^TRANSFER_KERAS_MEMORY_GIB={text}: expected"):
        unit_list(request(tmp_path / "own.keras"))


def own_network(name="conv", dtype="float32", data_format=None):
    inputs = keras.Input((24, 24, 3), name="photo")
    x = LAYERS.Rescaling(1 / 255, dtype=dtype)(inputs)
    if data_format:
        x = LAYERS.Permute((3, 1, 2))(x)
    for layer in (name, f"{name} 2"):
        x = LAYERS.Conv2D(4, 3, name=layer, dtype=dtype, data_format=data_format)(x)
    x = LAYERS.GlobalAveragePooling2D(data_format=data_format, dtype=dtype)(x)
    return keras.Model(inputs, LAYERS.Dense(5, dtype=dtype)(x), name="a net")


def train_once(model):
    """Computes a gradient in a graph, as training does."""
    step = tf.function(lambda x: tf.gradients(model(x, training=True), model.trainable_variables))
    return step(tf.zeros([2, *model.input_shape[1:]]))


@pytest.mark.parametrize(("name", "plain"), [
    ("conv 1", "conv_1"), ("größe", "grosse"), ("<img src=x>", "_img_src_x_"), ("層", "_"),
    ("x" * 500, "x" * 100), ("\x1b[31m", "_31m"), ("-a", "a"), ("café", "cafe"),
])  # fmt: skip
def test_names_that_no_graph_takes(tmp_path, name, plain):
    """The whole way works: units have names that graphs and TensorBoard take."""
    model = own_network(name)
    donor = network(request(saved(tmp_path, model)))
    assert next(unit.name for unit in surgery.units(donor)) == plain
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 24, 24, 3)).astype(np.float32)
    assert np.allclose(donor(pictures), model(pictures), atol=1e-5)
    new, _ = surgery.transplant(donor, 1, seed=0)
    assert all(gradient is not None for gradient in train_once(new))


def test_plain_names_stay_and_none_is_there_twice():
    model = own_network("conv")
    names = [layer.name for layer in model.layers]
    copy = surgery.with_plain_names(model)
    assert [x.name for x in copy.layers] == [n.replace(" ", "_") for n in names]
    assert copy.name == "a_net"
    assert surgery.with_plain_names(copy) is copy

    inputs = keras.Input((4,))
    x = inputs
    for name in ("a_b", "a b", "a-b", "a  b"):
        x = LAYERS.Dense(4, name=name)(x)
    copy = surgery.with_plain_names(keras.Model(inputs, x))
    assert [x.name for x in copy.layers[1:]] == ["a_b", "a_b_2", "a-b", "a_b_3"]


@pytest.mark.parametrize("head", ["float64", "float32"])
def test_a_double(tmp_path, head):
    model = own_network(dtype="float64")
    x = LAYERS.Dense(3, dtype=head)(model.output)
    path = saved(tmp_path, keras.Model(model.input, x))
    with refuses(tmp_path, r"computes in float64 \(layer '.*'\)\. .*set_dtype_policy\('float32'\)"):
        unit_list(request(path))


def test_channels_first(tmp_path, monkeypatch):
    """It opens where this machine can train it; else it is refused at once."""
    path = saved(tmp_path, own_network(data_format="channels_first"))
    train_once(network(request(path)))  # By oneDNN.

    def no_kernel(*_):
        raise tf.errors.InvalidArgumentError(None, None, "only supports the NHWC format")

    monkeypatch.setattr("transfer_keras.networks.pretrained.fitness._train_once", no_kernel)
    again = saved(tmp_path, own_network("other", data_format="channels_first"), "again.keras")
    with refuses(tmp_path, r"channels first, .*NHWC.*\. Build it again with data_format="):
        unit_list(request(again))


def test_a_layer_that_is_called_with_what_is_no_tensor(tmp_path):
    """Keras opens such a network, and cannot train it."""
    members = network_archives.members()
    config = json.loads(members["config.json"])
    norm = next(x for x in config["config"]["layers"] if x["class_name"] == "BatchNormalization")
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}}
    norm["inbound_nodes"][0]["kwargs"]["mask"] = dense
    members["config.json"] = json.dumps(config).encode()
    network_archives.write_members(tmp_path / "own.keras", members)
    with refuses(tmp_path, r"cannot be trained: BatchNormalization\.call: 'Dense' object has no"):
        unit_list(request(tmp_path / "own.keras"))


def test_an_hdf5_file_by_another_name(tmp_path):
    own_network().save(tmp_path / "own.h5")
    (tmp_path / "own.h5").rename(tmp_path / "own.keras")
    with refuses(tmp_path, r"is an HDF5 file, .*Rename it to own\.h5"):
        unit_list(request(tmp_path / "own.keras"))


APPLICATION = "keras.applications.MobileNetV2"


@pytest.mark.parametrize("name", [
    "__class__", "__doc__", "__name__", "__loader__", "mobilenet_v2", "imagenet_utils", "",
    "mobilenet_v2.MobileNetV2", "keras", "Model",
])  # fmt: skip
def test_only_networks_of_applications(tmp_path, name):
    with refuses(tmp_path, r": not there\. Expected one of ConvNeXtBase, .*Xception\."):
        unit_list(request(f"keras.applications.{name}", image_size=32))


def test_weights_that_do_not_fit(tmp_path):
    other = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35
    )
    path = tmp_path / "mine.weights.h5"
    other.save_weights(path)
    with refuses(tmp_path, r"^--donor_weights=.*: Layer 'Conv1': .*Expected those of Mobile"):
        unit_list(request(APPLICATION, donor_weights=str(path), image_size=32))


def test_weights_in_a_network_of_its_own(tmp_path):
    trained = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    path = saved(tmp_path, trained)
    donor = network(request(APPLICATION, donor_weights=str(path), image_size=32))
    assert np.array_equal(donor.get_layer("Conv1").kernel, trained.get_layer("Conv1").kernel)


def test_weights_whose_headers_claim_terabytes(tmp_path):
    path = tmp_path / "mine.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (10**14,), "f4", chunks=(16,))
    with refuses(tmp_path, r"^--donor_weights=.*says that it has 363 TiB, and 0 bytes"):
        unit_list(request(APPLICATION, donor_weights=str(path), image_size=32))
    path = tmp_path / "mine.npz"
    np.savez(path, x=np.zeros(3))
    with refuses(tmp_path, r"^--donor_weights=.*mine\.npz: It holds no model\.weights\.h5"):
        unit_list(request(APPLICATION, donor_weights=str(path), image_size=32))
