"""The choice of one of several donors."""

import json
import pathlib
import time

import keras
import numpy as np
import pytest
from PIL import Image
from support.networks import ask, classifier, write_pictures

from transfer_keras.advice import first_answer, preparation, race, rates
from transfer_keras.advice.budget import Budget
from transfer_keras.config import UserError

FOREVER = 1e6


def knowing(folder):
    """Trains a network on other pictures of the same kind."""
    write_pictures(folder / "others", seed=5, each=40)
    classes = sorted(path.name for path in (folder / "others").iterdir())
    files = [(path, k) for k, name in enumerate(classes)
             for path in sorted((folder / "others" / name).iterdir())]  # fmt: skip
    images = np.stack([np.asarray(Image.open(path), "float32") for path, _ in files])
    labels = np.array([label for _, label in files])
    keras.utils.set_random_seed(0)
    model = classifier(perturbed=False)
    model.compile(
        keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    fitted = model.fit(images, labels, epochs=15, batch_size=20, verbose=0)
    assert fitted.history["accuracy"][-1] > 0.9
    return model


def averaging():
    """Makes a network that sees little but how bright a picture is, which tells no class."""
    model = classifier(perturbed=False)
    for name in ("c1", "c2"):
        layer = model.get_layer(name)
        layer.kernel.assign(np.ones(layer.kernel.shape) / np.prod(layer.kernel.shape[:3]))
    return model


def constant():
    """Makes a network that answers the same to every picture."""
    model = classifier(perturbed=False)
    for name in ("c1", "c2"):
        model.get_layer(name).set_weights([0 * w for w in model.get_layer(name).get_weights()])
    return model


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("race")
    pictures = write_pictures(folder / "pictures", each=30)
    keras.utils.set_random_seed(1)
    donors = {"constant": constant(), "averaging": averaging(), "knowing": knowing(folder)}
    experiments = []
    for name, model in donors.items():
        model.save(folder / f"{name}.keras")
        experiments.append(
            ask(folder / f"{name}.keras", "A3B", dataset=pictures, steps=40, batch_size=8,
                metrics_every=0, scratch=False)
        )  # fmt: skip
    return experiments, folder


def run(experiments, folder, seconds=FOREVER, logged=None):
    log = ([] if logged is None else logged).append
    return race.race_donors(experiments, folder, Budget(seconds, time.monotonic()), log=log)


@pytest.fixture(scope="module")
def raced(asked):
    experiments, folder = asked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "_FEWEST", 5)
        logged = []
        return run(experiments, folder / "advice", logged=logged), logged, folder / "advice"


def name_of(experiment):
    return pathlib.Path(experiment.donor.path).stem


def order_of(note):
    """Reads the names of donors out of a note, and the losses."""
    pairs = [pair.rpartition(" ") for pair in note.rstrip(".").rpartition(": ")[2].split(", ")]
    losses = [float(x.replace("none", "inf")) for _, _, x in pairs]
    return [pathlib.Path(name).stem for name, _, _ in pairs], losses


def estimated_alone(experiment):
    """Computes the log loss of the best linear classifier, of one donor by itself."""
    asked, data = preparation.read_pictures(experiment, None, fixed=(), log=lambda line: None)
    budget = Budget(FOREVER, time.monotonic())
    scores, _ = first_answer.estimate(asked, data, budget, lambda line: None)
    losses = [score.log_loss for score in scores if not np.isnan(score.log_loss)]
    return min(losses, default=np.inf)


def test_the_estimates_and_then_short_trainings_decide(raced, asked):
    found, logged, _ = raced
    estimated, losses = order_of(found.notes[0])
    alone = {name_of(experiment): estimated_alone(experiment) for experiment in asked[0]}
    assert estimated == sorted(alone, key=alone.get)
    assert losses == pytest.approx(sorted(alone.values()), abs=6e-4)
    assert estimated[-1] == "constant"
    trained, losses = order_of(found.notes[1])
    assert sorted(trained) == ["averaging", "knowing"]
    assert losses == sorted(losses)
    assert name_of(found.experiment) == name_of(found.prepared.experiment) == trained[0]
    assert "Chosen" in logged[-1]


def test_the_choice_is_kept(raced, asked, monkeypatch):
    found, _, folder = raced
    monkeypatch.setattr(race, "read_pictures", lambda *_, **__: pytest.fail("was read again"))
    again = run(asked[0], folder)
    assert (again.experiment, again.prepared) == (found.experiment, None)
    assert again.notes == found.notes


def test_a_folder_is_of_its_donors(raced, asked):
    with pytest.raises(
        UserError, match=r"was begun with --donor=.*(knowing|averaging)\.keras was chosen"
    ):
        run(asked[0][:2], raced[2])


@pytest.mark.parametrize("text", ["{", "[]", '{"donors": ["a"], "chosen": 3, "notes": []}', "\0"])
def test_a_damaged_record_is_named(asked, tmp_path, text):
    (tmp_path / "donors.json").write_text(text)
    with pytest.raises(UserError, match=r"donors\.json: is damaged: .*Remove it"):
        run(asked[0], tmp_path)


def test_a_folder_of_one_donor(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(race, "check_folder", lambda folder: "a plan")
    with pytest.raises(UserError, match="was begun with one donor"):
        run(asked[0], tmp_path)


def test_without_time_the_estimates_decide(asked, tmp_path):
    found = run(asked[0], tmp_path, seconds=1e-3)
    assert json.loads((tmp_path / "donors.json").read_text())["chosen"] in (0, 1, 2)
    assert "No time to train" in found.notes[-1]


@pytest.mark.parametrize(
    ("losses", "fewest", "left"),
    [
        ([3, 1, 2], 2, [1, 2]),
        ([3, 1], 2, [1, 0]),
        ([3, 1], 1, [1]),
        ([5, 4, 3, 2, 1], 2, [4, 3, 2]),
    ],
)
def test_half_of_them_go_on(losses, fewest, left):
    assert race._better_half(range(len(losses)), losses, fewest) == left
