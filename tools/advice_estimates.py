"""How well estimates without training choose a cut, for `benchmark_advice.py`.

Each estimate of `advise` takes the n that it likes best. Lost is what a linear classifier there
gets less of unseen pictures than one at the best n; held against what is lost by always taking all
units. That is repeated on random parts of the pictures, since one draw says little.
"""

import json
import math
import pathlib
import statistics
import warnings
from collections.abc import Sequence

import advice_pairs
import numpy as np

ALWAYS_ALL = "always all"
_ESTIMATES = ("linear", "neighbours", "logme", "cka", "log_loss")
_PART = 0.85  # Of the pictures, in each draw.
_C = 0.01  # Of the classifiers on standardised features that are the truth; scikit-learn's.


def print_estimates(
    pairs: Sequence[advice_pairs.Pair], folder: pathlib.Path, draws: int = 6
) -> None:
    """Prints what the choice by each estimate loses, in points.

    Args:
        pairs: of a donor and pictures.
        folder: where what was computed is kept.
        draws: of a part of the pictures.
    """
    from transfer_keras.config import align_columns

    names = [ALWAYS_ALL, *_ESTIMATES]
    rows = []
    for pair in pairs:
        path = folder / "estimates" / f"{pair.name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_lost(pair, draws)))
        lost = json.loads(path.read_text())
        rows.append([statistics.mean(lost[name]) for name in names])
    lines = [("pair", *names)]
    for name, row in (*zip([p.name for p in pairs], rows, strict=True),
                      ("mean", [statistics.mean(of) for of in zip(*rows, strict=True)]),
                      ("worst", [max(of) for of in zip(*rows, strict=True)])):  # fmt: skip
        lines.append((name, *(f"{value:.1f}" for value in row)))
    print(align_columns(lines))


def _lost(pair: advice_pairs.Pair, draws: int) -> dict[str, list[float]]:
    """Computes, for each draw, how many points each estimate loses from the best n."""
    from transfer_keras.advice import transferability

    names, cuts, train, validation, unseen = _features(pair)
    lost = {name: [] for name in (ALWAYS_ALL, *_ESTIMATES)}
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        some = _part(train, rng)
        scores = transferability.score_features(names, some, _part(validation, rng), cuts=cuts)
        truth = {n: _accuracy(some, unseen, n) for n in cuts}
        best = max(truth.values())
        taken = {ALWAYS_ALL: max(cuts)}
        for name in _ESTIMATES:
            values = {score.n: getattr(score, name) for score in scores if score.n in cuts}
            known = {n: value for n, value in values.items() if not math.isnan(value)}
            sign = -1 if name == "log_loss" else 1
            taken[name] = max(known, key=lambda n, known=known, sign=sign: (sign * known[n], n))
        for name, n in taken.items():
            lost[name].append(100 * (best - truth[n]))
    return lost


def _features(pair: advice_pairs.Pair) -> tuple:
    """Gives the names of units, n of the cuts, and (features, labels) of three sets of pictures."""
    from transfer_keras.advice import transferability
    from transfer_keras.config import make_experiment
    from transfer_keras.experiments import describe_donor, read_data
    from transfer_keras.networks import pretrained

    sets = []
    for pictures in (pair.pictures, pair.truth):
        experiment = make_experiment(
            ["baseB"], donor=str(pair.donor), dataset=f"folder:{pictures}", units=pair.units,
            batch_size=8, describe_donor=describe_donor,
        )  # fmt: skip
        opened = experiment.donor, experiment.training.image_size
        units = pretrained.count_units(*opened).units[:-1]
        model = pretrained.open_pretrained(*opened).model
        data = read_data(experiment)
        for examples in (data.train["B"], data.test["B"]):
            batches = list(examples.evaluation(batch_size=32).as_numpy_iterator())
            images, labels = map(np.concatenate, zip(*batches, strict=True))
            images, labels = images[: len(examples)], labels[: len(examples)]
            outputs = [unit.output for unit in units]
            sets.append((transferability.compute_features(model, outputs, images), labels))
    train, validation, _, unseen = sets
    cuts = [n for n in experiment.architecture.cut_points if n <= len(units)]
    return [unit.name for unit in units], cuts, train, validation, unseen


def _part(of: tuple[list[np.ndarray], np.ndarray], rng: np.random.Generator) -> tuple:
    features, labels = of
    places = np.sort(rng.choice(len(labels), round(_PART * len(labels)), replace=False))
    return [x[places] for x in features], labels[places]


def _accuracy(train: tuple, unseen: tuple, n: int) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train[0][n - 1], train[1])
    return float(model.score(unseen[0][n - 1], unseen[1]))
