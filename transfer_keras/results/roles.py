"""What a network is to its target: a family of treatments at one n."""

from typing import NamedTuple

# Families of networks in the paper's notation, as `config.Treatment.role` gives them. B is the
# target and A the other task, whichever they are.
FROZEN_TRANSFER = "AnB"
TUNED_TRANSFER = "AnB+"
LINEAR_TRANSFER = "AnB-linear"
FROZEN_SELFFER = "BnB"
TUNED_SELFFER = "BnB+"
LINEAR_SELFFER = "BnB-linear"
RANDOM_UNITS = "RnB"


class Role(NamedTuple):
    """A family of networks at one n: what a network is to its target; n is 0 for a base."""

    family: str
    n: int = 0


BASE = Role("base")
