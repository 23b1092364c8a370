"""The measurements of Yosinski et al. (2014), from the training logs of its runs.

`yosinski2014.csv` has one row for each network, in this program's notation. Split "whole" is all
1000 classes as task A. `top1` is of the last test, `top1_best10` the mean of the ten best of 450,
which the paper reports and which is optimistic.
"""

import csv
import pathlib

from transfer_keras.config import parse_treatment
from transfer_keras.results.comparison import NetworkResult, Runs, TargetTask
from transfer_keras.results.roles import Role
from transfer_keras.results.study import RANDOM

# Examples of each class in its reduced data (section 4.3); no class has more than 1,300.
AMOUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 750, 1000, 1300)
# A base on all classes that never trained is right once in a thousand.
_CHANCE = 0.002
_FILE = pathlib.Path(__file__).with_name("yosinski2014.csv")


def read_runs(split: str, *, examples_per_class: int | None = None) -> Runs:
    """Reads the results of the paper's networks that trained.

    Args:
        split: "random" for the four random splits, "natural" (target A is natural, B man-made), or
            "whole".
        examples_per_class: of the reduced data, which exist for "whole" alone; None: all examples.

    Returns:
        The results, all of seed 0; their top-1 is the mean of the ten best tests. Empty where the
        paper has no such networks.
    """
    by_target: dict[TargetTask, dict[int, dict[Role, NetworkResult]]] = {}
    with _FILE.open() as file:
        for row in csv.DictReader(file):
            kind = RANDOM if row["split"].isdecimal() else row["split"]
            if (kind, row["examples_per_class"]) != (split, str(examples_per_class or "")):
                continue
            top1 = float(row["top1_best10"])
            if top1 >= _CHANCE:
                treatment = parse_treatment(row["treatment"])
                target = TargetTask(row["split"], treatment.target)
                by_seed = by_target.setdefault(target, {0: {}})
                by_seed[0][Role(treatment.role, treatment.n)] = NetworkResult(top1)
    return Runs(by_target)
