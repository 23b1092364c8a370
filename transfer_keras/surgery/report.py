"""Tells of every weight of a transplanted network where it comes from."""

import dataclasses
import math
from collections.abc import Collection

from transfer_keras.surgery import tables
from transfer_keras.surgery.rebuild import Pairs, flat_pairs

_HEADER = ("weight", "origin", "training", "shape")


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of one weight of the new network.

    Attributes:
        weight: its path, such as "conv1/kernel".
        shape: of the weight.
        origin: "copied" from the donor, "shared" with it, "fresh", or "constant": made anew, but
            equal to the donor's, since it is given the same values whatever the seed, such as
            fixed positions.
        trainable: whether training changes it.
        frozen_in_donor: whether it would be trained had the donor not frozen it.
    """

    weight: str
    shape: tuple[int, ...]
    origin: str
    trainable: bool
    frozen_in_donor: bool = False

    @property
    def parameters(self) -> int:
        """Counts the scalars in the weight."""
        return math.prod(self.shape)

    @property
    def training(self) -> str:
        """Says whether it is trained."""
        if self.trainable:
            return "trainable"
        return "frozen as in the donor" if self.frozen_in_donor else "frozen"


class Report(tuple[Origin, ...]):
    """The `Origin` of every weight, in the order of the layers. Prints as a table."""

    __slots__ = ()

    def __getitem__(self, place):
        """Gives one row, or a report of several."""
        found = super().__getitem__(place)
        return Report(found) if isinstance(place, slice) else found

    def __repr__(self):
        """Draws the table, a row for each weight, and the sums."""
        return tables.as_text(_HEADER, self._rows(), self._total())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Draws the table for a notebook."""
        return tables.as_html(_HEADER, self._rows(), self._total())

    def _rows(self) -> list[tuple]:
        return [(row.weight, row.origin, row.training, row.shape) for row in self]

    def _total(self) -> str:
        """Sums the parameters by origin, and says how to train those that the donor froze."""
        by_origin: dict[str, int] = {}
        for row in self:
            by_origin[row.origin] = by_origin.get(row.origin, 0) + row.parameters
        origins = ", ".join(f"{count:,} {origin}" for origin, count in by_origin.items())
        trained = sum(row.parameters for row in self if row.trainable)
        total = sum(by_origin.values())
        said = f"{total:,} parameters: {origins or 'none'}; {trained:,} trainable"
        if any(row.frozen_in_donor for row in self):
            said += "; what the donor froze stays so (`unfreeze=True` trains it)"
        return said


def make_report(
    pairs: Pairs,
    copied: Collection[int],
    shared: Collection[int],
    constant: Collection[int] = (),
    frozen_in_donor: Collection[int] = (),
) -> Report:
    """Lists the origin of every weight of the new network.

    Args:
        pairs: (layer of the donor, layer of the new network).
        copied, shared: identities of layers of the donor.
        constant, frozen_in_donor: identities of weights of the new network.
    """
    rows = []
    for pair in pairs:
        origins = {}
        for old, new in flat_pairs([pair]):
            for weight in new.weights:
                fresh = "constant" if id(weight) in constant else "fresh"
                kind = "copied" if id(old) in copied else fresh
                origins[id(weight)] = "shared" if id(pair[0]) in shared else kind
        for weight in pair[1].weights:
            path = weight.path if weight.path.startswith(pair[1].name) else weight.name
            rows.append(
                Origin(
                    weight=path if "/" in path else f"{pair[1].name}/{path}",
                    shape=tuple(weight.shape),
                    origin=origins[id(weight)],
                    trainable=any(weight is w for w in pair[1].trainable_weights),
                    frozen_in_donor=id(weight) in frozen_in_donor,
                )
            )
    return Report(rows)
