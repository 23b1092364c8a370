"""Controls of transfer: a base that is trained on, and units that are drawn."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from support.networks import ask, classifier, request, write_pictures

from transfer_keras import surgery
from transfer_keras.config import UserError, make_experiment, parse_treatment
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.devices import use_devices
from transfer_keras.experiments.group_networks import make_networks
from transfer_keras.experiments.recipes import learning_rates
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.unit_sources import describe_donor
from transfer_keras.results import BASE_TRAINED_ON, Role, Workdir

NAMES = ["B8B+", "S3B", "S3B+"]


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    experiment = make_experiment(
        NAMES, dataset="formula_images/6x30x32", data_dir=data_dir, steps=5, batch_size=8,
        validations=2, metrics_every=0, augment=True,
    )  # fmt: skip
    workdir = Workdir(tmp_path_factory.mktemp("controls") / "run")
    run_experiment(experiment, workdir, log=lambda line: None)
    return begin(experiment, workdir)


def begin(experiment, workdir):
    devices = use_devices(experiment.training, experiment.execution)
    return Run(experiment, workdir, read_data(experiment), devices)


@pytest.fixture(scope="module")
def begun(run):
    """The networks before their first step, by name."""
    names = [*NAMES, "S2B"]
    experiment = run.experiment.replace(treatments=tuple(map(parse_treatment, names)))
    run = dataclasses.replace(run, experiment=experiment)
    fused = make_networks(run, experiment.treatments).fused
    return {name: surgery.extract(fused, name) for name in names}


def weights(model):
    return {f"{x.name}/{w.name}": w.numpy() for x in model.layers for w in x.weights}


def saved(run, name):
    return weights(keras.saving.load_model(run.workdir.network_path(name)))


def equal_layers(one, other):
    """Names the layers that are the same in two networks, of their kernels."""
    kernels = [name for name in one if name.endswith("kernel")]
    return [name.split("/")[0] for name in kernels if np.array_equal(one[name], other[name])]


def test_a_base_that_is_trained_on_begins_with_all_that_the_base_has(run, begun):
    base, model = saved(run, "baseB"), begun["B8B+"]
    at_first = weights(model)
    assert base.keys() == at_first.keys()
    assert all(np.array_equal(at_first[name], base[name]) for name in base)
    assert all(layer.trainable for layer in model.layers if layer.weights)
    assert len(model.trainable_weights) == 16
    after = saved(run, "B8B+")
    assert not any(np.array_equal(after[name], base[name]) for name in base)


def test_rows_know_the_units_and_so_the_role(run):
    row = run.workdir.row("B8B+")
    assert (row.units, row.role, row.mode) == (8, BASE_TRAINED_ON, "fine_tune")
    assert row.trainable_parameters == row.parameters == run.workdir.row("baseB").parameters
    assert row.steps == run.workdir.row("baseB").steps
    assert run.workdir.row("S3B").role == Role("SnB", 3)
    assert run.workdir.row("S3B+").role == Role("SnB+", 3)


def test_drawn_units_have_the_statistics_of_the_donor_and_none_of_its_values(run, begun):
    donor, drawn = saved(run, "baseA"), weights(begun["S3B"])
    assert equal_layers(donor, drawn) == []
    for layer in ("conv1", "conv2", "conv3"):
        old, new = donor[f"{layer}/kernel"], drawn[f"{layer}/kernel"]
        standard_error = old.std() / old.size**0.5
        assert abs(new.mean() - old.mean()) < 5 * standard_error
        assert abs(new.std() - old.std()) < 5 * standard_error


def test_drawn_units_are_compared_with_what_they_were_taken_from(run, begun):
    experiment = run.experiment.replace(metrics_every=2)
    (drawn,) = (t for t in experiment.treatments if t.name == "S3B")
    networks = make_networks(dataclasses.replace(run, experiment=experiment), [drawn])
    references = networks.references["S3B"]
    donor, base = weights(references["donor"]), weights(references["base"])
    assert equal_layers(donor, weights(begun["S3B"])) == ["conv1", "conv2", "conv3"]
    assert len(equal_layers(base, saved(run, "baseB"))) == 8


def test_drawn_units_are_the_same_for_all_n_and_modes(run, begun):
    first, more, tuned = (weights(begun[name]) for name in ("S2B", "S3B", "S3B+"))
    assert equal_layers(first, more) == ["conv1", "conv2"]
    assert equal_layers(more, tuned) == ["conv1", "conv2", "conv3"]
    assert equal_layers(more, saved(run, "S3B")) == ["conv1", "conv2", "conv3"]
    assert equal_layers(tuned, saved(run, "S3B+")) == []


@pytest.fixture
def with_donor(tmp_path):
    """Gives the function that makes an experiment with a donor."""
    classifier(perturbed=False).save(tmp_path / "own.keras")
    dataset = write_pictures(tmp_path / "pictures")
    settings = {"steps": 3, "batch_size": 4, "learning_rate": 0.01, "metrics_every": 0}
    return functools.partial(ask, tmp_path / "own.keras", dataset=dataset, **settings)


def test_with_a_donor_its_statistics_are_taken_and_a_base_is_trained_on(tmp_path, with_donor):
    """The base with the rate of training from scratch; two seeds draw two networks, so that what
    is drawn is not the same with any seed even if its head is fitted."""
    units = len(with_donor("B1B+").architecture.units)
    drawn, longer = f"S{units - 1}B", f"B{units}B+"
    rates = {"scratch_learning_rate": 0.03, "transferred_learning_rate": 0.001}
    experiment = with_donor(drawn, longer, fit_head=True, **rates)
    assert [experiment.continues_base(t) for t in experiment.treatments] == [False, True]
    assert experiment.fits_head(experiment.treatments[0])
    workdir = Workdir(tmp_path / "run")
    run_experiment(experiment, workdir, log=lambda line: None)
    run = begin(experiment, workdir)
    assert workdir.done == sorted([drawn, longer, "baseB"])

    donor = weights(keras.saving.load_model(tmp_path / "own.keras"))
    made = saved(run, drawn)
    shared = [name for name in donor if name in made and donor[name].shape == made[name].shape]
    assert equal_layers({name: donor[name] for name in shared}, made) == []
    assert shared
    assert not workdir.row(drawn).fitted

    fused = make_networks(run, experiment.treatments[1:]).fused
    rates = learning_rates(experiment, fused, experiment.treatments[1:])
    assert rates.factors == pytest.approx([3.0] * len(fused.trainable_variables))
    assert not any(rates.frozen_in_warm_up)
    trained = [workdir.row(name).trainable_parameters for name in (longer, "baseB")]
    assert trained[0] == trained[1]  # BatchNorm too.
    base, begun = saved(run, "baseB"), weights(surgery.extract(fused, longer))
    assert all(np.array_equal(base[key], begun[key]) for key in base)


def test_a_donor_whose_units_cannot_be_drawn_is_refused_in_one_line(tmp_path, with_donor):
    donor = keras.saving.load_model(tmp_path / "own.keras")
    donor.get_layer("f1").quantize("int8")
    donor.save(tmp_path / "own.keras")
    asked = request(tmp_path / "own.keras", "S1B", dataset="folder:x", steps=3)
    with pytest.raises(UserError, match=r"--treatments=S1B: --donor=.*int8.*not quantised"):
        describe_donor(asked)
