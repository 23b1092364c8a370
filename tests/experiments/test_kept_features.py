"""Kept features: what is trained from them is what is trained from the pictures."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures

from transfer_keras.config import Interrupted, UserError, make_experiment
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.feature_store import FeatureSpec, FeatureStore
from transfer_keras.experiments.kept_features import may_keep_features
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.unit_sources import TrainedBases
from transfer_keras.results import Workdir
from transfer_keras.training import Stop

NAMES = ["A1B", "A2B", "A2B+", "R2B"]
# Of weights after a training, against those of one that computes frozen units in each step: the
# kernels are the same, in other graphs.
TOLERANCE = 1e-5


def run(experiment, folder, **settings):
    lines = []
    run_experiment(experiment, Workdir(folder), log=lines.append, **settings)
    return [line for line in lines if "frozen" in line]


def weights(folder, name):
    model = keras.saving.load_model(Workdir(folder).network_path(name))
    return {w.path: w.numpy() for layer in model.layers for w in layer.weights}


def assert_same_networks(folders, names, tolerance=0.0):
    for name in names:
        one, other = (weights(folder, name) for folder in folders)
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_allclose(value, other[key], rtol=0, atol=tolerance, err_msg=key)
        rows = [Workdir(folder).row(name) for folder in folders]
        if not tolerance:
            assert rows[0].validation == rows[1].validation
        assert rows[0].loss == pytest.approx(rows[1].loss, abs=max(tolerance, 1e-12))
        predictions = [Workdir(folder).predictions(name) for folder in folders]
        assert np.array_equal(*(labels for labels, _ in predictions)), "in another order"


@pytest.fixture(scope="module", autouse=True)
def several_batches():
    """Computes features in several batches, the last of which is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainedBases, "test_batch", 16)
        yield


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Gives a function that makes an experiment with a donor."""
    folder = tmp_path_factory.mktemp("donor")
    classifier().save(folder / "own.keras")
    facts = {
        "dataset": write_pictures(folder / "pictures"), "steps": 12, "batch_size": 8,
        "validations": 3, "metrics_every": 6, "augment": False, "scratch": False,
    }  # fmt: skip
    return lambda names, donor=folder / "own.keras", **settings: ask_donor(
        donor, *names, **{**facts, **settings}
    )


@pytest.fixture(scope="module")
def kept(ask, tmp_path_factory):
    """Trains a group whose networks are frozen at two depths, fine-tuned, and random."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    lines = run(ask(NAMES, keep_features="always"), folder)
    assert len(lines) == 1
    assert lines[0].startswith("A1B, …, R2B (4): what is frozen sees each picture once")
    assert lines[0].endswith("MiB in memory.")
    return folder


def test_equals_training_from_pictures(ask, kept, tmp_path):
    assert run(ask(NAMES, keep_features="never"), tmp_path) == []
    assert_same_networks((kept, tmp_path), NAMES, TOLERANCE)


@pytest.mark.slow
def test_own_bases_equal_training_from_pictures(data_dir, tmp_path):
    facts = {
        "dataset": "formula_images/6x30x32", "data_dir": data_dir, "steps": 12, "batch_size": 8,
        "validations": 3, "metrics_every": 6,
    }  # fmt: skip
    folders = [tmp_path / choice for choice in ("always", "never")]
    for folder in folders:
        lines = run(make_experiment(NAMES, keep_features=folder.name, **facts), folder)
        assert len(lines) == (folder.name == "always")
    assert_same_networks(folders, NAMES, TOLERANCE)


def test_a_group_equals_its_networks_alone_bit_for_bit(ask, kept, tmp_path):
    alone = ask(["A2B", "A1B"], keep_features="always", group_size=1)
    assert len(run(alone, tmp_path)) == 2
    assert_same_networks((kept, tmp_path), ["A1B", "A2B"])


def test_files_and_a_kill_in_their_making_change_nothing(ask, kept, tmp_path, monkeypatch):
    """Stopped among the features, then in the training, then once more: bit for bit the same."""
    monkeypatch.setattr("transfer_keras.experiments.feature_store._FLUSHED_EVERY", 2)
    experiment = ask(NAMES, keep_features="always", features_memory=1e-6, checkpoint_every=0.0)
    asked = iter([False, False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "requested", property(lambda self: next(asked, True)))
        with pytest.raises(Interrupted, match="features of what is frozen"):
            run(experiment, tmp_path)
    facts = [json.loads(path.read_text()) for path in tmp_path.rglob("features/*/*.json")]
    assert [fact["batches"] for fact in facts] == [2, 2, 2], "of the 5 of training, at each cut"

    seen = []
    stream = type(read_data(experiment).train["B"])

    def counting(self, number, **more):
        seen.append(number)
        return view(self, number, **more)

    view = stream.view
    monkeypatch.setattr(stream, "view", counting)
    stop = iter([False] * 10)
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "requested", property(lambda self: next(stop, True)))
        with pytest.raises(Interrupted, match="step"):
            run(experiment, tmp_path)
    assert seen == [0]
    lines = run(experiment, tmp_path)
    assert seen == [0], "computed again"
    assert "checkpoints" in lines[-1]
    assert_same_networks((kept, tmp_path), NAMES)
    assert not list(tmp_path.rglob("*.features")), "left behind"


def test_views_repeat_and_are_kept(ask, tmp_path):
    networks = {}
    for views, choice in ((2, "always"), (2, "never"), (None, "auto")):
        folder = tmp_path / f"{views}-{choice}"
        asked = ask(["A2B"], augment=True, steps=15, metrics_every=0)  # 4 epochs.
        lines = run(asked.replace(views=views, keep_features=choice), folder)
        assert len(lines) == (choice == "always")
        networks[views, choice] = folder
    assert_same_networks((networks[2, "always"], networks[2, "never"]), ["A2B"], TOLERANCE)
    new = weights(networks[None, "auto"], "A2B")
    head = next(key for key in new if key.startswith("out"))
    assert not np.allclose(new[head], weights(networks[2, "never"], "A2B")[head])


def test_the_saved_networks_are_whole(kept):
    network = keras.saving.load_model(Workdir(kept).network_path("A2B"))
    assert network.input_shape == (None, 24, 24, 3)
    assert weights(kept, "A2B").keys() == weights(kept, "A2B+").keys()


@pytest.mark.slow
def test_in_mixed_precision(ask, tmp_path):
    for choice in ("always", "never"):
        run(
            ask(["A1B", "A3B"], keep_features=choice, precision="mixed_bfloat16"), tmp_path / choice
        )
    assert_same_networks((tmp_path / "always", tmp_path / "never"), ["A1B", "A3B"], 0.02)
    keras.mixed_precision.set_dtype_policy("float32")


@keras.saving.register_keras_serializable(package="tests")
class DoubledInTraining(keras.layers.Layer):
    """Makes other values in training than in inference, without being trained."""

    def call(self, inputs, training=None):
        return 2 * inputs if training else inputs


@pytest.mark.slow
def test_layers_that_heed_training(ask, tmp_path):
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3, name="c1")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(DoubledInTraining()(x))
    x = keras.layers.Dense(5, "relu", name="f1")(x)
    keras.Model(inputs, keras.layers.Dense(7, name="out")(x)).save(tmp_path / "own.keras")
    for choice in ("always", "never"):
        asked = ask(["A1B"], donor=tmp_path / "own.keras", keep_features=choice)
        run(asked, tmp_path / choice)
    assert_same_networks((tmp_path / "always", tmp_path / "never"), ["A1B"], TOLERANCE)


def test_auto_keeps_where_pictures_are_seen_often(ask, tmp_path):
    for steps, kept_lines in ((4, 0), (20, 1)):
        asked = ask(["A2B"], steps=steps, validations=1, metrics_every=0)
        assert len(run(asked, tmp_path / f"{steps}")) == kept_lines


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        ({}, True),
        ({"augment": True}, False),
        ({"augment": True, "views": 2}, True),
        ({"keep_features": "never"}, False),
        ({"treatments": ("A1B+", "B1B+")}, False),
        ({"treatments": ("R1B",)}, True),
    ],
)
def test_where_features_may_be_kept(flags, kept):
    names = flags.pop("treatments", NAMES)
    experiment = make_experiment(names, **{"augment": False, **flags})
    assert may_keep_features(experiment) is kept


def test_auto_reads_no_large_files_and_always_needs_room(ask, tmp_path, monkeypatch):
    asked = ask(["A1B"], steps=20, validations=1, metrics_every=0, features_memory=1e-6)
    assert run(asked, tmp_path / "auto") == [
        "A1B: features of what is frozen are not kept: 0.0 GiB are more than "
        "--features_memory=0.0, and from a file they are read no faster than they are computed."
    ]
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"--keep_features=always: .* has 0\.0 GiB free"):
        run(asked.replace(keep_features="always"), tmp_path / "always")


SPEC = FeatureSpec("key", (2, 5, 3), "float32")


def batches(done):
    for number in range(done, 4):
        view, half = divmod(number, 2)
        rows = slice(half * 3, min(half * 3 + 3, 5))
        yield view, rows, [np.full((rows.stop - rows.start, 3), number, np.float32)]


def test_what_is_damaged_or_of_another_size_is_not_used(tmp_path):
    store = FeatureStore()
    (written,) = store.fill([SPEC], batches, tmp_path)
    assert np.array_equal(FeatureStore().find(SPEC, tmp_path), written)
    assert np.array_equal(written[:, :, 0], [[0, 0, 0, 1, 1], [2, 2, 2, 3, 3]])
    assert FeatureStore().find(SPEC._replace(key="other"), tmp_path) is None
    assert FeatureStore().find(SPEC._replace(shape=(2, 6, 3)), tmp_path) is None
    with (tmp_path / "key.features").open("r+b") as file:
        file.write(b"x")
    assert FeatureStore().find(SPEC, tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot allocate files")
def test_a_file_has_all_its_blocks_before_the_first_batch(tmp_path):
    spec = FeatureSpec("key", (1, 100, 1000), "float32")

    def one_batch(done):
        path = tmp_path / "key.features"
        allocated.append(path.stat().st_blocks * 512)
        yield 0, slice(0, 100), [np.ones((100, 1000), np.float32)]

    allocated = []
    FeatureStore().fill([spec], one_batch, tmp_path)
    assert allocated[0] >= spec.bytes == 400_000


def test_room_is_made_for_what_is_needed():
    store = FeatureStore()
    specs = [SPEC._replace(key=key) for key in "abc"]
    for spec in specs:
        store.fill([spec], batches, None)
    assert not store.make_room(specs, 2 * SPEC.bytes)
    store.find(specs[0], None)
    assert store.make_room([SPEC._replace(key="new")], 2 * SPEC.bytes)
    assert store.find(specs[0], None) is not None, "used last"
    assert [spec.key for spec in specs if spec in store] == ["a"]


def test_dropout_of_frozen_units_does_not_end_what_is_kept(tmp_path):
    """By default it does not act, so that all below the cut is computed once; else it does."""
    layers = keras.layers
    inputs = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for name in ("c1", "c2"):
        x = layers.Dropout(0.2, name=f"{name}_drop")(layers.Conv2D(6, 3, name=name)(x))
    x = layers.Dense(5, name="f1")(layers.GlobalAveragePooling2D(name="pool")(x))
    keras.Model(inputs, layers.Dense(7, name="out")(x)).save(tmp_path / "own.keras")
    pictures = write_pictures(tmp_path / "pictures")
    kept = {}
    for acts in (False, True):
        experiment = ask_donor(
            tmp_path / "own.keras", "A2B", dataset=pictures, steps=8, batch_size=8,
            validations=2, metrics_every=0, scratch=False, augment=False, frozen_dropout=acts,
        )  # fmt: skip
        logged, data = [], read_data(experiment)
        run_experiment(experiment, Workdir(tmp_path / str(acts)), data=data, log=logged.append)
        assert sum("features are kept" in line for line in logged) == 1
        (size,) = {array.shape[2:] for array in data.features._arrays.values()}
        kept[acts] = size
        assert experiment.identity["frozen_dropout"] == acts
    assert kept == {False: (6,), True: (22, 22, 6)}
