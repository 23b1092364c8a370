"""Studies on disk for the tests, with results that were never trained."""

import json

import numpy as np

from support.rows import make_row
from transfer_keras.config import choices, parse_treatment
from transfer_keras.results import EXPERIMENT_FILE, Workdir

IMAGES = 400
SETTINGS = {"dataset": "formula_images", "network": "alexnet_small", "steps": 10}


def write_experiment(folder, *, split, seed, levels, outcomes=None, settings=None):
    """Writes an experiment whose networks are right on a given part of the test images.

    Args:
        folder: the workdir to write.
        split, seed: settings of the experiment.
        levels: name of each treatment -> its top-1, about.
        outcomes: name -> outcome, where it is not "trained".
        settings: those that differ from `SETTINGS`.
    """
    folder.mkdir(parents=True)
    facts = {"settings": {**SETTINGS, **(settings or {}), "split": split, "seed": seed}}
    facts |= {"data": {}, "versions": {"keras": "3.15.1"}}
    (folder / EXPERIMENT_FILE).write_text(json.dumps(facts))
    (folder / "run.flags").write_text(f"--split={split}\n--seed={seed}\n")
    for name, level in levels.items():
        treatment = parse_treatment(name)
        rng = np.random.default_rng([seed, *map(ord, f"{split} {name}")])
        difficulty = np.random.default_rng(ord(treatment.target)).random(IMAGES)
        right = 0.7 * difficulty + 0.3 * rng.random(IMAGES) < level
        row = make_row(
            treatment=name, donor=treatment.donor, n=treatment.n, target=treatment.target,
            mode=treatment.mode, top1=float(right.mean()), test_images=IMAGES,
            outcome=(outcomes or {}).get(name, choices.TRAINED),
        )  # fmt: skip
        label = np.zeros(IMAGES, np.int32)
        predictions = {"label": label, "predicted": 1 - right.astype(np.int32)}
        workdir = Workdir(folder)
        workdir.write_predictions(name, predictions)
        workdir.write_row(row)
        workdir.network_path(name).touch()


def write_study(folder, *, splits=("0", "1"), seeds=(0, 1), **changes):
    """Writes both directions: frozen transfer loses from unit 3 on, fine-tuned gains a little."""
    levels = {"baseA": 0.6, "baseB": 0.6}
    for target, other in (("A", "B"), ("B", "A")):
        for n, transfer in ((1, 0.61), (2, 0.6), (3, 0.5)):
            levels |= {
                f"{other}{n}{target}": transfer, f"{other}{n}{target}+": 0.63,
                f"{target}{n}{target}": 0.6, f"{target}{n}{target}+": 0.62,
            }  # fmt: skip
    for split in splits:
        for seed in seeds:
            write_experiment(
                folder / f"split{split}-seed{seed}",
                split=split,
                seed=seed,
                levels=levels,
                **changes,
            )
