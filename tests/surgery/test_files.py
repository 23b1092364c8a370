import inspect
import pathlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, images, make_donor, same
from support.towers import EXPAND, make_tower

from transfer_keras import surgery


def flags(model):
    return [layer.trainable for layer in surgery.flat_layers(model)]


def test_flags_inside_a_composite_layer_come_back(tmp_path):
    model, _ = surgery.transplant(make_tower(), "block_1", seed=1, expand=EXPAND)
    assert len(model.trainable_weights) == 6
    surgery.save(model, tmp_path / "m.keras")
    plain = keras.saving.load_model(tmp_path / "m.keras")
    assert len(plain.trainable_weights) == 10, "Keras keeps them now: `save` is not needed"
    again = surgery.load(tmp_path / "m.keras")
    assert flags(again) == flags(model)
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]
    x = np.ones((2, 6), np.float32)
    for reloaded in (plain, again):
        assert same(reloaded(x), model(x))


@pytest.mark.parametrize("mode", ["frozen", "fine_tune", "random"])
def test_flags_of_plain_layers(mode, tmp_path):
    model, _ = surgery.transplant(make_donor(), 2, mode=mode, seed=1)
    surgery.save(model, tmp_path / "m.keras")
    assert flags(surgery.load(tmp_path / "m.keras")) == flags(model)


def test_a_file_of_keras_itself_loads_too(tmp_path):
    model = make_donor()
    model.save(tmp_path / "m.keras")
    assert flags(surgery.load(tmp_path / "m.keras")) == flags(model)


@pytest.mark.parametrize("name", ["m.h5", "m.hdf5"])
def test_an_older_file_of_keras_3_loads_too(tmp_path, name):
    model = make_donor()
    model.save(tmp_path / name)
    loaded = surgery.load(tmp_path / name)
    assert same(loaded(images()), model(images()))
    assert not loaded.compiled


def lambda_model():
    inputs = keras.Input((4,))
    return keras.Model(inputs, LAYERS.Lambda(lambda t: t * 2, (4,), name="twice")(inputs))


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_code_in_a_file_is_not_run(tmp_path, name):
    lambda_model().save(tmp_path / name)
    with pytest.raises(surgery.UnreadableFile, match=r"m\.\w+: .*[Ll]ambda") as error:
        surgery.load(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "Layer 'twice' is a Lambda" in str(error.value)
    assert "safe_mode" not in str(error.value)


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_an_activation_that_is_code(tmp_path, name):
    layers = [keras.Input((4,)), LAYERS.Dense(3, lambda x: x * 2, name="doubled")]
    keras.Sequential([keras.Sequential(layers)]).save(tmp_path / name)
    with pytest.raises(surgery.UnreadableFile, match=r"Layer 'doubled' \(Dense\) has a function"):
        surgery.load(tmp_path / name)


@pytest.mark.parametrize(("member", "content"), [
    ("config.json", "[]"), ("config.json", '{"class_name": 3}'), ("config.json", "{"),
    ("metadata.json", '{"keras_version": "x"}'), ("metadata.json", "[]"),
    ("surgery_flags.json", "[true]"), ("surgery_flags.json", "3"),
])  # fmt: skip
def test_members_that_are_damaged(tmp_path, member, content):
    network = keras.Sequential([keras.Input((4,)), LAYERS.Dense(3), LAYERS.Dense(2)])
    surgery.save(network, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, data in {**members, member: content}.items():
            archive.writestr(name, data)
    with pytest.raises(surgery.UnreadableFile, match=r"m\.keras: It is damaged, or was") as error:
        surgery.load(tmp_path / "m.keras")
    assert "\n" not in str(error.value)


def double(x):
    return x * 2


def test_a_lambda_of_a_function_that_is_named_loads(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, LAYERS.Lambda(double, (4,), name="twice")(inputs))
    model.save(tmp_path / "m.keras")
    loaded = surgery.load(tmp_path / "m.keras", custom_objects={"double": double})
    assert same(loaded(np.ones((1, 4))), np.full((1, 4), 2, np.float32))


@pytest.mark.parametrize("name", ["m.h5", "m", "m.weights.h5", "m.keras.zip"])
def test_only_keras_files_are_written(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(ValueError, match=r"^path: expected a file name that ends in \.keras\. Rec"):
        surgery.save(make_donor(), path)
    assert not path.exists()


class Own(LAYERS.ReLU):
    pass


def own_class(path):
    inputs = keras.Input((4,))
    keras.Model(inputs, Own(name="mine")(inputs)).save(path)


def own_class_in_hdf5(path):
    own_class(path.with_suffix(".h5"))
    return path.with_suffix(".h5")


def weights_only(path):
    model = make_donor()
    model.save_weights(path.with_suffix(".weights.h5"))
    path.with_suffix(".weights.h5").rename(path)


def archive_of_something_else(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pictures.txt", "none")


def cut_short(path):
    make_donor().save(path)
    path.write_bytes(path.read_bytes()[:5000])


UNREADABLE = [
    (own_class, r"m\.keras: The class 'Own' is neither .* Give it: custom_objects=\{'Own': Own\}"),
    (own_class_in_hdf5, r"m\.h5: The layer 'Own' is neither"),
    (weights_only, r"m\.keras: It holds weights and no network\. .*load_weights"),
    (archive_of_something_else, r"m\.keras: It is no \.keras file: it holds no config\.json"),
    (cut_short, r"m\.keras: It is neither a \.keras nor a \.h5 file, or one cut short"),
    (lambda path: path.write_text("text"), r"m\.keras: It is neither"),
    (lambda path: path.mkdir(), r"m\.keras: is a folder\. Expected a \.keras or \.h5 file"),
]


@pytest.mark.parametrize(("write", "message"), UNREADABLE, ids=lambda x: str(x)[:20])
def test_what_is_no_network_is_an_error_of_one_line(tmp_path, write, message):
    path = write(tmp_path / "m.keras")
    path = path if isinstance(path, pathlib.Path) else tmp_path / "m.keras"
    with pytest.raises(surgery.UnreadableFile, match=message) as error:
        surgery.load(path)
    assert "\n" not in str(error.value)


def test_no_file_at_all(tmp_path):
    with pytest.raises(FileNotFoundError):
        surgery.load(tmp_path / "m.keras")


def fixed_statistics():
    model, _ = surgery.transplant(
        make_donor(), 3, mode="frozen", batch_norm="statistics_frozen", dropout=False, seed=1
    )
    kinds = [type(layer).__name__ for layer in model.layers]
    assert "FixedStatisticsBatchNormalization" in kinds
    return model


# Loads two files with plain Keras; writes what the first gives, and prints why the other does not
# load.
PLAIN_KERAS = """
import sys, keras, numpy as np
plain, own, data = sys.argv[1:]
model = keras.saving.load_model(plain)
np.save(data, keras.ops.convert_to_numpy(model(np.load(data), training=True)))
try:
    keras.saving.load_model(own)
except TypeError as error:
    print(error)
assert "transfer_keras" not in sys.modules
"""


def test_fixed_statistics_can_be_saved_for_plain_keras(tmp_path):
    """The file without `plain` needs this package; that with it computes the same."""
    model = fixed_statistics()
    before = surgery.snapshot(model, frozen_only=False), flags(model)
    surgery.save(model, tmp_path / "plain.keras", plain=True)
    surgery.save(model, tmp_path / "own.keras")
    assert (surgery.snapshot(model, frozen_only=False), flags(model)) == before
    expected = keras.ops.convert_to_numpy(model(images(), training=True))
    np.save(tmp_path / "x.npy", images())
    files = [str(tmp_path / name) for name in ("plain.keras", "own.keras", "x.npy")]
    command = [sys.executable, "-c", PLAIN_KERAS, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Could not locate class 'FixedStatisticsBatchNormalization'" in done.stdout
    assert np.load(files[-1]) == pytest.approx(expected, abs=1e-6)

    plain = surgery.load(tmp_path / "plain.keras")
    norms = [x for x in plain.layers if isinstance(x, LAYERS.BatchNormalization)]
    assert [type(x) for x in norms] == [LAYERS.BatchNormalization] * 2
    trained = {x.name for x in model.layers if x.trainable_weights}
    assert {x.name for x in plain.layers if x.trainable_weights} == trained - {
        x.name for x in norms
    }


def test_plain_changes_nothing_else(tmp_path):
    model, _ = surgery.transplant(make_donor(), 2, seed=1)
    surgery.save(model, tmp_path / "m.keras", plain=True)
    again = surgery.load(tmp_path / "m.keras")
    assert flags(again) == flags(model)
    assert same(again(images()), model(images()))


def test_fixed_statistics_inside_another_layer_cannot_become_plain(tmp_path):
    inside = fixed_statistics()
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, LAYERS.Dense(2)(inside(inputs)), name="outer")
    with pytest.raises(
        surgery.NotRebuildable, match=r"plain=True: .*one_bn.* 'outer'\. Open nested"
    ):
        surgery.save(model, tmp_path / "m.keras", plain=True)
    surgery.save(surgery.flatten(model), tmp_path / "m.keras", plain=True)
    assert same(surgery.load(tmp_path / "m.keras")(images()), model(images()))


NO_MODELS = {
    "a path": ("m.keras", r"Received: 'm\.keras'\. (Load the file|$)"),
    "a Path": (pathlib.Path("m.keras"), r"Received: 'm\.keras'\. (Load the file|$)"),
    "None": (None, r"Received: NoneType\."),
    "a list": ([1, 2], r"Received: a list of 2\."),
    "a layer": (LAYERS.Dense(3, name="d"), r"Received: layer 'd' \(Dense\)\."),
    "unbuilt": (keras.Sequential([LAYERS.Dense(3)], name="s"), r"Sequential 's', which is not b"),
}
TAKE_A_MODEL = {
    "assert_unchanged": lambda model: surgery.assert_unchanged(model, {}),
    "block_names": surgery.block_names,
    "digest_function": surgery.digest_function,
    "extract": lambda model: surgery.extract(model, "a"),
    "flatten": surgery.flatten,
    "freeze": lambda model: surgery.freeze(model, 1),
    "frozen_boundary": surgery.frozen_boundary,
    "draw_like": lambda model: surgery.draw_like(model, seed=0),
    "fuse": lambda model: surgery.fuse({"a": model}),
    "fused_units": lambda model: surgery.fused_units(model, "a"),
    "insert": lambda model: surgery.insert(model, after="one", layer=LAYERS.ReLU()),
    "layerwise_decay": lambda model: surgery.layerwise_decay(model, 0.5),
    "logits": surgery.logits,
    "lower": lambda model: surgery.lower(model, 1),
    "merge_lora": surgery.merge_lora,
    "nodes": surgery.nodes,
    "outputs": lambda model: surgery.outputs(model, ["one"]),
    "replace": lambda model: surgery.replace(model, "one", LAYERS.ReLU()),
    "save": lambda model: surgery.save(model, "never.keras"),
    "snapshot": surgery.snapshot,
    "swap_head": lambda model: surgery.swap_head(model, 3, seed=0),
    "transplant": lambda model: surgery.transplant(model, 1, seed=0),
    "unfreeze": lambda model: surgery.unfreeze(model, 1),
    "unit_learning_rates": lambda model: surgery.unit_learning_rates(model, "adam", {1: 0.5}),
    "units": surgery.units,
    "upper": lambda model: surgery.upper(model, 1),
    "with_channels": lambda model: surgery.with_channels(model, 1),
    "with_input": lambda model: surgery.with_input(model, image_size=32),
    "with_plain_names": surgery.with_plain_names,
}


@pytest.mark.parametrize("kind", NO_MODELS)
@pytest.mark.parametrize("name", TAKE_A_MODEL)
def test_what_is_no_model_is_an_error_of_one_line(name, kind):
    model, message = NO_MODELS[kind]
    with pytest.raises(surgery.NotRebuildable, match=message) as error:
        TAKE_A_MODEL[name](model)
    assert "\n" not in str(error.value)


def test_every_function_that_takes_a_model_is_tried():
    names = {"model", "models", "donor", "fused"}
    functions = filter(inspect.isfunction, map(vars(surgery).get, surgery.__all__))
    take_one = {f.__name__ for f in functions if names & {*inspect.signature(f).parameters}}
    assert take_one == TAKE_A_MODEL.keys()


TAKE_LAYERS = {
    "flat_layers": surgery.flat_layers,
    "has_kernel": surgery.has_kernel,
    "set_trainable": lambda layer: surgery.set_trainable([layer], False),
}


@pytest.mark.parametrize("name", TAKE_LAYERS)
@pytest.mark.parametrize("value", ["dense", None, [1]])
def test_what_is_no_layer_is_an_error_of_one_line(name, value):
    with pytest.raises(surgery.NotRebuildable, match=r"^Expected a layer or a model\. Received: "):
        TAKE_LAYERS[name](value)


def test_one_layer_or_model_in_the_place_of_several():
    with pytest.raises(
        surgery.NotRebuildable, match=r"list of layers\. Received: layer 'donor' \("
    ):
        surgery.set_trainable(make_donor(), False)
    with pytest.raises(
        surgery.NotRebuildable, match=r"by their names: \{name: model\}\. Received: "
    ):
        surgery.fuse(make_donor())
    with pytest.raises(surgery.NotRebuildable, match=r"Received: a list of 2\."):
        surgery.fuse([make_donor(), make_donor()])
