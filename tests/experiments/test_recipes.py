"""How fine-tuning, class weights and early stopping reach the networks of an experiment."""

import keras
import numpy as np
import pytest
from support.networks import ask as ask_donor
from support.networks import classifier, network, write_pictures

from transfer_keras import surgery
from transfer_keras.config import UserError
from transfer_keras.experiments import TaskData, read_data, recipes
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    own = classifier()
    own.save(folder / "own.keras")
    write_pictures(folder / "pictures")
    return own, folder


def ask(folder, *names, **settings):
    facts = {"steps": 6, "batch_size": 8, "validations": 3, "metrics_every": 0, "scratch": False}
    facts |= {"transferred_learning_rate": settings.get("learning_rate", 1e-3), **settings}
    return ask_donor(folder / "own.keras", *names, dataset=f"folder:{folder / 'pictures'}", **facts)


def fused(folder, *names, **settings):
    experiment = ask(folder, *names, **settings)
    networks = {
        t.name: surgery.transplant(
            network(experiment), t.n, head=3, seed=t.n,
            mode="fine_tune" if t.fine_tune else "frozen", name=t.name,
        ).model
        for t in experiment.treatments
    }  # fmt: skip
    return experiment, surgery.fuse(networks)


def by_name(experiment, model):
    rates = recipes.learning_rates(experiment, model, experiment.treatments)
    names = [variable.path for variable in model.trainable_variables]
    return dict(
        zip(names, zip(rates.factors, rates.frozen_in_warm_up, strict=True), strict=True)
    ), rates


def test_rates_fall_from_unit_to_unit_below_the_cut(given):
    experiment, model = fused(given[1], "A2B+", "A1B", layerwise_decay=0.5, warm_up_head=2)
    by_variable, rates = by_name(experiment, model)
    of_tuned = {name: rate for name, rate in by_variable.items() if "A2B_" in name}
    for layer, rate in (("c1", 0.25), ("c1_norm", 0.25), ("c2", 0.5), ("c2_norm", 0.5)):
        these = [value for name, value in of_tuned.items() if f"--{layer}/" in name]
        assert these == [(rate, True)] * 2, layer
    above = {name: rate for name, rate in by_variable.items() if "--f1" in name or "--out" in name}
    assert set(above.values()) == {(1.0, False)}
    assert {rate for name, rate in by_variable.items() if "A2B_" not in name} == {(1.0, False)}
    frozen = sorted(layer.name.split("--")[1] for layer in rates.frozen_batch_norm)
    assert frozen == ["c1_norm", "c2_norm"]
    assert rates.warm_up == 2


def test_training_from_scratch_has_a_rate_of_its_own(given):
    names = ("baseB", "A2B+", "A1B")
    settings = {"learning_rate": 1e-3, "scratch_learning_rate": 1e-2, "warm_up_head": 2}
    experiment, model = fused(given[1], *names, **settings)
    by_variable, _ = by_name(experiment, model)
    of = {name: {rate for key, rate in by_variable.items() if f"{name}--" in key} for name in names}
    assert of["baseB"] == {(10.0, False)}
    assert of["A1B"] == {(1.0, False)}
    tuned = {rate for key, rate in by_variable.items() if "A2B_" in key and "--c" in key}
    assert tuned == {(1.0, True)}
    assert "scratch_learning_rate" in experiment.identity
    assert "scratch_learning_rate" not in ask(given[1], *names).identity


def test_rates_are_of_blocks_where_n_counts_blocks(tmp_path):
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for name in ("stem", "block_1_a", "block_1_b", "block_2_a", "block_2_b"):
        x = layers.Conv2D(4, 3, padding="same", name=name)(x)
    x = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, x).save(tmp_path / "own.keras")
    experiment = ask(tmp_path, "A2B+", units="block", layerwise_decay=0.5)
    model, _ = surgery.transplant(
        network(experiment), experiment.units_transferred(experiment.treatments[0]),
        mode="fine_tune", seed=0,
    )  # fmt: skip
    rates, _ = by_name(experiment, surgery.fuse({"A2B+": model}))
    kernels = {n.split("--")[1]: rate for n, (rate, _) in rates.items() if n.endswith("kernel")}
    assert kernels == {
        "stem/kernel": 0.25, "block_1_a/kernel": 0.5, "block_1_b/kernel": 0.5,
        "block_2_a/kernel": 1.0, "block_2_b/kernel": 1.0, "out/kernel": 1.0,
    }  # fmt: skip


def test_no_rates_where_nothing_changes(given):
    experiment, model = fused(given[1], "A2B+")
    assert recipes.learning_rates(experiment, model, experiment.treatments) is None
    experiment, model = fused(given[1], "A2B", warm_up_head=2)
    assert recipes.learning_rates(experiment, model, experiment.treatments) is None


def test_classes_count_the_same():
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    weights = np.array(recipes.class_weights(labels))
    assert weights[labels].mean() == pytest.approx(1)
    assert weights * [10, 30, 60] == pytest.approx([100 / 3] * 3)


def lower(folder, name):
    model = keras.saving.load_model(Workdir(folder).network_path(name))
    return {w.path: w.numpy() for x in model.layers for w in x.weights}


def test_a_warm_up_freezes_the_transferred_units_until_it_is_over(given, tmp_path):
    own, folder = given
    donor = {w.path: w.numpy() for w in own.weights}
    untrained = ask(folder, "A2B+", learning_rate=1e-9)
    run_experiment(untrained, Workdir(tmp_path / "untrained"), log=lambda _: None)
    head = lower(tmp_path / "untrained", "A2B+")["out/kernel"]
    for warm_up in (5, 2):
        run = tmp_path / str(warm_up)
        experiment = ask(folder, "A2B+", warm_up_head=warm_up, learning_rate=1e-3)
        run_experiment(experiment, Workdir(run), log=lambda _: None)
        moved = lower(run, "A2B+")
        assert np.abs(moved["out/kernel"] - head).max() > 1e-3
        far = np.abs(moved["c1/kernel"] - donor["c1/kernel"]).max()
        assert far > 0
        if warm_up == 5:  # One step of Adam, at the end of a cosine.
            assert far < 2e-4
        else:
            assert far > 1e-3


def test_early_stopping_takes_the_best_test(given, tmp_path):
    settings = {"steps": 12, "validations": 12, "learning_rate": 0.03, "scratch": True}
    experiment = ask(given[1], "A2B+", **settings)
    run_experiment(experiment, Workdir(tmp_path / "all"), log=lambda _: None)
    experiment = experiment.replace(early_stopping=3)
    run_experiment(experiment, Workdir(tmp_path / "early"), log=lambda _: None)
    for name in ("baseB", "A2B+"):
        full = Workdir(tmp_path / "all").row(name)
        early = Workdir(tmp_path / "early").row(name)
        losses = [loss for _, loss, _ in full.validation]
        best, waited, last = 0, 0, len(losses)
        for place, loss in enumerate(losses[1:], 1):
            best, waited = (place, 0) if loss < losses[best] else (best, waited + 1)
            if waited == 3:
                last = place + 1
                break
        assert early.best_step == full.validation[best][0]
        assert early.loss == pytest.approx(losses[best], abs=1e-6)
        assert early.steps == last
        assert full.best_step == full.steps == 12
    tuned = keras.saving.load_model(Workdir(tmp_path / "all").network_path("A2B+"))
    norms = [x for x in tuned.layers if isinstance(x, keras.layers.BatchNormalization)]
    # They average over a tenth of the steps.
    assert [norm.momentum for norm in norms] == [pytest.approx(1 - 1 / 1.2)] * 2


@pytest.mark.parametrize("kept", ["never", "always"])
def test_early_stopping_by_training_pictures_that_are_held_back(given, tmp_path, kept):
    """It ends as one that is tested on them, and its result is of the test pictures alone."""
    settings = {"steps": 12, "validations": 12, "learning_rate": 0.03, "metrics_every": 4}
    settings |= {"keep_features": kept, "augment": True, "views": 2}
    names, early = ("A2B", "A2B+"), {"early_stopping": 2, "early_stopping_split": 0.3}
    experiment = ask(given[1], *names, **settings, **early)
    data, whole = read_data(experiment), read_data(ask(given[1], *names, **settings))
    kept_back = [set(part["B"].numbers) for part in (data.train, data.held_back)]
    assert set.union(*kept_back) == set(whole.train["B"].numbers)
    assert not set.intersection(*kept_back)
    run_experiment(experiment, Workdir(tmp_path / "split"), log=lambda _: None, data=data)

    by_them = TaskData(data.pair, data.train, data.held_back)
    experiment = experiment.replace(early_stopping_split=None)
    run_experiment(experiment, Workdir(tmp_path / "test"), log=lambda _: None, data=by_them)
    ends = set()
    for name in names:
        row, other = (Workdir(tmp_path / folder).row(name) for folder in ("split", "test"))
        assert (row.best_step, row.steps) == (other.best_step, other.steps)
        ends.add((row.best_step, row.steps))
        network, same = (
            keras.saving.load_model(Workdir(tmp_path / folder).network_path(name))
            for folder in ("split", "test")
        )
        for value, equal in zip(network.get_weights(), same.get_weights(), strict=True):
            np.testing.assert_array_equal(value, equal)
        ((images, labels),) = data.test["B"].evaluation(batch_size=1000)
        answers = network.predict_on_batch(images.numpy().astype("float32")).argmax(axis=1)
        truth, predicted = Workdir(tmp_path / "split").predictions(name)
        np.testing.assert_array_equal(truth, labels)
        np.testing.assert_array_equal(predicted, answers)
        assert row.test_images == len(labels)
        assert row.top1 == pytest.approx(np.mean(answers == labels.numpy()))
    assert min(ends) < (12, 12), "else nothing was stopped"


def test_bad_early_stopping_splits(given):
    for part, message in ((1.5, "more than 0, less than 1"), (0.5, "needs --early_stopping")):
        with pytest.raises(UserError, match=f"--early_stopping_split={part}: .*{message}"):
            ask(given[1], "A2B", early_stopping_split=part)
    asked = ask(given[1], "A2B", early_stopping=2, early_stopping_split=0.9)
    with pytest.raises(
        UserError, match=r"--early_stopping_split=0\.9: of task B \d+ training images"
    ):
        read_data(asked)
    assert "early_stopping_split" not in ask(given[1], "A2B").identity
    assert asked.identity["early_stopping_split"] == 0.9


def test_class_weights_change_the_training(given, tmp_path):
    experiment = ask(given[1], "A2B")
    uneven = given[1] / "uneven"
    write_pictures(uneven)
    for path in sorted((uneven / "left").iterdir())[:8]:
        path.unlink()
    plain = experiment.replace(dataset=f"folder:{uneven}")
    weighted = plain.replace(class_weights="balanced")
    for name, one in (("plain", plain), ("weighted", weighted)):
        run_experiment(one, Workdir(tmp_path / name), log=lambda _: None)
    assert not np.array_equal(
        lower(tmp_path / "plain", "A2B")["out/bias"],
        lower(tmp_path / "weighted", "A2B")["out/bias"],
    )
