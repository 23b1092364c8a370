"""The paper's notation as data.

`A3B+` says: donor A, lower 3 units, target B, fine-tuned. `B3B` is a selffer, `R3B` has
untrained, random lower units; `baseB` is trained on B from scratch (Yosinski et al. 2014,
section 2).

Not in the paper: `A3B-linear` is a linear classifier on the lower 3 units. `S3B` and `S3B+` have
random lower units with the mean and deviation of each tensor of base A (Matsoukas et al. 2022,
"What Makes Transfer Learning Work for Medical Images", stats transfer). `B8B+` of a network of
eight units is base B, trained on for as long again.
"""

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterable

from transfer_keras.config.tasks import DONOR_SPLIT, WHOLE_SPLIT

MODES = ("frozen", "fine_tune", "random", "linear")
LINEAR = "-linear"  # Ends the notation of a linear classifier on lower units.
SOURCES = ("other", "self", "statistics")
RANDOM, STATISTICS = "R", "S"  # Donors that are no task.
TARGETS = ("A", "B")

_NOTATION = re.compile(
    r"(?P<donor>[ABRS])(?P<n>\d+)(?P<target>[AB])(?P<end>\+|-linear)?|base(?P<base>[AB])"
)


@dataclasses.dataclass(frozen=True)
class Treatment:
    """One network of the experiment.

    Attributes:
        target: "A" or "B", the task that it is trained on.
        donor: "A", "B", "R" for random, or "S" for random with the statistics of the other task's
            base; None for a base.
        n: number of units that come from the donor; 0 for a base.
        fine_tune: whether those are trained too.
        linear: whether a linear classifier on them is all else that the network has.
    """

    target: str
    donor: str | None = None
    n: int = 0
    fine_tune: bool = False
    linear: bool = False

    def __post_init__(self):
        if self.target not in TARGETS:
            raise ValueError(f"target must be A or B. Received: {self.target!r}")
        if self.donor not in (None, "A", "B", RANDOM, STATISTICS):
            raise ValueError(f"donor must be A, B, R or S. Received: {self.donor!r}")
        if (self.donor is None) != (self.n == 0) or self.n < 0:
            raise ValueError(f"n must be at least 1, and 0 for a base. Received: n={self.n}")
        if self.fine_tune and self.donor in (None, RANDOM):
            raise ValueError(f"{self.name}: random units that are trained are a base; no + here")
        if self.linear and (self.fine_tune or self.donor not in TARGETS):
            raise ValueError(f"{self.name}: a linear classifier is for frozen units of a donor")

    @property
    def name(self) -> str:
        """Gives the notation, which is its identity everywhere."""
        if self.donor is None:
            return f"base{self.target}"
        return f"{self.donor}{self.n}{self.target}{self._end}"

    @property
    def family(self) -> str:
        """Names what it shares with those of other n, as `AnB+`: a line of the transfer curve."""
        if self.donor is None:
            return self.name
        return f"{self.donor}n{self.target}{self._end}"

    @property
    def role(self) -> str:
        """Names its family as seen from its target, which is B here whichever it is: "base", `AnB`,
        `AnB+`, `AnB-linear`, `BnB`, `BnB+`, `BnB-linear`, `RnB`, `SnB` or `SnB+`.

        Of a base that is trained on it is `BnB+` too: that depends on the network, which only the
        results know.
        """
        if self.donor is None:
            return "base"
        donor = {self.target: "B", RANDOM: RANDOM, STATISTICS: STATISTICS}.get(self.donor, "A")
        return f"{donor}nB{self._end}"

    @property
    def _end(self) -> str:
        return "+" if self.fine_tune else LINEAR if self.linear else ""

    @property
    def mode(self) -> str:
        """Gives "base", "frozen", "fine_tune", "random" or "linear"."""
        if self.donor is None:
            return "base"
        if self.donor == RANDOM:
            return "random"
        return "fine_tune" if self.fine_tune else "linear" if self.linear else "frozen"

    @property
    def frozen_units(self) -> int:
        """Counts its lower units that are not trained: none of a base, or if it is fine-tuned."""
        return 0 if self.mode in ("base", "fine_tune") else self.n

    @property
    def base(self) -> "Treatment":
        """Gives the base of its target, with which it is compared."""
        return Treatment(self.target)

    @property
    def frozen(self) -> "Treatment":
        """Gives the same treatment with its lower units frozen, and its upper ones anew."""
        return dataclasses.replace(self, fine_tune=False, linear=False)

    @property
    def needs(self) -> "Treatment | None":
        """Gives the base that its lower units, or their statistics, come from."""
        if self.donor == STATISTICS:
            return Treatment("B" if self.target == "A" else "A")
        return Treatment(self.donor) if self.donor in TARGETS else None

    def seed(self, *experiment: object) -> int:
        """Computes the seed of its fresh weights and dropout.

        Args:
            experiment: what else it depends on: the seed of the experiment, and its split.
        """
        return _seed(*experiment, self.name)

    def random_donor_seed(self, *experiment: object) -> int:
        """Computes the seed of the random lower units, of all n alike: those of R2B are the lower
        ones of R3B, and those of S2B of S3B and S3B+."""
        return _seed(*experiment, f"{self.donor}{self.target}")

    def __str__(self):
        return self.name


def _seed(*identity) -> int:
    digest = hashlib.sha256(" ".join(map(str, identity)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def is_treatment_name(text: str) -> bool:
    """Tells whether a text is the notation of a treatment."""
    return bool(_NOTATION.fullmatch(text))


def parse_treatment(text: str) -> Treatment:
    """Reads a treatment from the notation.

    Raises:
        ValueError: if it is none.
    """
    match = _NOTATION.fullmatch(text.strip())
    if not match:
        raise ValueError(
            f"{text!r} is no treatment: expected donor A, B, R or S, a number, target A or B, and "
            f"+ if fine-tuned, or {LINEAR}, as A3B, B3B+, A3B{LINEAR}, R2B or S3B; or baseA, baseB"
        )
    if match["base"]:
        return Treatment(match["base"])
    fine_tune, linear = (match["end"] == end for end in ("+", LINEAR))
    return Treatment(match["target"], match["donor"], int(match["n"]), fine_tune, linear)


def combine_treatments(
    n: Iterable[int], modes: Iterable[str], sources: Iterable[str], targets: Iterable[str]
) -> tuple[Treatment, ...]:
    """Makes every combination that there is, in the order target, mode, source, n.

    "random" has no source, and "linear" is of no drawn units.

    Args:
        n: numbers of units.
        modes: of `MODES`.
        sources: of `SOURCES`: "other" is transfer, "self" the selffer, "statistics" draws the units
            by the statistics of those of "other".
        targets: of `TARGETS`.
    """
    combined = []
    for target, mode, source, count in itertools.product(targets, modes, sources, n):
        other = "B" if target == "A" else "A"
        donor = {"other": other, "self": target, "statistics": STATISTICS}[source]
        donor = RANDOM if mode == "random" else donor
        if mode == "linear" and donor == STATISTICS:
            continue
        combined.append(Treatment(target, donor, count, mode == "fine_tune", mode == "linear"))
    return tuple(dict.fromkeys(combined))


def suits_split(treatment: Treatment, split: str) -> bool:
    """Tells whether the tasks of a split suffice for a treatment: the whole has no B, and with a
    donor nothing is trained on A."""
    if split == DONOR_SPLIT:
        return treatment.target == "B"
    needed = treatment.needs or treatment
    return split != WHOLE_SPLIT or "B" not in (treatment.target, needed.target)
