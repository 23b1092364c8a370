"""What a network is to its target: a family of treatments at one n."""

from typing import NamedTuple

# Families of networks in the paper's notation, as `config.Treatment.role` gives them. B is the
# target and A the other task, whichever they are. S has random values with A's statistics.
FROZEN_TRANSFER = "AnB"
TUNED_TRANSFER = "AnB+"
LINEAR_TRANSFER = "AnB-linear"
FROZEN_SELFFER = "BnB"
TUNED_SELFFER = "BnB+"
LINEAR_SELFFER = "BnB-linear"
RANDOM_UNITS = "RnB"
FROZEN_STATISTICS = "SnB"
TUNED_STATISTICS = "SnB+"


class Role(NamedTuple):
    """A family of networks at one n: what a network is to its target; n is 0 for a base, trained on
    or not."""

    family: str
    n: int = 0


BASE = Role("base")
# The base, trained on for as long again: every unit comes from it, and all are trained.
BASE_TRAINED_ON = Role("base+")


def role_at(family: str, n: int) -> Role:
    """Gives the role of a family at one n, which bases do not have."""
    return Role(family, 0 if family in (BASE.family, BASE_TRAINED_ON.family) else n)
