"""Linear probes against scikit-free oracles: SciPy's own minimiser on the same features."""

import keras
import numpy as np
import pytest
from scipy import optimize, special
from support.event_files import read

from transfer_keras.config import Interrupted, make_experiment
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.experiments.probes import probe_accuracies
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir
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
    accuracies = probe_accuracies(model, 3, train, test, seed=0, mean=None, stop=Stop())
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


def test_a_function_of_its_arguments():
    accuracies = [
        probe_accuracies(network(), 3, task(300, 0), task(90, 1), seed=s, mean=None, stop=Stop())
        for s in (0, 0)
    ]
    assert accuracies[0] == accuracies[1]


def test_a_stop():
    stop = Stop()
    stop.signalled = True
    with pytest.raises(Interrupted, match="the linear probes of A1B"):
        probe_accuracies(network(), 3, task(300, 0), task(90, 1), seed=0, mean=None, stop=stop)


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
