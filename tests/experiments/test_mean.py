"""The mean that a network subtracts from its pictures, alone and in a group."""

import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from transfer_keras.config import make_experiment
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.grouping import plan_experiment
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir

NAMES = ("A2B", "B2B", "A3B+", "B3B+", "R2B")


@pytest.fixture(scope="module")
def settings(data_dir):
    return make_experiment(
        tuple(map(parse_treatment, NAMES)), dataset="formula_images/6x30x32", data_dir=data_dir,
        steps=4, batch_size=8, validations=2, augment=True, preprocessing="paper", metrics_every=0,
    )  # fmt: skip


def run(settings, folder, **changes):
    run_experiment(settings.replace(**changes), Workdir(folder), log=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def by_source(settings, tmp_path_factory):
    return run(settings, tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def means(settings):
    train = read_data(settings).train
    return {name: examples.images.mean(axis=0) for name, examples in train.items()}


def taken_off(workdir, name):
    model = keras.saving.load_model(Workdir(workdir).network_path(name))
    return model.get_layer("pixels").mean


def test_of_the_source(by_source, means):
    for name, task in {"baseA": "A", "baseB": "B", "A2B": "A", "B2B": "B", "A3B+": "A",
                       "R2B": "B"}.items():  # fmt: skip
        np.testing.assert_allclose(taken_off(by_source, name), means[task], rtol=1e-6)


@pytest.mark.slow
def test_of_the_target(settings, means, tmp_path):
    workdir = run(settings, tmp_path / "run", mean="target")
    for name in NAMES:
        np.testing.assert_allclose(taken_off(workdir, name), means["B"], rtol=1e-6)
    donor = keras.saving.load_model(Workdir(workdir).network_path("baseA"))
    network = keras.saving.load_model(Workdir(workdir).network_path("A2B"))
    for unit in ("conv1", "conv2"):
        pairs = zip(donor.get_layer(unit).weights, network.get_layer(unit).weights, strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_by_channel_of_the_target(settings, tmp_path):
    two = tuple(map(parse_treatment, ("A2B", "B2B")))
    changes = {"treatments": two, "mean": "target", "preprocessing": "modern"}
    workdir = run(settings, tmp_path / "run", **changes)
    pixels = read_data(settings).train["B"].images.reshape(-1, 3).astype(float)
    for name in ("A2B", "B2B"):
        model = keras.saving.load_model(Workdir(workdir).network_path(name))
        mean = np.squeeze(model.get_layer("pixels").mean)
        np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-5)


def test_groups_have_one_mean_image(settings):
    tasks = {"A": range(3), "B": range(3)}
    groups = [group.names for group in plan_experiment(settings, tasks)]
    assert groups == [("baseA",), ("baseB",), ("A2B", "A3B+"), ("B2B", "B3B+", "R2B")]
    target = settings.replace(mean="target")
    assert len(plan_experiment(target, tasks)) == 3
    modern = settings.replace(preprocessing="modern")
    assert len(plan_experiment(modern, tasks)) == 3


@pytest.mark.slow
def test_a_group_is_its_networks_alone(settings, by_source, tmp_path):
    for name in ("experiment.json", "baseA", "baseB"):
        copy = shutil.copytree if (by_source / name).is_dir() else shutil.copy
        copy(by_source / name, tmp_path / name)
    alone = run(settings, tmp_path, group_size=1)
    for name in NAMES:
        one, other = (load_file(w / name / "predictions.safetensors") for w in (by_source, alone))
        assert all(np.array_equal(one[key], other[key]) for key in one), name
