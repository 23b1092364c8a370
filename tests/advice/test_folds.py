"""Advice by cross-validation: each network is trained once a fold, and tested on all pictures."""

import re
import time

import keras
import numpy as np
import pytest
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures

from transfer_keras.advice import search
from transfer_keras.advice.budget import Budget
from transfer_keras.advice.folds import FoldData, fold_experiments
from transfer_keras.advice.stages import treatment_of
from transfer_keras.experiments import read_data
from transfer_keras.results import Workdir, mean_top1, page, read_study

FOLDS = 3


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advised")
    write_pictures(folder / "pictures")
    classifier(perturbed=False).save(folder / "own.keras")
    experiment = ask_donor(
        folder / "own.keras", "baseB", dataset=f"folder:{folder / 'pictures'}", folds=FOLDS,
        steps=24, batch_size=8, validations=2, metrics_every=0, learning_rate=0.01,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:  # All is in question.
        patch.setattr(search, "contenders", lambda runs, than: list(mean_top1(runs)))
        return experiment, folder, run(experiment, folder / "advice")


def run(experiment, folder, *, seeds=2):
    logged = []
    search.advise(
        experiment, folder, Budget(1e6, time.monotonic(), seeds),
        fixed=["steps", "learning_rate", "transferred_learning_rate", "scratch"],
        flags=lambda experiment, workdir: "", log=logged.append,
    )  # fmt: skip
    return "\n".join(logged)


def test_each_seed_has_all_folds_and_each_fold_other_pictures(advised):
    _, folder, log = advised
    assert ", 12 to validate, in each of 3 folds." in log
    workdirs = {path.name: Workdir(path) for path in (folder / "advice").glob("split*")}
    assert set(workdirs) == {f"splitdonor-seed{k}" for k in range(2 * FOLDS)}
    for seed in range(2):
        done = [set(workdirs[f"splitdonor-seed{FOLDS * seed + k}"].done) for k in range(FOLDS)]
        assert done[0] == done[1] == done[2]
        assert "baseB" in done[0]
        assert seed or "A3B" in done[0]
    (runs,) = read_study(folder / "advice").runs.values()
    for _, seed, role, result in runs.networks():
        assert len(result.right) == 36, (seed, role)


def test_what_is_said_is_of_all_pictures(advised):
    _, folder, log = advised
    right = {}
    for k in range(FOLDS):
        workdir = Workdir(folder / "advice" / f"splitdonor-seed{k}")
        for name in workdir.done:
            label, predicted = workdir.predictions(name)
            right.setdefault(name, []).extend(label == predicted)
    first = re.search(r"After \S+ \w+: frozen at n = 2, 1: ([\d., ]+)\. Best", log)[1]
    assert first.split(", ") == [f"{np.mean(right[f'A{n}B']):.3f}" for n in (2, 1)]
    (runs,) = read_study(folder / "advice").runs.values()
    for _, seed, role, result in runs.networks():
        if seed == 0:
            name = treatment_of(role).name
            assert result.top1 == pytest.approx(np.mean(right[name]))


def test_the_network_is_that_of_a_fold_and_the_card_says_so(advised):
    _, folder, log = advised
    card = (folder / "advice" / "MODEL_CARD.md").read_text()
    basis = "each network trained 3 times, each time tested on another part of the pictures"
    assert basis in card
    assert basis in log
    assert "This network is the first of its folds |" in card
    name = re.search(r"^# (\S+) of own$", card, re.MULTILINE)[1]
    seed = int(re.search(r"- `seed`: (\d+)", card)[1])
    assert seed % FOLDS == 0
    best = keras.saving.load_model(folder / "advice" / "best.keras")
    own = keras.saving.load_model(
        Workdir(folder / "advice" / f"splitdonor-seed{seed}").network_path(name)
    )
    for value, expected in zip(best.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_run_again_it_goes_on_where_it_was(advised):
    experiment, folder, _ = advised
    networks = list((folder / "advice").glob("split*/*/network.keras"))
    before = {path: path.stat().st_mtime_ns for path in networks}
    assert len(before) >= 2 * FOLDS
    run(experiment, folder / "advice")
    networks = list((folder / "advice").glob("split*/*/network.keras"))
    assert {path: path.stat().st_mtime_ns for path in networks} == before


def test_a_fold_by_itself_and_folds_that_are_not_all_there(advised, tmp_path):
    _, folder, _ = advised
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "splitdonor-seed1").symlink_to(folder / "advice" / "splitdonor-seed1")
    (runs,) = read_study(alone).runs.values()
    assert {len(result.right) for *_, result in runs.networks()} == {12}
    (alone / "splitdonor-seed0").symlink_to(folder / "advice" / "splitdonor-seed0")
    assert read_study(alone).runs == {}
    page.write_report(alone, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").exists()


def test_features_are_kept_of_one_fold_at_a_time(advised):
    experiment, *_ = advised
    folds = fold_experiments(experiment)
    data = FoldData(read_data(folds[0]))
    first = data.of(folds[0])
    assert data.of(folds[0]) is first
    second = data.of(folds[1])
    assert second.test["B"].digest != first.test["B"].digest
    again = data.of(folds[0])
    assert again.features is not first.features
    assert again.train is first.train
