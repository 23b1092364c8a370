"""What TensorBoard shows of a small experiment, against NumPy and Keras."""

import dataclasses
import html
import io
import json
import os
import re
import shutil
import urllib.parse
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.cka_oracle import oracle
from support.event_files import read
from support.tensorboard_server import serving, until
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.custom_scalar import layout_pb2

from transfer_keras.config import make_experiment
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.experiments import tensorboard
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.data import read_data
from transfer_keras.experiments.group_networks import donor_network, treatment_network
from transfer_keras.experiments.run import run_experiment
from transfer_keras.experiments.unit_sources import TrainedBases
from transfer_keras.results import Workdir

NAMES = ["A2B", "B2B+", "R3B"]
EVERYONE = ["baseA", "baseB", *NAMES]
UNITS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
ENDS = dict(zip(UNITS, ["conv1_pool", "conv2_pool", "conv3_relu", "conv4_relu", "flatten",
                        "fc6_relu", "fc7_relu", "fc8"], strict=True))  # fmt: skip
STEPS = 4
BATCH = 32  # Of tests: two whole ones and a rest of 26.


@pytest.fixture(scope="module")
def settings(data_dir):
    return make_experiment(
        tuple(map(parse_treatment, NAMES)),
        network="alexnet_small",
        dataset="formula_images/6x150x32",
        data_dir=data_dir,
        steps=STEPS,
        batch_size=8,
        validations=2,
        metrics_every=1,
    )


@pytest.fixture(scope="module")
def data(settings):
    return read_data(settings)


@pytest.fixture(scope="module")
def workdir(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dashboard") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainedBases, "test_batch", BATCH)
        run_experiment(settings, Workdir(folder), log=lambda _: None)
    return folder


@pytest.fixture(scope="module")
def runs(workdir):
    return {path.name: read(path) for path in workdir.iterdir() if list(path.glob("events.*"))}


def network(workdir, name):
    return keras.saving.load_model(Workdir(workdir).network_path(name))


@pytest.fixture(scope="module")
def networks(workdir):
    return {name: network(workdir, name) for name in EVERYONE}


def before_training(settings, workdir, data, name):
    """Makes the network as it was before its first step."""
    treatment = parse_treatment(name)
    run = Run(settings, Workdir(workdir), data, devices=None)
    return treatment_network(run, treatment, donor_network(run, treatment))


def kernels(model):
    return {unit: model.get_layer(unit).kernel.numpy().astype(np.float64) for unit in UNITS}


def answers(model, images):
    """Gives the output of every unit by its name, from Keras alone."""
    outputs = keras.Model(model.input, {u: model.get_layer(end).output for u, end in ENDS.items()})
    tensors = outputs(images.astype(np.float32), training=False)
    return {unit: value.numpy().astype(np.float64) for unit, value in tensors.items()}


def last(run, tag):
    step, value = run[tag][-1]
    assert step == STEPS
    return value


def test_runs_and_tags(runs):
    assert sorted(runs) == sorted([*EVERYONE, "curve", "experiment"])
    metrics = {"weight_norm", "distance_from_initial", "activation_mean", "activation_std",
               "dead_fraction", "weights"}  # fmt: skip
    trained = {"gradient_norm", "update_ratio"}
    for name in EVERYONE:
        treatment = parse_treatment(name)
        expected = {"conv1/filters", "confusion", "outcome", "result/top1"}
        expected |= {f"{s}/{k}" for s in ("loss", "accuracy") for k in ("training", "validation")}
        expected |= {"gradient_norm/training", "_hparams_/session_start_info"}
        expected |= {"result/difference_from_base", "result/last_gain"}
        for number, unit in enumerate(UNITS, 1):
            frozen = number <= treatment.n and not treatment.fine_tune
            own = metrics | (set() if frozen else trained)
            own |= {"distance_from_transferred"} if number <= treatment.n else set()
            own |= {"cka_donor", "cka_base"} if treatment.donor else set()
            expected |= {f"{unit}/{metric}" for metric in own}
        assert set(runs[name]) == expected, name
        measured = [0, 1, 2, 3, 4]
        assert [step for step, _ in runs[name]["conv3/weight_norm"]] == measured
        assert [step for step, _ in runs[name]["conv1/filters"]] == measured
        assert [step for step, _ in runs[name]["fc8/gradient_norm"]] == measured[1:]
        assert [step for step, _ in runs[name]["loss/validation"]] == [2, 4]


def test_how_far_bases_have_converged(runs):
    for name in EVERYONE:
        (_, half), (_, end) = runs[name]["accuracy/validation"]  # The tests of steps 2 and 4.
        assert last(runs[name], "result/last_gain") == pytest.approx((end - half) / 5)
    (_, text) = runs["curve"]["convergence"][-1]
    for base in ("baseA", "baseB"):
        gain = 100 * last(runs[base], "result/last_gain")
        assert f"{base}: {gain:+.1f} points in the last tenth of its training" in str(text)


@pytest.mark.parametrize("name", EVERYONE)
def test_weights(settings, workdir, data, runs, networks, name):
    now = kernels(networks[name])
    start = kernels(before_training(settings, workdir, data, name))
    donor = kernels(networks[f"base{name[0]}"]) if name[0] in "AB" else start
    treatment = parse_treatment(name)
    for number, unit in enumerate(UNITS, 1):
        norm = np.sqrt((now[unit] ** 2).sum())
        assert last(runs[name], f"{unit}/weight_norm") == pytest.approx(norm, rel=1e-5)
        distance = last(runs[name], f"{unit}/distance_from_initial")
        moved = np.sqrt(((now[unit] - start[unit]) ** 2).sum() / (start[unit] ** 2).sum())
        assert distance == pytest.approx(moved, rel=1e-4)
        counts = last(runs[name], f"{unit}/weights")
        assert counts[:, 2].sum() == now[unit].size
        edges = [*counts[:, 0], counts[-1, 1]]
        assert counts[:, 2].tolist() == np.histogram(now[unit], edges)[0].tolist()
        if number <= treatment.n:
            given = np.sqrt(((now[unit] - donor[unit]) ** 2).sum() / (donor[unit] ** 2).sum())
            from_donor = last(runs[name], f"{unit}/distance_from_transferred")
            assert from_donor == pytest.approx(given, rel=1e-4)
            if treatment.fine_tune:
                assert from_donor > 0
            else:  # Frozen: at every measurement, and exactly.
                assert {v for _, v in runs[name][f"{unit}/distance_from_transferred"]} == {0.0}
        else:
            assert distance > 0


@pytest.mark.parametrize("name", ["baseB", "A2B", "B2B+"])
def test_the_first_step(settings, workdir, data, runs, name):
    """Gradients by a tape on the network alone; the update of Adam by hand."""
    model = before_training(settings, workdir, data, name)
    images, labels = next(iter(data.train["B"].training(batch_size=8, seed=0)))
    with tf.GradientTape() as tape:
        logits = model(tf.cast(images, tf.float32), training=True)
        entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    variables = model.trainable_variables
    gradients = {v.path: g.numpy() for v, g in zip(variables, tape.gradient(entropy, variables),
                                                   strict=True)}  # fmt: skip
    everything = np.sqrt(sum((g.astype(float) ** 2).sum() for g in gradients.values()))
    assert runs[name]["gradient_norm/training"][0] == (1, pytest.approx(everything, rel=1e-4))
    for unit in UNITS[parse_treatment(name).n if not parse_treatment(name).fine_tune else 0 :]:
        kernel = model.get_layer(unit).kernel
        gradient = gradients[kernel.path].astype(np.float64)
        norm = np.sqrt((gradient**2).sum())
        assert runs[name][f"{unit}/gradient_norm"][0] == (1, pytest.approx(norm, rel=1e-4))
        # Kingma and Ba (2015), algorithm 1 at t=1: both moments are the gradient's own.
        step = (
            settings.training.learning_rate * gradient / (np.abs(gradient) + 1e-7 / np.sqrt(1e-3))
        )
        ratio = np.sqrt((step**2).sum() / (kernel.numpy().astype(float) ** 2).sum())
        assert runs[name][f"{unit}/update_ratio"][0] == (1, pytest.approx(ratio, rel=1e-3))


@pytest.mark.parametrize("name", EVERYONE)
def test_activations_and_cka(settings, workdir, data, runs, networks, name):
    treatment = parse_treatment(name)
    images = data.test[treatment.target].images
    own = answers(networks[name], images)
    compared = {}
    if treatment.donor:
        run = Run(settings, Workdir(workdir), data, devices=None)
        donor = networks.get(f"base{treatment.donor}") or donor_network(run, treatment)
        compared = {"donor": answers(donor, images), "base": answers(networks["baseB"], images)}
    for unit in UNITS:
        values = own[unit]
        run = runs[name]
        assert last(run, f"{unit}/activation_mean") == pytest.approx(values.mean(), rel=1e-4)
        assert last(run, f"{unit}/activation_std") == pytest.approx(values.std(), rel=1e-4)
        channels = values.reshape(-1, values.shape[-1])
        dead = (channels == channels[:1]).all(axis=0).mean()
        assert last(run, f"{unit}/dead_fraction") == pytest.approx(dead)
        for key, other in compared.items():
            expected = max(0.0, oracle(values, other[unit], BATCH))
            assert last(run, f"{unit}/cka_{key}") == pytest.approx(expected, abs=1e-4)


def test_cka_of_what_is_the_same(runs):
    assert 0 < last(runs["A2B"], "conv2/cka_base") < 0.99
    assert last(runs["A2B"], "fc8/cka_donor") < 0.99
    assert runs["B2B+"]["conv1/cka_donor"][0] == (0, pytest.approx(1.0))


def picture(run, tag):
    return np.asarray(Image.open(io.BytesIO(run[tag][-1][1][2])).convert("RGB"))


def test_pictures(runs, networks):
    for name in EVERYONE:
        kernel = networks[name].get_layer("conv1").kernel.numpy()
        first = kernel[..., 0]
        expected = np.round(255 * (first - first.min()) / (first.max() - first.min()))
        shown = picture(runs[name], "conv1/filters")
        assert np.array_equal(shown[1:31:6, 1:31:6], expected)
        assert picture(runs[name], "confusion").shape[2] == 3
    frozen = [value for _, value in runs["A2B"]["conv1/filters"]]
    assert all(np.array_equal(value, frozen[0]) for value in frozen)


def test_curve(runs, workdir):
    top1 = {name: Workdir(workdir).row(name).top1 for name in EVERYONE}
    curves = {tag: dict(points) for tag, points in runs["curve"].items() if tag.startswith("top1/")}
    base = top1["baseB"]
    assert curves == {
        "top1/AnB": pytest.approx({0: base, 2: top1["A2B"]}),
        "top1/BnB+": pytest.approx({0: base, 2: top1["B2B+"]}),
        "top1/RnB": pytest.approx({0: base, 3: top1["R3B"]}),
    }
    shown = np.asarray(Image.open(workdir / "curve.png").convert("RGB"))
    assert np.array_equal(picture(runs["curve"], "transfer_curve"), shown)


def test_the_page_and_the_layout(runs, settings):
    page = runs["experiment"]["experiment"][0][1].item().decode()
    expected = ["formula_images/6x150x32", "tensorflow", "contour_02", "learning_rate"]
    for text in [settings.title, "A2B, B2B+, R3B", *expected]:
        assert text in page, text
    proto = layout_pb2.Layout.FromString(
        runs["experiment"]["custom_scalars__config__"][0][1].item()
    )
    charts = {chart.title: list(chart.multiline.tag) for c in proto.category for chart in c.chart}
    assert charts["update_ratio"] == [f"^{unit}/update_ratio$" for unit in UNITS]
    assert charts["cka_donor"] == [f"^{unit}/cka_donor$" for unit in UNITS]
    assert r"^top1/AnB\+$" in charts["top-1"]


def change_result(workdir, name):
    label, predicted = workdir.predictions(name)
    row = dataclasses.replace(workdir.row(name), loss=0.125)
    workdir.write_predictions(name, {"label": label, "predicted": predicted}, row.loss)
    workdir.write_row(row)


def test_a_curve_that_is_missing_or_old_is_drawn_again(settings, workdir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    drawn = copy / "curve.png"
    other = Workdir(copy)
    for spoil, expected in (
        (lambda: None, False),
        (lambda: drawn.unlink(), True),
        (lambda: shutil.rmtree(copy / "curve"), True),
        (lambda: (copy / "A2B" / "row.json").touch(), False),
        (lambda: os.utime(drawn, (2**33, 2**33)), False),
        (lambda: change_result(other, "A2B"), True),
        (lambda: None, False),
    ):
        spoil()
        written = drawn.stat().st_mtime_ns if drawn.exists() else None
        run_experiment(settings, Workdir(copy), log=lambda _: None)
        redrawn = drawn.stat().st_mtime_ns != written
        assert redrawn == expected
        assert read(copy / "curve")["top1/AnB"] == read(workdir / "curve")["top1/AnB"]


@pytest.mark.parametrize("every", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_unit_metrics_change_no_number(settings, workdir, tmp_path, every):
    """The same experiment without unit metrics, and with some at other steps than the tests."""
    run_experiment(settings.replace(metrics_every=every), Workdir(tmp_path), log=lambda _: None)
    tags = read(tmp_path / "A2B")
    assert [step for step, _ in tags.get("conv3/weight_norm", [])] == ([0, 3, 4] if every else [])
    for name in EVERYONE:
        pair = [network(folder, name).get_weights() for folder in (workdir, tmp_path)]
        assert all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
        rows = [dataclasses.asdict(Workdir(f).row(name)) for f in (workdir, tmp_path)]
        for row in rows:
            row.pop("seconds")
        assert rows[0]["top1"] == rows[1]["top1"]
        assert np.array_equal(*(Workdir(f).predictions(name)[1] for f in (workdir, tmp_path)))
        assert rows[0]["training_loss"] == rows[1]["training_loss"]
        assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-6)  # Other batches.


@pytest.fixture(scope="module")
def server(workdir):
    with serving(workdir) as address:
        yield address


def ask(server, path, body=None, **query):
    url = f"{server}/data/{path}?{urllib.parse.urlencode(query)}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_data_server_gives_the_same(server, runs):
    tags = until(
        lambda: len(by_run := ask(server, "plugin/scalars/tags")) == len(EVERYONE) + 1 and by_run,
        "all runs",
    )
    for name in [*EVERYONE, "curve"]:
        scalars = {t for t, points in runs[name].items() if isinstance(points[0][1], float)}
        assert set(tags[name]) == scalars
        for tag in scalars:
            points = ask(server, "plugin/scalars/scalars", run=name, tag=tag)
            assert [(step, value) for _, step, value in points] == runs[name][tag], (name, tag)
    images = ask(server, "plugin/images/tags")
    assert set(images["A2B"]) == {"conv1/filters", "confusion"}
    assert set(images["curve"]) == {"transfer_curve"}
    histograms = ask(server, "plugin/histograms/tags")
    assert set(histograms["A2B"]) == {f"{unit}/weights" for unit in UNITS}
    assert set(ask(server, "plugin/text/tags")["experiment"]) == {"experiment"}
    layout = ask(server, "plugin/custom_scalars/layout")
    assert [category["title"][:5] for category in layout["category"]] == ["Units", "Score", "Trans"]


def test_hparams(server, workdir):
    statuses = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
    body = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 100}
    experiment = ask(server, "plugin/hparams/experiment", {"experimentName": ""})
    columns = [info["name"] for info in experiment["hparamInfos"]]
    assert set(columns) == {"donor", "n", "target", "mode", "split", "seed", "examples_per_class"}
    metrics = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert metrics == ["result/top1", "result/difference_from_base"]
    body["colParams"] = [{"hparam": name} for name in columns]
    body["colParams"] += [{"metric": {"group": "", "tag": tag}} for tag in metrics]
    groups = ask(server, "plugin/hparams/session_groups", body)["sessionGroups"]
    by_name = {group["name"].split(" of ")[0]: group for group in groups}
    assert sorted(by_name) == sorted(EVERYONE)
    for name, group in by_name.items():
        row = Workdir(workdir).row(name)
        settings = {key: group["hparams"][key] for key in columns}
        expected = {"donor": row.donor or "none", "n": row.n, "target": row.target}
        expected |= {"mode": row.mode, "split": "0", "seed": 0, "examples_per_class": 0}
        assert settings == expected
        values = {m["name"]["tag"]: m["value"] for m in group["metricValues"]}
        assert values["result/top1"] == pytest.approx(row.top1)
        base = Workdir(workdir).row(f"base{row.target}").top1
        assert values["result/difference_from_base"] == pytest.approx(row.top1 - base)


def test_names_are_text_on_the_page():
    """What TensorBoard makes of the page has no tag of a name."""
    name = "<img src=http://x onerror=alert(1)>|`[a](javascript:alert(1))"
    table = tensorboard._markdown_table({name: name})
    page = markdown_to_safe_html(table)
    assert not set(re.findall(r"<(\w+)", page)) & {"img", "a", "code"}
    assert html.unescape(page).count(name) == 2
