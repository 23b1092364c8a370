"""What an experiment computes: a tiny one, run for real, against what is on disk."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from support.event_files import read
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures
from support.refusals import tree

from transfer_keras import surgery
from transfer_keras.config import make_experiment
from transfer_keras.config.errors import UserError
from transfer_keras.config.tasks import split_classes
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.datasets import formula
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir, as_begun, summary

NAMES = ["A2B", "B2B+", "R3A", "B7A"]


@pytest.fixture(scope="module")
def settings(data_dir):
    return {
        "dataset": "formula_images/6x30x32",
        "data_dir": data_dir,
        "steps": 5,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "validations": 2,
        "metrics_every": 0,
        "augment": True,
    }


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, settings):
    folder = tmp_path_factory.mktemp("experiment") / "run"
    experiment = make_experiment(NAMES, **settings)
    ran = run_experiment(experiment, Workdir(folder), log=lambda _: None)
    assert [t.name for t in ran] == ["baseA", "baseB", "R3A", "B7A", "A2B", "B2B+"]
    return folder


def weights(workdir, name):
    model = keras.saving.load_model(Workdir(workdir).network_path(name))
    return {f"{x.name}/{w.name}": w.numpy() for x in model.layers for w in x.weights}


UNITS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


@pytest.mark.parametrize(("name", "donor", "n"), [("A2B", "baseA", 2), ("B7A", "baseB", 7)])
def test_frozen_units_are_the_donors_and_the_rest_are_not(workdir, name, donor, n):
    new, old = weights(workdir, name), weights(workdir, donor)
    for unit, layer in enumerate(UNITS, 1):
        kernel = f"{layer}/kernel"
        assert np.array_equal(new[kernel], old[kernel]) == (unit <= n), layer


def test_fine_tuned_units_moved_away_from_the_donor(workdir):
    new, old = weights(workdir, "B2B+"), weights(workdir, "baseB")
    assert not any(np.array_equal(new[name], old[name]) for name in new)
    lower = [np.abs(new[f"{x}/kernel"] - old[f"{x}/kernel"]).max() for x in UNITS[:2]]
    assert max(lower) < 0.01 < np.abs(new["conv3/kernel"] - old["conv3/kernel"]).max()


@pytest.mark.parametrize(
    ("size", "names"),
    [
        (1, ["B2B+", "A2B"]),
        pytest.param(1, NAMES[::-1], marks=pytest.mark.slow),
        pytest.param(2, NAMES[::-1], marks=pytest.mark.slow),
    ],
)
def test_the_size_of_groups_changes_no_number(workdir, settings, tmp_path, size, names):
    """The donors are on disk; all that remains is trained in groups of other sizes."""
    for name in ("experiment.json", "baseA", "baseB"):
        copy = shutil.copytree if (workdir / name).is_dir() else shutil.copy
        copy(workdir / name, tmp_path / name)
    experiment = make_experiment(names, **settings, group_size=size)
    run_experiment(experiment, Workdir(tmp_path), log=lambda _: None)
    for name in names:
        first, again = weights(workdir, name), weights(tmp_path, name)
        assert all(np.array_equal(first[key], again[key]) for key in first)
        rows = [dataclasses.asdict(Workdir(w).row(name)) for w in (workdir, tmp_path)]
        assert rows[0].pop("group") == 2
        assert rows[1].pop("group") == size
        assert rows[0].pop("seconds") > 0 < rows[1].pop("seconds")
        assert rows[0] == rows[1]


def test_bases_side_by_side_come_out_as_alone(workdir, settings, tmp_path):
    run_experiment(
        make_experiment(["baseA", "baseB"], **settings, group_size=1),
        Workdir(tmp_path),
        log=lambda _: None,
    )
    for name in ("baseA", "baseB"):
        together, alone = weights(workdir, name), weights(tmp_path, name)
        assert all(np.array_equal(together[key], alone[key]) for key in alone)
        rows = [dataclasses.asdict(Workdir(w).row(name)) for w in (workdir, tmp_path)]
        assert [row.pop("group") for row in rows] == [2, 1]
        assert all(row.pop("seconds") > 0 for row in rows)
        assert rows[0] == rows[1]


def test_a_networks_file_stands_alone(workdir):
    model = keras.saving.load_model(Workdir(workdir).network_path("B2B+"))
    assert [x.name for x in model.layers[2:4]] == ["conv1", "conv1_relu"]
    assert model.name == "B2B_"  # TensorFlow takes no "+" there.
    images = np.zeros((2, 32, 32, 3), np.float32)
    expected = keras.ops.convert_to_numpy(model(images))
    assert model.predict(images, verbose=0) == pytest.approx(expected, abs=1e-6)


def test_random_treatments_of_one_target_share_one_donor(settings, tmp_path):
    experiment = make_experiment(
        tuple(map(parse_treatment, ["R2B", "R4B"])), **{**settings, "steps": 1}
    )
    run_experiment(experiment, Workdir(tmp_path), log=lambda _: None)
    two, four, base = (weights(tmp_path, name) for name in ("R2B", "R4B", "baseB"))
    same = [np.array_equal(two[f"{x}/kernel"], four[f"{x}/kernel"]) for x in UNITS]
    assert same == [True, True, False, False, False, False, False, False]
    assert not np.array_equal(two["conv1/kernel"], base["conv1/kernel"])


def test_another_split_has_other_fresh_weights(workdir, settings, tmp_path):
    """Of the same seed: bases begin elsewhere, and random units are another draw."""
    experiment = make_experiment(["R3A"], **{**settings, "split": "1"})
    run_experiment(experiment, Workdir(tmp_path / "other"), log=lambda _: None)
    for name, kernel in (("R3A", "conv1/kernel"), ("R3A", "conv3/kernel")):
        there, here = (weights(f, name)[kernel] for f in (tmp_path / "other", workdir))
        assert not np.array_equal(there, here)
        assert abs(np.corrcoef(there.ravel(), here.ravel())[0, 1]) < 0.2


def test_a_folder_of_version_0_1_0_goes_on_as_it_was_begun(settings, tmp_path):
    """What is added to it has the fresh weights that it would have had then."""
    older = make_experiment(["R3A"], **settings).replace(seeds_by_split=False)
    run_experiment(older, Workdir(tmp_path / "old"), log=lambda _: None)
    assert "fresh_weights_by" not in Workdir(tmp_path / "old").read_facts()["settings"]
    more = make_experiment(["R3A", "R2A", "A2B"], **settings)
    lines = []
    run_experiment(more, Workdir(tmp_path / "old"), log=lines.append)
    assert lines[0].startswith("Begun by version 0.1.0: ")
    both = more.replace(seeds_by_split=False)
    run_experiment(both, Workdir(tmp_path / "at once"), log=lambda _: None)
    for name in ("baseB", "R2A", "A2B"):
        added, expected = (weights(tmp_path / f, name) for f in ("old", "at once"))
        for key, value in added.items():
            assert np.array_equal(value, expected[key]), (name, key)
    # A study that has such a folder goes on so in all its experiments.
    (tmp_path / "new").mkdir()
    assert as_begun([more], tmp_path) == [both]
    assert as_begun([more], tmp_path / "new") == [more]


def test_random_units_are_nobodys_and_fresh_ones_differ_by_treatment(workdir):
    everyone = {name: weights(workdir, name) for name in ["baseA", "baseB", *NAMES]}
    assert not np.array_equal(everyone["R3A"]["conv1/kernel"], everyone["baseA"]["conv1/kernel"])
    heads = [w["fc8/kernel"] for w in everyone.values()]
    assert all(not np.array_equal(a, b) for i, a in enumerate(heads) for b in heads[:i])


@pytest.mark.parametrize("name", ["baseA", "baseB", *NAMES])
def test_rows_are_of_the_saved_network_on_the_test_images_of_its_target(workdir, name):
    classes = formula.class_names(6)
    task = split_classes(classes, "0")[0 if parse_treatment(name).target == "A" else 1]
    images = np.concatenate([formula.draw_class(c, 6, 32, seed=1) for c in task.class_names])
    labels = np.repeat(np.arange(3), 6)
    model = keras.saving.load_model(Workdir(workdir).network_path(name))
    logits = keras.ops.convert_to_numpy(model(images.astype(np.float32))).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    row = Workdir(workdir).row(name)
    assert row.top1 == pytest.approx((logits.argmax(1) == labels).mean())
    assert row.loss == pytest.approx(-logits[np.arange(18), labels].mean(), abs=1e-5)
    label, predicted = Workdir(workdir).predictions(name)
    assert not np.array_equal(label, labels), "the test images of a class come together"
    stored = zip(label, predicted, strict=True)
    expected = zip(labels, logits.argmax(1), strict=True)
    assert sorted(stored) == sorted(expected)
    assert (row.test_images, row.classes, row.steps) == (18, 3, 5)
    assert [test[0] for test in row.validation] == [3, 5]
    assert row.validation[-1][1:] == pytest.approx((row.loss, row.top1))
    assert row.parameters == sum(w.size for w in weights(workdir, name).values())


def test_normalisation_comes_with_the_lower_units(workdir):
    means = {}
    for name in ["baseA", "baseB", *NAMES]:
        model = keras.saving.load_model(Workdir(workdir).network_path(name))
        means[name] = tuple(model.get_layer("pixels").input_mean)
    assert means["A2B"] == means["baseA"] == means["R3A"]
    assert means["B7A"] == means["baseB"] == means["B2B+"]
    assert means["baseA"] != means["baseB"]


def test_the_same_again_is_bit_equal_whatever_else_was_asked(workdir, settings, tmp_path):
    run_experiment(make_experiment(["A2B"], **settings), Workdir(tmp_path), log=lambda _: None)
    for name in ("baseA", "baseB", "A2B"):
        first, again = weights(workdir, name), weights(tmp_path, name)
        assert all(np.array_equal(first[key], again[key]) for key in first)
    other = make_experiment(["baseA"], **settings, seed=1)
    run_experiment(other, Workdir(tmp_path / "other"), log=lambda _: None)
    first, again = weights(workdir, "baseA"), weights(tmp_path / "other", "baseA")
    assert not any(np.array_equal(first[key], again[key]) for key in first)


def test_a_file_that_was_removed_is_made_again_and_told(workdir, settings, tmp_path):
    copy, lines = Workdir(shutil.copytree(workdir, tmp_path / "copy")), []
    path = copy / "baseB" / "predictions.safetensors"
    path.unlink()
    run_experiment(make_experiment(["baseB"], **settings), copy, log=lines.append)
    says = f"baseB is trained again, because this is missing that was there: {path} (of version"
    assert any(line.startswith(says) for line in lines)
    before, after = (f.predictions("baseB") for f in (Workdir(workdir), copy))
    assert all(map(np.array_equal, before, after))


def test_another_dataset_under_the_same_settings_is_refused(workdir, settings):
    path = workdir / "experiment.json"
    before = path.read_text()
    facts = json.loads(before)
    facts["data"]["A"].reverse()
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="trained on other data"):
        run_experiment(make_experiment(["A1B"], **settings), Workdir(workdir), log=lambda _: None)
    path.write_text(before)


def test_divergence_is_logged(settings, tmp_path):
    wild = make_experiment(["baseA"], **{**settings, "learning_rate": 1e30})
    run_experiment(wild, Workdir(tmp_path), log=lambda _: None)
    row = Workdir(tmp_path).row("baseA")
    assert (row.loss, row.training_loss, row.outcome) == (None, None, "diverged")
    json.loads((tmp_path / "baseA" / "row.json").read_text(), parse_constant=pytest.fail)


def test_the_advice_on_a_damaged_donor_helps(settings, tmp_path):
    experiment = make_experiment(["B2B"], **{**settings, "steps": 1})
    run_experiment(experiment, Workdir(tmp_path), log=lambda _: None)
    before = weights(tmp_path, "B2B")
    shutil.rmtree(tmp_path / "B2B")
    network = Workdir(tmp_path).network_path("baseB").read_bytes()
    place = len(network) // 2
    damages = {
        "network.keras": (b"damaged", network[:-9], network[:place] + b"!" + network[place + 1 :]),
        "row.json": (b"{",),
        "predictions.safetensors": (b"",),
    }
    for name, contents in damages.items():
        path = tmp_path / "baseB" / name
        sound = path.read_bytes()
        for content in contents:
            path.write_bytes(content)
            there = tree(tmp_path)
            with pytest.raises(UserError, match=f"{name}.* is damaged.* Remove .* train"):
                run_experiment(experiment, Workdir(tmp_path), log=lambda _: None)
            assert tree(tmp_path) == there, "found before anything is written"
        path.write_bytes(sound)
    shutil.rmtree(tmp_path / "baseB")
    run_experiment(experiment, Workdir(tmp_path), log=lambda _: None)
    again = weights(tmp_path, "B2B")
    assert all(np.array_equal(before[key], again[key]) for key in before)
    assert not Workdir(tmp_path).checkpoint_folders


def test_what_an_early_kill_leaves_is_no_other_experiment(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".partial-run.flags").touch()
    Workdir(tmp_path).check({})


def test_too_large_a_batch(settings, tmp_path):
    with pytest.raises(UserError, match=r"--batch_size=73: task A .* has 72 training images"):
        run_experiment(
            make_experiment(["A2B"], **{**settings, "batch_size": 73}),
            Workdir(tmp_path),
            log=print,
        )
    assert not list(tmp_path.iterdir())


def test_without_scratch_there_is_no_base(tmp_path):
    """Of a donor; the table, the curve and TensorBoard do without the difference from it."""
    classifier(perturbed=False).save(tmp_path / "own.keras")
    asked = ask_donor(
        tmp_path / "own.keras", "A1B", "R2B", dataset=write_pictures(tmp_path / "pictures"),
        scratch=False, steps=4, batch_size=8, validations=1, metrics_every=2,
    )  # fmt: skip
    workdir = Workdir(tmp_path / "run")
    ran = run_experiment(asked, workdir, log=lambda _: None)
    assert [treatment.name for treatment in ran] == ["A1B", "R2B"] == workdir.done
    assert "points" not in summary.result_table(workdir, ran)
    assert (workdir / summary.CURVE).exists()
    tags = read(workdir / "A1B")
    assert "result/top1" in tags
    assert "result/difference_from_base" not in tags
    with_base = asked.replace(scratch=True)
    assert with_base.identity == asked.identity
    run_experiment(with_base, workdir, log=lambda _: None)
    assert workdir.done == ["A1B", "R2B", "baseB"]
    assert "points from baseB" in summary.result_table(workdir, ran)


def test_units_of_the_saved_network(workdir):
    model = keras.saving.load_model(Workdir(workdir).network_path("A2B"))
    assert [unit.name for unit in surgery.units(model)] == UNITS
