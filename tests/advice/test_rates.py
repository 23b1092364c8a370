"""The search for the learning rates of advice."""

import dataclasses
import json
import os
import shutil
import signal
import time

import keras
import numpy as np
import pytest
from support.networks import ask as ask_donor
from support.networks import classifier, write_pictures

from transfer_keras.advice import accuracy, rates, search
from transfer_keras.advice.budget import Budget, SearchPlan
from transfer_keras.advice.cost import TrainingCost
from transfer_keras.config import Interrupted, parse_treatment
from transfer_keras.experiments import hold_back, read_data
from transfer_keras.training import Scores, Trial


@pytest.fixture(scope="module", autouse=True)
def few_suffice():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "_FEWEST", 5)
        yield


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    write_pictures(folder / "pictures", each=20)
    classifier(perturbed=False).save(folder / "own.keras")
    experiment = ask_donor(
        folder / "own.keras", "A3B", dataset=f"folder:{folder / 'pictures'}", steps=40,
        batch_size=8, metrics_every=0, scratch=False, head_first=True, views=2, augment=True,
    )  # fmt: skip
    return experiment, read_data(experiment)


def find(asked, *, seconds=600.0, fixed=(), forward=1e-4, logged=None):
    experiment, data = asked
    cost = TrainingCost(0.1, forward, 48, 12, feature_bytes=dict.fromkeys(range(1, 4), 9))
    budget = Budget(seconds, time.monotonic())
    log = ([] if logged is None else logged).append
    return rates.find_rates(experiment, data, budget, cost, fixed=fixed, log=log)[:2]


@pytest.fixture(scope="module")
def found(asked):
    logged = []
    return *find(asked, logged=logged), logged


def test_each_family_gets_a_rate_and_says_why(found):
    settings, lines, logged = found
    ladders = {"learning_rate": rates.NEW, "transferred_learning_rate": rates.TRANSFERRED,
               "scratch_learning_rate": rates.NEW}  # fmt: skip
    assert set(settings) - {"layerwise_decay"} == set(ladders)
    assert list(lines) == logged
    for line, (name, tried) in zip(lines, ladders.items(), strict=True):
        head, first, last = line.replace("; after", "after").split("after ")
        assert head.startswith("Learning rate of ")
        assert "Loss of 9 training pictures that were held back" in head
        losses, later = (
            {pair.rpartition(" ")[0]: float(pair.split()[-1])
             for pair in part.split(": ")[1].rstrip(". ").split(", ")}
            for part in (first, last)
        )  # fmt: skip
        assert list(losses) == [f"{rate:g}" for rate in tried]
        usual = {"transferred_learning_rate": "0.0001"}.get(name, "0.001")
        *better, last = later
        if name == "transferred_learning_rate":
            lowest = min(later[rate] for rate in better)
            assert last.endswith(" times 0.8 a unit")
            assert later[last.split()[0]] == lowest
        else:
            better = list(later)
        best_three = sorted(losses.values())[:3]
        assert [losses[rate] for rate in better[:3]] == best_three
        assert better[3:] == [usual] * (losses[usual] > best_three[-1])
        best, _, why = head.partition(": ")[2].partition(". Loss")[0].partition(", ")
        assert best == usual if why else later[best] == min(later.values())
        assert ("layerwise_decay" in settings) >= ("times" in best)
        assert settings[name] == float(best.split()[0])


def test_what_rates_are_compared_on_is_a_part_of_each_class_to_train_on(asked):
    _, data = asked
    train, back = hold_back(data.train["B"], 0.2)
    assert sorted([*train.numbers, *back.numbers]) == sorted(data.train["B"].numbers)
    assert np.bincount(back.labels).tolist() == [3, 3, 3]
    of_number = dict(zip(data.train["B"].numbers, data.train["B"].labels, strict=True))
    for part in (train, back):
        assert [of_number[number] for number in part.numbers] == part.labels.tolist()


def test_what_is_given_is_not_searched(asked):
    settings, lines = find(asked, fixed=["learning_rate", "layerwise_decay"])
    assert set(settings) == {"learning_rate", "transferred_learning_rate"}
    assert settings["learning_rate"] == asked[0].training.learning_rate
    assert len(lines) == 2
    settings, _ = find(asked, fixed=["transferred_learning_rate", "scratch"])
    assert set(settings) == {"learning_rate"}
    assert find(asked, fixed=["learning_rate", "transferred_learning_rate"]) == ({}, ())


def test_without_time_it_says_so(asked):
    settings, lines = find(asked, seconds=60, forward=1.0)
    assert settings == {}
    assert lines == (
        "No time to search the learning rate of new units: 0.001 is taken.",
        "No time to search the learning rate of transferred units, fine-tuned: 0.0001 is taken.",
    )


def test_each_training_has_the_rate_that_is_said(asked, monkeypatch):
    """The donor's usual rate of transferred units must not enter as a factor."""
    given, search = [], rates.search_rates

    def spy(model, recipe, streams, tried, rungs, **more):
        given.append(recipe.learning_rates)
        norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert all(x.momentum <= 1 - 1 / max(1, 0.1 * rungs[0]) + 1e-9 for x in norms)
        return search(model, recipe, streams, tried, rungs, **more)

    monkeypatch.setattr(rates, "search_rates", spy)
    assert asked[0].training.transferred_learning_rate == 1e-4
    find(asked)
    assert given == [None, None, None]


def test_the_usual_rate_is_left_only_for_one_that_is_surely_better():
    def trial(rate, steps, losses, *, decayed=False):
        losses = np.asarray(losses, float)
        scores = {"A": Scores(losses.mean(), 0.5)}
        return Trial(rate, steps, scores, decayed, losses)

    noisy, low = [1.0, 3.0, 2.0, 2.0], [0.1, 0.2, 0.1, 0.2]
    first = [trial(1e-4, 4, noisy), trial(1e-3, 4, [1.5, 2.4, 2.0, 1.9])]
    assert rates._choose(first, 1e-4).rate == 1e-4
    surely = [*first, trial(1e-2, 4, low)]
    assert rates._choose(surely, 1e-4).rate == 1e-2
    # It ended before the usual rate had its turn in the second rung.
    ended = [*first, trial(1e-3, 8, low)]
    assert rates._choose(ended, 1e-4) is first[0]
    decayed = [trial(1e-4, 8, noisy), trial(1e-4, 8, low, decayed=True)]
    assert rates._choose(decayed, 1e-4).decayed


def test_what_diverges_everywhere_is_not_taken(asked, monkeypatch):
    monkeypatch.setattr(rates, "NEW", (1e38, 2e38))
    settings, lines = find(asked, fixed=["transferred_learning_rate"])
    assert settings == {}
    assert "0.001 is taken" in lines[0]


def test_too_few_pictures_to_hold_any_back(asked, monkeypatch):
    experiment, data = asked
    few = dataclasses.replace(data, train={"B": data.train["B"].part(np.array([0, 20, 40]))})
    too_few = ("Too few pictures to search learning rates with.",)
    assert find((experiment, few)) == ({}, too_few)
    monkeypatch.setattr(rates, "_FEWEST", 25)  # Of the 12 that are held back.
    assert find(asked) == ({}, too_few)


def test_a_signal_ends_it(asked, monkeypatch):
    def search(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        return []

    monkeypatch.setattr(rates, "search_rates", search)
    with pytest.raises(Interrupted, match="the search for learning rates"):
        find(asked)


def test_rates_are_searched_once_and_test_is_opened_at_the_end(tmp_path, monkeypatch):
    """What was found is in the plan, the card and the page; what is in test/ is on the card."""
    write_pictures(tmp_path / "all", each=20)
    for split, places in (("train", slice(12)), ("val", slice(12, 16)), ("test", slice(16, 20))):
        for label in (tmp_path / "all").iterdir():
            (tmp_path / "set" / split / label.name).mkdir(parents=True)
            for path in sorted(label.iterdir())[places]:
                shutil.copy(path, tmp_path / "set" / split / label.name)
    classifier(perturbed=False).save(tmp_path / "own.keras")
    experiment = ask_donor(
        tmp_path / "own.keras", "baseB", dataset=f"folder:{tmp_path / 'set'}", steps=12,
        batch_size=8, validations=2, metrics_every=0,
    )  # fmt: skip
    advice = tmp_path / "advice"
    opened = []
    measure = accuracy.accuracy_on_held_out
    monkeypatch.setattr(
        accuracy, "accuracy_on_held_out", lambda *x: opened.append(1) or measure(*x)
    )

    def run():
        logged = []
        search.advise(
            experiment, advice, Budget(1e6, time.monotonic(), seeds=1), fixed=["steps"],
            flags=lambda experiment, workdir: "", log=logged.append,
        )  # fmt: skip
        return "\n".join(logged)

    log = run()
    assert "12 pictures in test/ are tested on once, at the end." in log
    plan = SearchPlan.read(advice)
    of_families = {f"{kind}learning_rate" for kind in ("", "transferred_", "scratch_")}
    assert set(plan.rates) - {"layerwise_decay"} == of_families
    assert plan.head_first
    facts = json.loads((advice / "splitdonor-seed0" / "experiment.json").read_text())["settings"]
    assert {name: facts[name] for name in plan.rates} == plan.rates
    card, page = (advice / "MODEL_CARD.md").read_text(), (advice / "report" / "report.html")
    for line in plan.rate_lines:
        assert line in log
        assert line in card
        assert line in page.read_text()
    assert "**: measured on the 12 pictures in test/, which nothing was chosen by |" in card
    found = json.loads((advice / "test.json").read_text())
    assert (found["opened"], found["pictures"], len(opened)) == (1, 12, 1)
    monkeypatch.setattr(search, "find_rates", lambda *_, **__: pytest.fail("was searched before"))
    run()
    assert json.loads((advice / "test.json").read_text())["opened"] == 2


def test_a_donor_that_can_only_be_fine_tuned(asked, monkeypatch):
    """There is no frozen network to begin with, and none is asked for."""
    experiment = asked[0].replace(treatments=(parse_treatment("baseB"),), head_first=False)
    kind = type(experiment.architecture)
    monkeypatch.setattr(kind, "why_not", lambda _, n, mode: "no" if mode == "frozen" else None)
    settings, lines = find((experiment, asked[1]), fixed=["scratch", "layerwise_decay"])
    assert set(settings) == {"transferred_learning_rate"}
    assert len(lines) == 1
