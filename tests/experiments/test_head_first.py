"""Fine-tuning that begins with the upper units of the frozen network of the same n."""

import itertools
import re

import keras
import numpy as np
import pytest
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures

from transfer_keras import surgery
from transfer_keras.config import Group, make_experiment, parse_treatment
from transfer_keras.config.plan import with_bases
from transfer_keras.experiments import Run, make_networks, plan_experiment, read_data, use_devices
from transfer_keras.experiments.group_task import GroupTask, task_waves
from transfer_keras.experiments.recipes import learning_rates
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.slurm import write_slurm_script
from transfer_keras.results import Workdir


def ask(folder, *names, **settings):
    facts = {"steps": 6, "batch_size": 8, "validations": 2, "metrics_every": 0, "scratch": False}
    facts |= {"head_first": True, **settings}
    return ask_donor(folder / "own.keras", *names, dataset=f"folder:{folder / 'pictures'}", **facts)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    classifier(perturbed=False).save(folder / "own.keras")
    write_pictures(folder / "pictures")
    return folder


@pytest.fixture(scope="module")
def trained(given):
    """A2B and A2B+ as one experiment."""
    experiment, workdir = ask(given, "A2B+", learning_rate=0.01), Workdir(given / "run")
    run_experiment(experiment, workdir, log=lambda line: None)
    return experiment, workdir


def names(treatments):
    return [treatment.name for treatment in treatments]


def test_the_frozen_networks_come_first_and_are_trained_once():
    asked = list(map(parse_treatment, ["A3B+", "B3A+", "A1B", "A1B+", "baseA"]))
    begun_with = [treatment.frozen for treatment in asked if treatment.fine_tune]
    assert names(with_bases(asked, begun_with=begun_with)) == [
        "baseA", "baseB", "B3A", "B3A+", "A1B", "A3B", "A3B+", "A1B+",
    ]  # fmt: skip
    assert names(with_bases(asked)) == ["baseA", "baseB", "B3A+", "A3B+", "A1B", "A1B+"]


def test_a_group_is_not_trained_with_what_it_begins_with():
    experiment = make_experiment(["A3B+", "A5B+"], head_first=True, split="0")
    tasks = {"A": range(10), "B": range(10)}
    groups = [list(group.names) for group in plan_experiment(experiment, tasks)]
    assert groups == [["baseA"], ["baseB"], ["A3B", "A5B"], ["A3B+", "A5B+"]]
    together = plan_experiment(experiment.replace(head_first=False), tasks)
    assert [list(group.names) for group in together][2:] == [["A3B+", "A5B+"]]


def test_only_with_it_does_it_belong_to_the_identity(given):
    with_it = ask(given, "A2B+").identity
    without = ask(given, "A2B+", head_first=False).identity
    assert with_it.keys() - without.keys() == {"head_first"}


def test_it_begins_with_the_units_of_the_frozen_network(given, trained):
    experiment, workdir = trained
    assert set(workdir.done) == {"A2B", "A2B+"}
    run = Run(experiment, workdir, read_data(experiment),
              use_devices(experiment.training, experiment.execution))  # fmt: skip
    (tuned,) = experiment.treatments
    begins = surgery.extract(make_networks(run, [tuned]).fused, "A2B+")
    frozen = keras.saving.load_model(workdir.network_path("A2B"))
    donor = keras.saving.load_model(given / "own.keras")
    for layer in begins.layers:
        for value, of_frozen in zip(
            layer.weights, frozen.get_layer(layer.name).weights, strict=True
        ):
            np.testing.assert_array_equal(value, of_frozen, err_msg=value.path)
    lower = [layer for unit in surgery.units(donor)[:2] for layer in unit.layers]
    assert any(layer.weights for layer in lower)
    for layer in lower:
        for value, of_donor in zip(
            begins.get_layer(layer.name).weights, layer.weights, strict=True
        ):
            np.testing.assert_array_equal(value, of_donor)
    assert np.abs(begins.get_layer("f1").weights[0] - donor.get_layer("f1").weights[0]).max() > 0.1
    assert [layer.name for layer in begins.layers if layer.trainable_variables] == [
        "c1", "c2", "f1", "out",
    ]  # fmt: skip


def test_the_rate_of_transferred_units_is_their_own(given):
    experiment = ask(given, "A2B+", "A1B", learning_rate=1e-3, transferred_learning_rate=1e-4,
                     layerwise_decay=0.5, head_first=False)  # fmt: skip
    run = Run(experiment, Workdir(given / "rates"), read_data(experiment),
              use_devices(experiment.training, experiment.execution))  # fmt: skip
    fused = make_networks(run, experiment.treatments).fused
    rates = learning_rates(experiment, fused, experiment.treatments)
    found = {
        variable.path.split("--")[1]: factor
        for variable, factor in zip(fused.trainable_variables, rates.factors, strict=True)
        if "A2B_" in variable.path and variable.path.endswith("kernel")
    }
    assert found == pytest.approx(
        {"c1/kernel": 0.1 * 0.25, "c2/kernel": 0.1 * 0.5, "f1/kernel": 1, "out/kernel": 1}
    )
    others = [
        factor
        for variable, factor in zip(fused.trainable_variables, rates.factors, strict=True)
        if "A1B--" in variable.path
    ]
    assert set(others) == {1.0}


def test_batch_norm_that_keeps_its_statistics_is_begun_with_too(given):
    experiment = ask(given, "A2B+", batch_norm="statistics_frozen", steps=2)
    workdir = Workdir(given / "statistics")
    run_experiment(experiment, workdir, log=lambda line: None)
    assert set(workdir.done) == {"A2B", "A2B+"}


def test_a_network_that_diverged_is_not_begun_with(given):
    experiment = ask(given, "A2B+", learning_rate=1e30, transferred_learning_rate=1e-9, steps=4)
    logged, workdir = [], Workdir(given / "diverged")
    run_experiment(experiment, workdir, log=logged.append)
    assert workdir.row("A2B").outcome == "diverged"
    assert "A2B diverged: A2B+ begins without it." in logged


def test_in_slurm_each_wave_waits_for_what_it_begins_with(given, tmp_path):
    """Frozen networks, then those that begin with them; the donor and scratch are not trained."""
    experiment = ask(given, "A2B+", "A1B", "A1B+", scratch=False, group_size=1)
    waves = task_waves([experiment], tmp_path)
    names = [[str(task.group) for task in wave] for wave in waves]
    assert [sorted(wave) for wave in names] == [["A1B", "A2B"], ["A1B+", "A2B+"]]
    script = write_slurm_script([experiment], tmp_path, flags=lambda *_: "", arguments=[])
    text = script.read_text()
    assert re.findall(r"--array=(\S+)", text) == ["0-1", "2-3"]
    listed = re.findall(r"^# (\d+): .*: (\S+)$", text, re.MULTILINE)
    assert [name for _, name in listed] == list(itertools.chain.from_iterable(names))
    arrays = [line for line in text.splitlines() if "--array" in line]
    assert ["--dependency=afterok:$last" in line for line in arrays] == [False, True]


def test_a_group_task_waits_for_what_it_begins_with(given):
    experiment = ask(given, "A2B+")
    (tuned,) = experiment.treatments
    task = GroupTask(experiment, Workdir(given / "task"), Group((tuned,)))
    assert task.bases_before == ["A2B"]
    alone = experiment.replace(head_first=False)
    assert GroupTask(alone, task.workdir, task.group).bases_before == []
