"""Measures how often the interval of the model card holds the accuracy on unseen pictures.

python tools/card_coverage.py --donor=donor.keras --archive=tiny-imagenet-200.zip

In each trial some classes are drawn, and of each so many pictures to train and to validate. Linear
classifiers on the donor's features at several cuts are trained, the best on the validation pictures
is chosen, and its accuracy on the many pictures that nothing has seen is compared with the interval
that `advise` would write on the card (`results.accuracy_of_choice`), and with that of the
validation pictures, which does not know of the choice. The features are computed once.
"""

import io
import pathlib
import zipfile

import numpy as np
from absl import app, flags
from PIL import Image
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_DONOR = flags.DEFINE_string(
    "donor", None, "A .keras file that takes pixels 0..255.", required=True
)
_ARCHIVE = flags.DEFINE_string("archive", None, "A zip of Tiny ImageNet.", required=True)
_CLASSES = flags.DEFINE_integer("classes", 20, "Whose features are computed.", 2)
_PICTURES = flags.DEFINE_integer("pictures", 250, "Of each class.", 10)
_DRAWN = flags.DEFINE_integer("drawn", 5, "Classes of a trial.", 2)
_EACH = flags.DEFINE_list("each", ["20", "15"], "Pictures of each class to train, to validate.")
_CUTS = flags.DEFINE_integer("cuts", 10, "Cuts that are compared.", 1)
_TRIALS = flags.DEFINE_integer("trials", 200, "Trials.", 1)


def main(_) -> None:
    """Prints the part of the trials in which each interval holds the truth."""
    features = _features(_read(pathlib.Path(_ARCHIVE.value)))
    found = np.array([_trial(features, seed) for seed in range(_TRIALS.value)])
    truth = found[:, 0]
    for name, (value, low, high) in (("card", found.T[1:4]), ("validation alone", found.T[4:7])):
        holds = np.mean((low <= truth) & (truth <= high))
        print(
            f"{name}: holds the truth in {100 * holds:.1f} % of {len(found)} trials; on average "
            f"{100 * np.mean(value - truth):+.1f} points from it, ± {50 * np.mean(high - low):.1f}"
        )


def _read(path: pathlib.Path) -> list[list[bytes]]:
    """Reads the files of the pictures of each class."""
    archive = zipfile.ZipFile(path)
    by_class: dict[str, list[str]] = {}
    for name in sorted(archive.namelist()):
        if "/train/" in name and name.upper().endswith(".JPEG"):
            by_class.setdefault(name.split("/")[-3], []).append(name)
    names = list(by_class.values())[: _CLASSES.value]
    return [[archive.read(name) for name in of_class[: _PICTURES.value]] for of_class in names]


def _features(files: list[list[bytes]]) -> list[list[np.ndarray]]:
    """Computes the features of each cut and class, (pictures, features)."""
    import keras

    from transfer_keras import surgery
    from transfer_keras.advice.transferability import compute_features

    model = keras.saving.load_model(_DONOR.value, compile=False)
    units = surgery.units(model)[:-1]
    places = np.unique(np.linspace(0, len(units) - 1, _CUTS.value).round().astype(int))
    side = model.input_shape[1]
    by_class = []
    for number, of_class in enumerate(files, 1):
        images = np.stack([
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((side, side)))
            for data in of_class
        ])  # fmt: skip
        outputs = [units[place].output for place in places]
        by_class.append(compute_features(model, outputs, images))
        print(f"features of {number} of {len(files)} classes", end="\r", flush=True)
    print()
    return [list(of_cut) for of_cut in zip(*by_class, strict=True)]


def _trial(features: list[list[np.ndarray]], seed: int) -> tuple[float, ...]:
    """Gives the truth, and both estimates with their intervals."""
    from transfer_keras.results import accuracy_of_choice, measure_accuracy

    rng = np.random.default_rng(seed)
    classes = rng.choice(len(features[0]), _DRAWN.value, replace=False)
    train, val = map(int, _EACH.value)
    orders = [rng.permutation(_PICTURES.value) for _ in classes]

    def part(of_cut: list[np.ndarray], which: slice) -> np.ndarray:
        return np.concatenate([of_cut[c][o[which]] for c, o in zip(classes, orders, strict=True)])

    def labels(count: int) -> np.ndarray:
        return np.repeat(np.arange(len(classes)), count)

    answers, unseen = [], []
    rest = _PICTURES.value - train - val
    for of_cut in features:
        classifier = make_pipeline(StandardScaler(), RidgeClassifier(1e3))
        classifier.fit(part(of_cut, slice(train)), labels(train))
        tested = classifier.predict(part(of_cut, slice(train, train + val)))
        answers.append(tested == labels(val))
        unseen.append(np.mean(classifier.predict(part(of_cut, slice(train + val, None)))
                              == labels(rest)))  # fmt: skip
    best = int(np.argmax([right.mean() for right in answers]))
    alone = measure_accuracy(np.ones(len(answers[best]), int), answers[best].astype(int))
    card = accuracy_of_choice([right[None] for right in answers], alone)
    return unseen[best], *card, *alone


if __name__ == "__main__":
    app.run(main)
