"""Heads that are fitted in place of being trained, against SciPy and against the networks."""

import keras
import numpy as np
import pytest
from scipy import optimize, special
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures

from transfer_keras import surgery
from transfer_keras.config import UserError
from transfer_keras.experiments import estimate_sweep, may_fit_head, plan_experiment, read_data
from transfer_keras.experiments.logistic import fit_logistic
from transfer_keras.experiments.run import run_experiment
from transfer_keras.networks import pool_features
from transfer_keras.results import Workdir


def made_features(classes, seed=0, count=120):
    """Features of very different sizes, of which three tell the class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    features = rng.normal(size=(count, 6)) + np.eye(classes, 6)[labels] * 1.5
    return features * [1e-3, 1, 30, 5, 0.1, 1] + [7, 0, -40, 0, 3, 0], labels


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_fit_minimises_the_penalised_loss(classes, balanced):
    """With one of the five penalties no other values have a lower loss, by SciPy."""
    features, labels = made_features(classes)
    keep = (labels > 0) | (np.arange(120) % 3 == 0)  # Uneven.
    features, labels = features[keep], labels[keep]
    fitted = fit_logistic(features, labels, classes, balanced=balanced)
    counts = np.bincount(labels)
    weights = len(labels) / classes / counts[labels] if balanced else np.ones(len(labels))
    scale, centre = features.std(axis=0), features.mean(axis=0)
    standard = (features - centre) / scale

    def loss(values, strength):
        kernel, bias = values[: 6 * classes].reshape(6, classes), values[6 * classes :]
        logs = special.log_softmax(standard @ kernel + bias, axis=1)
        data = -(weights * logs[np.arange(len(labels)), labels]).sum()
        return strength * data + (kernel**2).sum() / 2 * (1 if classes > 2 else 2)

    expected = []
    for strength in np.logspace(-4, 0, 5):
        best = optimize.minimize(loss, np.zeros(7 * classes), args=(strength,), tol=1e-12)
        kernel, bias = best.x[: 6 * classes].reshape(6, classes), best.x[6 * classes :]
        logits = standard @ kernel + bias
        expected.append(logits - logits.mean(axis=1, keepdims=True))
    logits = features @ fitted.kernel + fitted.bias
    logits = logits - logits.mean(axis=1, keepdims=True)
    nearest = min(np.abs(logits - each).max() for each in expected)
    assert nearest < 0.02 * np.abs(logits).max()
    assert np.mean(fitted.predict(features) == labels) > 0.7


def test_what_is_no_number_is_not_fitted():
    features, labels = made_features(3)
    features[5, 2] = np.nan
    assert fit_logistic(features, labels, 3) is None


def test_a_class_without_pictures_is_never_the_answer():
    features, labels = made_features(3)
    whole = fit_logistic(features, labels, 3)
    renamed = np.array([0, 2, 4])[labels]
    fitted = fit_logistic(features, renamed, 6)
    assert fitted.kernel.shape == (6, 6)
    np.testing.assert_array_equal(
        fitted.predict(features), np.array([0, 2, 4])[whole.predict(features)]
    )
    alone = fit_logistic(features, np.full(len(features), 2), 4)
    assert set(alone.predict(features)) == {2}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    keras.utils.set_random_seed(3)
    classifier(perturbed=False).save(folder / "own.keras")
    write_pictures(folder / "pictures")
    return folder


def ask(folder, *names, **settings):
    facts = {"steps": 6, "batch_size": 8, "validations": 3, "metrics_every": 3, "scratch": False,
             "fit_head": True, "augment": False}  # fmt: skip
    pictures = f"folder:{folder / 'pictures'}"
    return ask_donor(folder / "own.keras", *names, dataset=pictures, **facts | settings)


def test_the_head_is_the_fit_to_the_donors_features(given, tmp_path):
    names = ("A3B", "A2B", "A3B+")
    experiment = ask(given, *names, head_first=True, transferred_learning_rate=1e-12)
    data, workdir = read_data(experiment), Workdir(tmp_path / "run")
    groups = [set(group.names) for group in plan_experiment(experiment, data.pair.tasks)]
    assert {"A3B"} in groups
    run_experiment(experiment, workdir, log=lambda _: None, data=data)

    donor = keras.saving.load_model(given / "own.keras")
    features = keras.Model(donor.input, donor.get_layer("f1").output)
    (train, labels), (test, truth) = (
        next(iter(part["B"].evaluation(batch_size=1000))) for part in (data.train, data.test)
    )
    inputs = features(train.numpy().astype("float32")).numpy()
    fitted = fit_logistic(inputs, labels.numpy(), 3)
    for name in ("A3B", "A3B+"):  # That at no rate to speak of begins with it.
        network = keras.saving.load_model(workdir.network_path(name))
        out = network.get_layer("out")
        np.testing.assert_allclose(out.kernel, fitted.kernel, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(out.bias, fitted.bias, rtol=1e-3, atol=1e-4)
    answers = fitted.predict(features(test.numpy().astype("float32")).numpy())
    label, predicted = workdir.predictions("A3B")
    np.testing.assert_array_equal(label, truth)
    np.testing.assert_array_equal(predicted, answers)
    rows = {name: workdir.row(name) for name in names}
    assert rows["A3B"].outcome == "trained"
    assert {name: row.steps for name, row in rows.items()} == {"A3B": 1, "A2B": 6, "A3B+": 6}
    assert {name: row.fitted for name, row in rows.items()} == {
        "A3B": True, "A2B": False, "A3B+": False,
    }  # fmt: skip
    assert "fit_head" not in ask(given, "A3B", fit_head=False).identity


@pytest.mark.parametrize("fit_head", [True, False])
def test_a_linear_classifier_stands_on_the_lower_units_alone(given, tmp_path, fit_head):
    """By the donor's own features, averaged, and the fit to them; or trained step by step."""
    names = ("A1B-linear", "A2B-linear", "A3B")
    experiment = ask(given, *names, fit_head=fit_head, steps=60, probes=True)
    data, workdir = read_data(experiment), Workdir(tmp_path / "run")
    groups = [set(group.names) for group in plan_experiment(experiment, data.pair.tasks)]
    assert groups == [{"A1B-linear", "A2B-linear", "A3B"}]  # One pass for all.
    run_experiment(experiment, workdir, log=lambda _: None, data=data)

    donor = keras.saving.load_model(given / "own.keras")
    (train, labels), (test, _) = (
        next(iter(part["B"].evaluation(batch_size=1000))) for part in (data.train, data.test)
    )
    for n in (1, 2):
        lower = surgery.lower(surgery.logits(donor), n)
        pool = pool_features(lower.output)
        of_train, of_test = (
            pool(lower(images.numpy().astype("float32"))).numpy() for images in (train, test)
        )
        network = keras.saving.load_model(workdir.network_path(f"A{n}B-linear"))
        kernel, bias = network.layers[-1].get_weights()
        assert [x.shape for x in (kernel, bias)] == [(of_train.shape[1], 3), (3,)]
        upper = {layer.name for unit in surgery.units(donor)[n:] for layer in unit.layers}
        assert not upper & {layer.name for layer in network.layers}
        if fit_head:
            fitted = fit_logistic(of_train, labels.numpy(), 3)
            np.testing.assert_allclose(kernel, fitted.kernel, rtol=1e-3, atol=1e-4)
        row = workdir.row(f"A{n}B-linear")
        donors_units = [unit.name for unit in surgery.units(donor)]
        assert list(row.probes) == [*donors_units[:n], "linear"][: len(row.probes)]
        assert (row.mode, row.fitted) == ("linear", fit_head)
        assert row.trainable_parameters == kernel.size + 3
        _, predicted = workdir.predictions(f"A{n}B-linear")
        np.testing.assert_array_equal(predicted, (of_test @ kernel + bias).argmax(axis=1))


def test_classes_that_count_the_same(given, tmp_path):
    """With balanced weights the fit is another."""
    biases = []
    for path in sorted((given / "pictures" / "left").iterdir())[:7]:
        path.rename(tmp_path / path.name)
    for weights in ("none", "balanced"):
        experiment, workdir = ask(given, "A3B", class_weights=weights), Workdir(tmp_path / weights)
        run_experiment(experiment, workdir, log=lambda _: None)
        network = keras.saving.load_model(workdir.network_path("A3B"))
        biases.append(np.array(network.get_layer("out").bias))
    for path in tmp_path.glob("*.png"):
        path.rename(given / "pictures" / "left" / path.name)
    assert biases[1][0] - biases[1][1:].mean() > biases[0][0] - biases[0][1:].mean()


def test_a_head_that_is_no_dense_layer_cannot_be_fitted(given, tmp_path):
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3, name="c1")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3, name="c2")(x))
    x = keras.layers.Dense(3, use_bias=False, name="out")(x)
    keras.Model(inputs, x).save(given / "bare.keras")
    pictures = f"folder:{given / 'pictures'}"
    experiment = ask_donor(
        given / "bare.keras", "A2B", dataset=pictures, steps=2, batch_size=8, metrics_every=0,
        fit_head=True, scratch=False, donor_pixels="0..255",
    )  # fmt: skip
    assert not may_fit_head(experiment)
    assert may_fit_head(ask(given, "A3B"))
    with pytest.raises(UserError, match="--fit_head: the last unit of A2B is not one Dense layer"):
        run_experiment(experiment, Workdir(tmp_path / "run"), log=lambda _: None)


def test_what_moves_below_the_head_is_not_fitted_on(given, monkeypatch):
    assert may_fit_head(ask(given, "A3B"))
    for batch_norm in ("train", "statistics_frozen"):
        assert not may_fit_head(ask(given, "A3B+", batch_norm=batch_norm))
    experiment = ask(given, "A3B")
    kind = type(experiment.architecture)
    monkeypatch.setattr(kind, "why_not", lambda _, n, mode: "no" if mode == "frozen" else None)
    assert not may_fit_head(experiment)


def test_the_time_is_estimated_with_settings_that_a_short_training_has_not(given, tmp_path):
    experiment = ask(given, "A3B", "A2B", fit_head=True, early_stopping=2,
                     early_stopping_split=0.3, scratch=False)  # fmt: skip
    logged = []
    estimate_sweep([experiment], tmp_path / "study", log=logged.append)
    assert "2 networks in 1 passes" in "\n".join(logged)


def test_a_fitted_head_is_judged_by_all_that_it_was_fitted_to(given, tmp_path):
    experiment, workdir = ask(given, "A3B", steps=40), Workdir(tmp_path / "run")
    data = read_data(experiment)
    run_experiment(experiment, workdir, log=lambda _: None, data=data)
    network = keras.saving.load_model(workdir.network_path("A3B"))
    ((images, labels),) = data.train["B"].evaluation(batch_size=1000)
    logits = network.predict_on_batch(images.numpy().astype("float32"))
    losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    assert workdir.row("A3B").training_loss == pytest.approx(losses.mean(), rel=1e-4)
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert [norm.momentum for norm in norms] == [pytest.approx(0.75)] * 2  # As with 40 steps.
