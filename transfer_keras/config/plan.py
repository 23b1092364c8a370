"""From treatments to groups, in an order in which donors come first."""

import dataclasses
from collections.abc import Callable, Collection, Iterable

from transfer_keras.config.treatments import Treatment


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

    def __str__(self):
        ends = self.names if len(self.names) <= 3 else (self.names[0], "…", self.names[-1])
        return ", ".join(ends) + (f" ({len(self.names)})" if len(self.names) > 3 else "")


def with_bases(
    treatments: Iterable[Treatment],
    given: Collection[str] = (),
    *,
    compare: bool = True,
    begun_with: Collection[Treatment] = (),
) -> tuple[Treatment, ...]:
    """Adds to treatments those that they need, as donor or to compare with, once each.

    Args:
        treatments: what is asked for.
        given: names of bases that are there and not trained here.
        compare: whether a base is added only to compare with.
        begun_with: frozen networks with whose upper units others begin that are fine-tuned.

    Returns:
        The bases in alphabetical order, then the others by target, else in the order given; with
        `begun_with`, of each target those that are fine-tuned last.
    """
    treatments = tuple(dict.fromkeys((*treatments, *begun_with)))
    needed = {t for t in treatments if not t.donor} | {t.needs for t in treatments if t.needs}
    if compare:
        needed |= {t.base for t in treatments}
    bases = {base for base in needed if base.name not in given}
    transfers = sorted(
        (t for t in treatments if t.donor),
        key=lambda t: (t.target, bool(begun_with) and t.fine_tune),
    )
    return (*sorted(bases, key=lambda base: base.name), *transfers)


def plan_groups(
    treatments: Iterable[Treatment], fits: Callable[[tuple[Treatment, ...]], bool]
) -> tuple[Group, ...]:
    """Makes the groups of an experiment.

    Args:
        treatments: in the order of `with_bases`.
        fits: whether treatments may be one group; a single one always is.

    Returns:
        The bases, a group each, then the groups towards each target, each as large as fits.
    """
    groups: list[tuple[Treatment, ...]] = []
    for treatment in treatments:
        last = groups[-1] if groups else ()
        joins = last and last[0].donor and treatment.target == last[0].target
        if joins and fits((*last, treatment)):
            groups[-1] = (*last, treatment)
        else:
            groups.append((treatment,))
    return tuple(map(Group, groups))
