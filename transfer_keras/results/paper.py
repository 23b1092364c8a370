"""What Yosinski et al. (2014) measured: the runs that their training logs hold.

`yosinski2014.csv` has a row a network, in this program's notation. Split "whole" is all 1000
classes as task A. `top1` is of the last test, `top1_best10` the mean of the ten best of 450, which
the paper reports and which is optimistic.
"""

import csv
import pathlib

from transfer_keras.config import parse_treatment
from transfer_keras.results.comparison import Half, Role, Run, Runs

# Examples a class of its reduced data (section 4.3); no class has more than 1,300.
AMOUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 750, 1000, 1300)
_FILE = pathlib.Path(__file__).with_name("yosinski2014.csv")


_CHANCE = 0.002  # A base on all classes that never trained is right once in a thousand.


def runs(split: str, *, examples_per_class: int | None = None) -> Runs:
    """The paper's networks that trained, their top-1 the mean of the ten best tests.

    Args:
        split: "random" for the four random halves, "natural" (target A is natural, B man-made), or
            "whole".
        examples_per_class: of the reduced data, which are of "whole"; None: all examples.
    """
    found: dict[Half, dict[int, dict[Role, Run]]] = {}
    with _FILE.open() as file:
        for row in csv.DictReader(file):
            kind = "random" if row["split"].isdecimal() else row["split"]
            if (kind, row["examples_per_class"]) == (split, str(examples_per_class or "")):
                if float(row["top1_best10"]) < _CHANCE:  # Never trained, which is no result.
                    continue
                treatment = parse_treatment(row["treatment"])
                seeds = found.setdefault(Half(row["split"], treatment.target), {0: {}})
                role = Role(treatment.role, treatment.n)
                seeds[0][role] = Run(float(row["top1_best10"]))
    return found
