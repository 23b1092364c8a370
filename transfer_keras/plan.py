"""From treatments to groups, in an order in which donors come first."""

import dataclasses
from collections.abc import Iterable

from transfer_keras.treatments import Treatment


@dataclasses.dataclass(frozen=True)
class Group:
    """Treatments with one target, trained together in one pass over the data."""

    treatments: tuple[Treatment, ...]

    @property
    def target(self) -> str:
        return self.treatments[0].target

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(treatment.name for treatment in self.treatments)


def plan(treatments: Iterable[Treatment], *, group_size: int = 1) -> tuple[Group, ...]:
    """The groups of an experiment.

    Args:
        treatments: what is asked for. The bases that they need, as donor or to be compared
            with, are added.
        group_size: the most treatments in one group.

    Returns:
        The bases, a group each, then the groups towards each target.
    """
    treatments = tuple(dict.fromkeys(treatments))
    needed = {base for t in treatments for base in (t.base, t.needs) if base}
    groups = [Group((base,)) for base in sorted(needed, key=lambda base: base.name)]
    for target in sorted({t.target for t in treatments}):
        towards = [t for t in treatments if t.target == target and t.donor]
        starts = range(0, len(towards), group_size)
        groups += [Group(tuple(towards[start : start + group_size])) for start in starts]
    return tuple(groups)
