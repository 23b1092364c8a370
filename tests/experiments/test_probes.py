"""Linear probes against SciPy's own minimiser on the same features."""

import keras
import numpy as np
import pytest
from scipy import optimize, special
from support.event_files import read
from support.rows import make_row

from transfer_keras.config import Interrupted, Treatment, make_experiment
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.experiments import logistic as fits
from transfer_keras.experiments import probes
from transfer_keras.experiments.probes import probe_accuracies
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir, summary
from transfer_keras.training.signals import Stop

CUT = Preprocessing(4, 4)


def task(count, seed):
    """Makes pictures whose class is in the means of the channels, and noise; classes 0 to 2."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.int32)
    images = rng.normal(120, 30, (count, 4, 4, 3))
    images += 25 * np.eye(3)[labels][:, None, None]
    images = images.clip(0, 255).astype(np.uint8)
    return Examples(images, labels, np.arange(count), CUT)


def network():
    """Builds a unit that keeps everything and one that is blind; dropout and BatchNorm between."""
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(8, 1, name="keeps", kernel_initializer=keras.initializers.HeNormal(3))(
        keras.layers.Rescaling(1 / 64, offset=-2)(inputs)
    )
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Flatten()(keras.layers.Dropout(0.9)(x))
    x = keras.layers.Dense(5, activation="relu", kernel_initializer="zeros", name="blind")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="last")(x), name="A1B")


def logistic(x, labels):
    """Fits a logistic regression by L-BFGS; gives a function from features to classes."""
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    truth = np.eye(3)[labels]

    def loss(flat):
        logits = x @ flat.reshape(-1, 3)
        error = special.softmax(logits, axis=1) - truth
        value = (special.logsumexp(logits, axis=1) - (logits * truth).sum(axis=1)).mean()
        return value, (x.T @ error / len(x)).ravel()

    weights = optimize.minimize(loss, np.zeros(x.shape[1] * 3), jac=True).x.reshape(-1, 3)
    return lambda z: (z @ weights[:-1] + weights[-1]).argmax(axis=1)


def test_against_logistic_regression_by_scipy():
    train, test, model = task(3000, 0), task(600, 1), network()
    before = [w.numpy() for w in model.weights]
    accuracies = probe_accuracies(model, train, test, seed=0, stop=Stop())
    assert list(accuracies) == ["keeps", "blind", "last"]
    outputs = keras.Model(model.input, model.get_layer("norm").output)

    def features(images):
        return outputs(images.astype(np.float32), training=False).numpy().reshape(len(images), -1)

    predicted = logistic(features(train.images), train.labels)(features(test.images))
    expected = (predicted == test.labels).mean()
    assert 0.6 < expected < 0.99
    assert accuracies["keeps"] == pytest.approx(expected, abs=0.03)
    most = np.bincount(test.labels).max() / len(test)
    assert accuracies["blind"] <= most
    assert accuracies["last"] <= most
    for weight, old in zip(model.weights, before, strict=True):
        assert np.array_equal(weight.numpy(), old)


def test_few_pictures_are_fitted_to_the_end():
    """A convex problem has one solution, whatever the number of pictures is."""
    train, test, model = task(160, 0), task(600, 1), network()
    accuracy = probe_accuracies(model, train, test, seed=0, stop=Stop())["keeps"]
    outputs = keras.Model(model.input, model.get_layer("norm").output)
    x, z = (
        outputs(e.images.astype(np.float32), training=False).numpy().reshape(len(e), -1)
        for e in (train, test)
    )
    mean, spread = x.mean(axis=0), x.std(axis=0)
    x, z = (x - mean) / spread, (z - mean) / spread
    fifth = np.zeros(len(x), bool)
    for label in range(3):
        fifth[np.flatnonzero(train.labels == label)[4::5]] = True
    losses = []
    for strength in np.logspace(-4, 0, 5):
        # The penalty of the others alone, whose means and spreads differ a little.
        others = x[~fifth]
        center, scale = others.mean(axis=0), others.std(axis=0)
        fitted = penalised((others - center) / scale, train.labels[~fifth], strength)
        losses.append(fitted((x[fifth] - center) / scale, train.labels[fifth])[0])
    best = np.logspace(-4, 0, 5)[np.argmin(losses)]
    expected = penalised(x, train.labels, best)(z, test.labels)[1]
    assert accuracy == pytest.approx(expected, abs=0.005)


def penalised(x, labels, strength):
    """Fits a logistic regression whose kernel is penalised; gives loss and top-1 on others."""
    truth, width = np.eye(3)[labels], x.shape[1]

    def loss(flat):
        kernel, bias = flat[:-3].reshape(width, 3), flat[-3:]
        logits = x @ kernel + bias
        error = special.softmax(logits, axis=1) - truth
        nats = (special.logsumexp(logits, axis=1) - (logits * truth).sum(axis=1)).sum()
        gradient = [(strength * x.T @ error + kernel).ravel(), strength * error.sum(axis=0)]
        return strength * nats + (kernel**2).sum() / 2, np.concatenate(gradient)

    flat = optimize.minimize(loss, np.zeros(3 * width + 3), jac=True, method="L-BFGS-B").x
    kernel, bias = flat[:-3].reshape(width, 3), flat[-3:]

    def score(z, answers):
        logits = z @ kernel + bias
        nats = special.logsumexp(logits, axis=1) - logits[np.arange(len(z)), answers]
        return nats.mean(), (logits.argmax(axis=1) == answers).mean()

    return score


def test_features_that_are_no_number(tmp_path):
    """A network that diverged has a row all the same."""
    model = network()
    kernel = model.get_layer("keeps").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    found = probe_accuracies(model, task(90, 0), task(30, 1), seed=0, stop=Stop())
    assert found["keeps"] is None
    row = make_row(treatment="baseB", probes=found)
    Workdir(tmp_path).write_row(row)
    assert Workdir(tmp_path).row("baseB").probes == found
    assert " nan " in summary.probe_table(Workdir(tmp_path), [Treatment("B")])


def test_pictures_of_one_class():
    one = task(90, 0)
    alone = Examples(one.images, np.zeros(90, np.int32), np.arange(90), CUT)
    test = task(60, 1)
    share = (test.labels == 0).mean()
    assert probe_accuracies(network(), alone, test, seed=0, stop=Stop())["keeps"] == share


def test_many_pictures_are_drawn(monkeypatch):
    monkeypatch.setattr(fits, "_MOST_PICTURES", 100)
    some = [fits.choose_pictures(1000, seed) for seed in (0, 0, 1)]
    assert np.array_equal(some[0], some[1])
    assert not np.array_equal(some[0], some[2])
    assert len(set(some[0])) == 100
    assert np.array_equal(fits.choose_pictures(80, 0), np.arange(80))
    few = probe_accuracies(network(), task(1000, 0), task(90, 1), seed=0, stop=Stop())
    alone = task(1000, 0)
    chosen = Examples(alone.images[some[0]], alone.labels[some[0]], np.arange(100), CUT)
    assert few == probe_accuracies(network(), chosen, task(90, 1), seed=0, stop=Stop())


def test_units_in_several_passes(monkeypatch):
    once = probe_accuracies(network(), task(300, 0), task(90, 1), seed=0, stop=Stop())
    monkeypatch.setattr(probes, "_FEATURE_BYTES", 1)
    assert probe_accuracies(network(), task(300, 0), task(90, 1), seed=0, stop=Stop()) == once


def test_a_function_of_its_arguments():
    accuracies = [
        probe_accuracies(network(), task(300, 0), task(90, 1), seed=s, stop=Stop()) for s in (0, 0)
    ]
    assert accuracies[0] == accuracies[1]


def test_a_stop():
    stop = Stop()
    stop.signalled = True
    with pytest.raises(Interrupted, match="the linear probes of A1B"):
        probe_accuracies(network(), task(300, 0), task(90, 1), seed=0, stop=stop)


def test_in_rows_and_in_tensorboard_also_of_networks_that_are_done(data_dir, tmp_path):
    settings = {"dataset": "formula_images/6x30x32", "data_dir": data_dir, "steps": 3}
    settings |= {"batch_size": 8, "validations": 1, "metrics_every": 0}
    without = make_experiment(["baseB"], **settings)
    probed = without.replace(probes=True)
    run_experiment(without, Workdir(tmp_path), log=lambda _: None)
    row = Workdir(tmp_path).row("baseB")
    assert row.probes is None
    before = read(tmp_path / "baseB")
    run_experiment(probed, Workdir(tmp_path), log=lambda _: None)
    accuracies = Workdir(tmp_path).row("baseB").probes
    assert list(accuracies) == [
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8",
    ]  # fmt: skip
    now = read(tmp_path / "baseB")
    for unit, top1 in accuracies.items():
        assert now[f"{unit}/probe_accuracy"] == [(4, pytest.approx(top1))]
    assert all(len(now[tag]) == len(points) for tag, points in before.items())
    path = tmp_path / "baseB" / "row.json"
    written = path.stat().st_mtime_ns
    run_experiment(probed, Workdir(tmp_path), log=lambda _: None)
    assert path.stat().st_mtime_ns == written, "probed a second time"
    # Killed before the row was written: the same points once more, and none twice.
    Workdir(tmp_path).write_row(row)
    run_experiment(probed, Workdir(tmp_path), log=lambda _: None)
    again = read(tmp_path / "baseB")
    tags = [tag for tag in now if tag.endswith("probe_accuracy")]
    assert [again[tag] for tag in tags] == [now[tag] for tag in tags]


def test_of_a_linear_classifier_on_units_of_a_base(data_dir, tmp_path):
    """Its network is shorter, and the table puts its classifier under a unit of its own."""
    settings = {"dataset": "formula_images/6x30x32", "data_dir": data_dir, "steps": 3}
    settings |= {"batch_size": 8, "validations": 1, "metrics_every": 2, "probes": True}
    experiment = make_experiment(["A5B-linear"], **settings)
    keras.utils.clear_session()  # Automatic names of layers begin anew.
    workdir = Workdir(tmp_path)
    run_experiment(experiment, workdir, log=lambda _: None)
    units = ["conv1", "conv2", "conv3", "conv4", "conv5"]
    row = workdir.row("A5B-linear")
    assert list(row.probes) == [*units, "linear"]
    assert (row.mode, row.fitted) == ("linear", False)
    table = summary.probe_table(workdir, experiment.all_treatments).splitlines()
    assert table[0].split()[2:] == [*units, "fc6", "fc7", "fc8", "linear"]
    (line,) = [line for line in table if line.startswith("A5B-linear")]
    assert line.endswith(f"{row.probes['linear']:.3f}")
    assert read(tmp_path / "A5B-linear")["linear/probe_accuracy"]
