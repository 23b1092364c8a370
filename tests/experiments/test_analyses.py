"""Analyses of networks on disk, against networks that are put together and tested by hand."""

import keras
import numpy as np
import pytest
from support.networks import ask, classifier, saved, write_pictures

from transfer_keras import surgery
from transfer_keras.config import UserError, make_experiment, parse_treatment
from transfer_keras.experiments import analyse_networks, group_training
from transfer_keras.experiments.analyses import opening, study
from transfer_keras.experiments.analyses.interpolation import interpolate
from transfer_keras.experiments.analyses.reinitialisation import initial_network, reinitialise
from transfer_keras.experiments.probes import probe_accuracies
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir, analyses, read_study
from transfer_keras.training import Stop

NAMES = ["A2B", "A2B+", "A5B+", "R3B", "B2B-linear"]
UNITS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    """Trains networks; gives their workdir, and each one's weights before its first step."""
    workdir, begun = Workdir(tmp_path_factory.mktemp("analyses") / "run"), {}
    experiment = make_experiment(
        NAMES, dataset="formula_images/4x30x16", data_dir=data_dir, image_size=16, steps=40,
        batch_size=16, validations=1, metrics_every=0,
    )  # fmt: skip
    make = group_training.make_networks

    def record(run, treatments):
        made = make(run, treatments)
        for treatment in treatments:
            network = surgery.extract(made.fused, treatment.name)
            begun[treatment.name] = [w.numpy() for w in network.weights]
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_training, "make_networks", record)
        run_experiment(experiment, workdir, log=lambda line: None)
    return workdir, begun


@pytest.fixture(scope="module")
def run(trained, data_dir):
    names = list(map(parse_treatment, ["baseA", "baseB", *NAMES]))
    return opening.open_run(trained[0], names, data_dir=data_dir, log=print, stop=Stop())


def load(run, name):
    return keras.saving.load_model(run.workdir.network_path(name))


def top1(run, model, target="B"):
    """Computes the top-1 of a network on a task's test pictures, by Keras itself."""
    batches = list(run.data.test[target].evaluation(batch_size=64))
    images = np.concatenate([images.numpy() for images, _ in batches]).astype(np.float32)
    labels = np.concatenate([labels.numpy() for _, labels in batches])
    return (model.predict(images, verbose=0).argmax(axis=1) == labels).mean()


def pair(first, second, **more):
    return analyses.Pair(parse_treatment(first), parse_treatment(second), **more)


def store(run):
    return analyses.Store(run.workdir, print)


@pytest.mark.parametrize("names", [("A2B+", "A5B+"), ("baseB", "A2B+"), ("R3B", "A2B")])
def test_the_ends_are_the_networks(run, names):
    record = interpolate(run, pair(*names), store(run))
    rows = [run.workdir.row(name) for name in names]
    assert record.positions == pytest.approx(np.arange(11) / 10)
    assert (record.top1[0], record.top1[-1]) == (rows[0].top1, rows[1].top1) == record.tested
    assert record.loss[0] == pytest.approx(rows[0].loss, rel=1e-6)
    assert record.loss[-1] == pytest.approx(rows[1].loss, rel=1e-6)
    assert record.test_images == rows[0].test_images


def test_between_the_ends_weights_and_pixel_statistics_are_mixed(run):
    """The base takes off the mean of B, what comes from A that of A."""
    first, second = load(run, "baseB"), load(run, "A2B+")
    configs = [model.get_layer("pixels").get_config() for model in (first, second)]
    assert configs[0]["mean"] != configs[1]["mean"]
    record = interpolate(run, pair("baseB", "A2B+"), store(run))
    for place in (3, 8):
        t = record.positions[place]

        def mixed(layer, t=t):
            config = layer.get_config()
            if layer.name == "pixels":
                for key in ("mean", "variance"):
                    a, b = (np.asarray(c[key], float) for c in configs)
                    config[key] = ((1 - t) * a + t * b).tolist()
            return type(layer).from_config(config)

        model = keras.models.clone_model(first, clone_function=mixed)
        pairs = zip(first.get_weights(), second.get_weights(), strict=True)
        model.set_weights([(1 - t) * a + t * b for a, b in pairs])
        assert record.top1[place] == pytest.approx(top1(run, model), abs=1 / record.test_images)


def test_networks_of_different_architectures_have_no_line(run):
    with pytest.raises(UserError, match="baseB and B2B-linear are of different architectures"):
        interpolate(run, pair("baseB", "B2B-linear"), store(run))


@pytest.mark.parametrize("name", ["baseA", "baseB", *NAMES])
def test_initial_values_are_those_that_training_began_with(run, trained, name):
    """Bit for bit."""
    _, begun = trained
    model = initial_network(run, parse_treatment(name))
    assert len(model.weights) == len(begun[name])
    for weight, expected in zip(model.weights, begun[name], strict=True):
        assert np.array_equal(weight.numpy(), expected), weight.path


@pytest.mark.parametrize("name", ["A2B", "A5B+", "B2B-linear"])
def test_units_put_back(run, trained, name):
    record = reinitialise(run, parse_treatment(name), store(run))
    row, kept = run.workdir.row(name), load(run, name)
    assert record.top1 == record.tested == row.top1
    names = [reset.unit for reset in record.resets]
    assert names == ([*UNITS[:2], "linear"] if name == "B2B-linear" else UNITS)
    begun = dict(zip([w.path for w in kept.weights], trained[1][name], strict=True))
    for number, reset in enumerate(record.resets):
        layer = kept.get_layer(reset.unit)
        trained_values = layer.get_weights()
        initial = [begun[w.path] for w in layer.weights]
        moved = sum(((a - b) ** 2).sum() for a, b in zip(trained_values, initial, strict=True))
        norm = sum((b.astype(float) ** 2).sum() for b in initial)
        assert reset.distance == pytest.approx(np.sqrt(moved / norm), rel=1e-4)
        assert (reset.distance == 0) == (name in ("A2B", "B2B-linear") and number < 2)
        layer.set_weights(initial)
        assert reset.initial == pytest.approx(top1(run, kept), abs=1 / record.test_images)
        layer.set_weights(trained_values)
        if reset.distance == 0:
            assert reset.initial == record.top1
    labels = run.data.test["B"].labels
    assert record.chance == np.bincount(labels).max() / len(labels)


def test_fresh_values_are_another_draw(run):
    """It is the same each time."""
    record = reinitialise(run, parse_treatment("baseB"), store(run))
    assert reinitialise(run, parse_treatment("baseB"), store(run)) == record
    assert any(reset.fresh != record.top1 for reset in record.resets)
    assert any(reset.fresh != reset.initial for reset in record.resets)


def selection(workdir, names=("baseB", "A2B+", "A5B+")):
    return analyses.select_networks(
        read_study(workdir.path), workdir, [parse_treatment(name) for name in names]
    )


def test_probes_are_of_both_tasks(run):
    record = study.train_probes_of_tasks(run, parse_treatment("A2B"), store(run))
    assert list(record.tasks) == ["A", "B"]
    for task, by_unit in record.tasks.items():
        parts = run.data.train[task], run.data.test[task]
        expected = probe_accuracies(load(run, "A2B"), *parts, seed=0, stop=Stop())
        assert by_unit == expected
        assert list(by_unit) == UNITS
        assert record.images[task] == len(parts[1])
    assert record.tasks["A"] != record.tasks["B"]


def test_what_is_kept_is_not_computed_again(trained, data_dir, monkeypatch, capsys):
    workdir, _ = trained
    selected, computed = selection(workdir), []
    for name in ("interpolate", "reinitialise"):
        original = getattr(study, name)

        def count(*arguments, original=original, name=name, **more):
            computed.append(name)
            return original(*arguments, **more)

        monkeypatch.setattr(study, name, count)

    def analyse(kinds=("interpolation", "reinitialisation")):
        computed.clear()
        analyse_networks([selected], kinds, data_dir=data_dir)
        return computed

    assert analyse() == ["interpolate"] * 3 + ["reinitialise"] * 3
    files = {path: path.read_bytes() for path in (workdir / "analyses").iterdir()}
    assert len(files) == 6
    monkeypatch.setattr(study, "open_run", None)  # Nothing is read.
    assert analyse() == []
    monkeypatch.undo()
    monkeypatch.setattr(study, "interpolate", lambda *_, **__: pytest.fail("computed again"))

    # A damaged file is set aside and made again, and so is that of a network that has changed.
    damaged = workdir / "analyses" / "reinitialisation-A2B+.json"
    damaged.write_text("{")
    capsys.readouterr()
    analyse_networks([selected], ["interpolation", "reinitialisation"], data_dir=data_dir)
    assert "renamed to reinitialisation-A2B+.json.damaged" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in files} == files
    monkeypatch.undo()
    path = workdir.network_path("A5B+")
    network = path.read_bytes()
    try:
        path.write_bytes(workdir.network_path("A2B+").read_bytes())
        analyse_networks([selected], ["interpolation", "reinitialisation"], data_dir=data_dir)
    finally:
        path.write_bytes(network)
    changed = [p.name for p, content in files.items() if p.read_bytes() != content]
    assert sorted(changed) == [
        "interpolation-A2B+-A5B+.json", "interpolation-baseB-A5B+.json",
        "reinitialisation-A5B+.json",
    ]  # fmt: skip


def test_other_data_are_refused(trained, data_dir, tmp_path, monkeypatch):
    workdir, _ = trained
    monkeypatch.setattr(opening, "facts_of_data", lambda *_: {"dataset": "another"})
    with pytest.raises(UserError, match="trained on other data"):
        opening.open_run(
            workdir, [parse_treatment("baseB")], data_dir=data_dir, log=print, stop=Stop()
        )


@pytest.mark.slow
def test_with_a_donor(tmp_path):
    """Its BatchNorm and its own scaling of pixels included."""
    donor = saved(tmp_path, classifier())
    pictures = write_pictures(tmp_path / "pictures")
    experiment = ask(
        donor, "A2B", "A1B+", dataset=pictures, steps=4, batch_size=8, validations=1,
        metrics_every=0, learning_rate=0.01,
    )  # fmt: skip
    workdir = Workdir(tmp_path / "run")
    flags = f"--donor={donor}\n--dataset={pictures}\n"
    run_experiment(experiment, workdir, flags=flags, log=lambda line: None)
    chosen = selection(workdir, ["baseB", "A1B+", "A2B"])
    analyse_networks([chosen], ["interpolation", "reinitialisation", "probes"])
    kept = analyses.Store(workdir, print)
    lines = kept.kept(analyses.Interpolation)
    assert [r.names for r in lines] == [("A1B+", "A2B"), ("baseB", "A1B+"), ("baseB", "A2B")]
    assert [r.shared_units for r in lines] == [1, 0, 0]
    for record in lines:
        assert (record.top1[0], record.top1[-1]) == record.tested
    by_name = {r.treatment: r for r in kept.kept(analyses.Reinitialisation)}
    assert {name: r.top1 == r.tested for name, r in by_name.items()} == {
        "baseB": True, "A1B+": True, "A2B": True,
    }  # fmt: skip
    assert [reset.distance == 0 for reset in by_name["A2B"].resets] == [True, True, False, False]
    assert {tuple(r.tasks) for r in kept.kept(analyses.Probes)} == {("B",)}


def test_a_network_that_is_no_file_is_refused(trained, data_dir, tmp_path):
    workdir, _ = trained
    path = workdir.network_path("baseA")
    network = path.read_bytes()
    try:
        path.write_bytes(b"")
        with pytest.raises(UserError, match=r"baseA.network\.keras cannot be used: it is damaged"):
            analyse_networks([selection(workdir, ["baseA"])], ["probes"], data_dir=data_dir)
    finally:
        path.write_bytes(network)
