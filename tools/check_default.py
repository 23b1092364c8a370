"""Checks what the default shows against what the paper found, for several splits and seeds.

python tools/check_default.py --pairs=0:0,1:0,2:0 --workdir=runs/default

Each pair of a split and a seed trains the default network on the default dataset, with both bases
once more for half of the steps again. What is on disk already is not trained again. The table has
a line a pair and a column a claim, in points of top-1; a claim that does not hold is marked. The
folder is a study: `report --workdir=runs/default` draws its figures.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from absl import app, flags

from transfer_keras.config import make_experiment, set_environment

set_environment()

_PAIRS = flags.DEFINE_list("pairs", [f"{i % 5}:{i // 5}" for i in range(10)], "SPLIT:SEED, ...")
_WORKDIR = flags.DEFINE_string("workdir", "runs/default", "Where the networks are kept.")

TREATMENTS = (
    *("A1B", "A3B", "A5B", "A6B", "A7B", "B1B", "B2B", "B3B", "B5B"),
    *("A3B+", "A7B+", "R3B", "R5B"),
)

Top1 = Mapping[str, float]  # Name of a network -> its top-1 in points.


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim on a pair.

    Attributes:
        title: of its column.
        value: computes what the column shows.
        holds: whether the claim holds for that value.
    """

    title: str
    value: Callable[[Top1], float]
    holds: Callable[[float], bool]


def _differences(top1: Top1, *names: str) -> list[float]:
    return [top1[name] - top1["baseB"] for name in names]


CLAIMS = (
    Claim(
        "gain of half the steps again (mean of bases) < 1",
        lambda t: (t["longer baseA"] + t["longer baseB"] - t["baseA"] - t["baseB"]) / 2,
        lambda value: value < 1,
    ),
    Claim(
        "BnB - base, n = 1-3, the largest: within 2",
        lambda t: max(_differences(t, "B1B", "B2B", "B3B"), key=abs),
        lambda value: abs(value) <= 2,
    ),
    Claim(
        "B5B - base (no claim)",
        lambda t: _differences(t, "B5B")[0],
        lambda value: True,
    ),
    Claim(
        "AnB - base, n = 6-7, the highest: falls by 5",
        lambda t: max(_differences(t, "A6B", "A7B")),
        lambda value: value <= -5,
    ),
    Claim(
        "AnB+ - base, n = 3 and 7, the lowest: at least -1",
        lambda t: min(_differences(t, "A3B+", "A7B+")),
        lambda value: value >= -1,
    ),
    Claim(
        "R5B - base: falls by 30",
        lambda t: _differences(t, "R5B")[0],
        lambda value: value <= -30,
    ),
    Claim(
        "middle frequencies of conv1, times those of untrained: 1.3",
        lambda t: t["structure"],
        lambda value: value >= 1.3,
    ),
)


def main(_) -> None:
    """Trains what is missing, and prints the table."""
    tables = {pair: train(*map(int, pair.split(":"))) for pair in _PAIRS.value}
    for pair, top1 in tables.items():
        print(pair, "  ".join(f"{name} {value:.1f}" for name, value in top1.items()))
    print("\n| split:seed | " + " | ".join(claim.title for claim in CLAIMS) + " |")
    print("|---" * (len(CLAIMS) + 1) + "|")
    holding = [0] * len(CLAIMS)
    for pair, top1 in tables.items():
        cells = []
        for place, claim in enumerate(CLAIMS):
            value = claim.value(top1)
            holds = claim.holds(value)
            holding[place] += holds
            cells.append(f"{value:+.1f}" + ("" if holds else " **no**"))
        print(f"| {pair} | " + " | ".join(cells) + " |")
    print("| holds | " + " | ".join(f"{count} of {len(tables)}" for count in holding) + " |")


def train(split: int, seed: int) -> dict[str, float]:
    """Trains the networks of a pair, and gives their top-1 in points, and `structure`."""
    from transfer_keras.experiments import run_experiment
    from transfer_keras.results import Workdir

    settings = {"split": str(split), "seed": seed, "metrics_every": 0}
    experiment = make_experiment(TREATMENTS, **settings)
    steps = experiment.training.steps
    longer = make_experiment(["baseA", "baseB"], **settings, steps=steps * 3 // 2)
    folder = pathlib.Path(_WORKDIR.value)
    workdir = Workdir(folder / experiment.variant_name)
    beside = Workdir(folder.with_name(f"{folder.name}-longer") / experiment.variant_name)
    top1 = {}
    for prefix, each, place in (("", experiment, workdir), ("longer ", longer, beside)):
        for treatment in run_experiment(each, place):
            top1[prefix + treatment.name] = 100 * place.row(treatment.name).top1
    return top1 | {"structure": structure(workdir.network_path("baseB"))}


def structure(network: pathlib.Path) -> float:
    """Compares the structure of a network's first filters with that of fresh ones."""
    import keras

    from transfer_keras import surgery
    from transfer_keras.training import structure_of_filters

    trained = keras.saving.load_model(network)
    fresh = surgery.transplant(trained, 0, seed=0).model
    values = [
        structure_of_filters(keras.ops.convert_to_numpy(surgery.units(model)[0].kernels[0]))
        for model in (trained, fresh)
    ]
    return values[0] / values[1]


if __name__ == "__main__":
    app.run(main)
