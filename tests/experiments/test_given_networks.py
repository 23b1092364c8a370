"""An architecture of Keras from scratch, and the small networks of today, through an experiment."""

import re

import keras
import numpy as np
import pytest
from support import hub_networks

from transfer_keras import training
from transfer_keras.config import UserError, make_experiment, parse_treatment
from transfer_keras.experiments import describe_donor, run_experiment
from transfer_keras.experiments.analyses.opening import open_run
from transfer_keras.results import Workdir

LAYERS = keras.layers
SETTINGS = {
    "dataset": "formula_images/6x30x32",
    "steps": 4,
    "batch_size": 8,
    "validations": 1,
    "metrics_every": 0,
}


def tiny(include_top=True, weights=None, pooling=None, input_shape=None):
    """Makes a network as `keras.applications` does, with two blocks and a stem."""
    assert weights is None
    inputs = keras.Input(input_shape or (None, None, 3))
    x = LAYERS.Conv2D(4, 3, strides=2, name="stem_conv")(inputs)
    for block in (1, 2):
        x = LAYERS.Conv2D(6, 3, strides=2, padding="same", name=f"block_{block}_conv")(x)
        x = LAYERS.BatchNormalization(name=f"block_{block}_norm")(x)
        x = LAYERS.ReLU(name=f"block_{block}_relu")(x)
        x = LAYERS.Conv2D(6, 1, name=f"block_{block}_project")(x)
    return keras.Model(inputs, LAYERS.GlobalAveragePooling2D(name="pool")(x), name="tiny")


@pytest.fixture
def network(monkeypatch):
    tiny.__module__ = "keras.applications.mobilenet_v2"  # Whose preprocessing is its own.
    monkeypatch.setattr(keras.applications, "Tiny", tiny, raising=False)
    return "keras.applications.Tiny"


def run(names, folder, **settings):
    experiment = make_experiment(names, describe_donor=describe_donor, **SETTINGS | settings)
    workdir = Workdir(folder)
    run_experiment(experiment, workdir, log=lambda _: None)
    return {
        t.name: keras.saving.load_model(workdir.network_path(t.name))
        for t in experiment.all_treatments
    }


def values(model, layer):
    return [w.numpy() for w in model.get_layer(layer).weights]


def equal(one, other, layer):
    pairs = zip(values(one, layer), values(other, layer), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def test_bases_begin_fresh_and_blocks_are_transferred(network, data_dir, tmp_path):
    networks = run(
        ["A2B", "B2B+"], tmp_path / "w", network=network, units="block", image_size=32,
        data_dir=data_dir,
    )  # fmt: skip
    base_a, base_b, frozen, tuned = (networks[n] for n in ("baseA", "baseB", "A2B", "B2B+"))
    # The stem and the first block are baseA's, statistics of BatchNorm included.
    for layer in ("stem_conv", "block_1_conv", "block_1_norm", "block_1_project"):
        assert equal(frozen, base_a, layer)
        assert not equal(base_a, base_b, layer)
        assert not equal(tuned, base_b, layer)
    assert not equal(frozen, base_a, "block_2_conv")
    # The black picture is -1 to the first convolution.
    pixels = keras.Model(base_a.input, base_a.get_layer("pixels").output)
    black, white = (np.full((1, 32, 32, 3), value, np.float32) for value in (0, 255))
    assert np.all(pixels(black) == -1)
    assert np.allclose(pixels(white), 1)


def test_its_experiment_is_opened_again_for_analyses(network, data_dir, tmp_path):
    settings = {"network": network, "data_dir": data_dir, "image_size": 32, "units": "block"}
    trained = run(["B1B"], tmp_path / "run", **settings)["B1B"]
    workdir = Workdir(tmp_path / "run")
    treatment = parse_treatment("B1B")
    opened = open_run(
        workdir, [treatment], data_dir=data_dir, log=lambda _: None, stop=training.Stop()
    )
    assert opened.experiment.identity == workdir.read_facts(complete=True)["settings"]
    assert equal(opened.source.finished(treatment), trained, "stem_conv")


def test_what_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"--network=keras\.applications\.Nope: not there"):
        make_experiment(
            ["A1B"], network="keras.applications.Nope", describe_donor=describe_donor, **SETTINGS
        )


@pytest.mark.slow
def test_frozen_units_of_a_transformer(data_dir, tmp_path):
    networks = run(["A2B"], tmp_path / "w", network="vit_mini", image_size=32, data_dir=data_dir)
    same = {
        layer.name.split("_")[0]: equal(networks["A2B"], networks["baseA"], layer.name)
        for layer in networks["baseA"].layers
        if layer.weights and layer.name != "pixels"
    }
    blocks = {f"block{k}": k == 1 for k in range(1, 7)}
    assert same == {"patches": True, **blocks, "head": False}


def test_preset_of_kerashub_without_its_weights(tmp_path):
    hub = pytest.importorskip("keras_hub")
    hub_networks.BACKBONES["ResNet"](hub).save_to_preset(tmp_path / "preset")
    experiment = make_experiment(
        ["A1B"],
        network=f"keras_hub:{tmp_path / 'preset'}",
        units="block",
        image_size=32,
        describe_donor=describe_donor,
        **SETTINGS,
    )
    names = [unit.name for unit in experiment.architecture.units]
    blocks = ["stack0_block0", "stack1_block0", "stack1_block1", "stack2_block0", "stack3_block0"]
    assert names == ["conv1_conv", *blocks, "predictions"]
    assert re.fullmatch("keras_hub:preset [0-9a-f]{12}", experiment.identity["network"])
