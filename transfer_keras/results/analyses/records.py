"""The records of analyses, as the files in `WORKDIR/analyses/` hold them."""

from typing import Annotated, ClassVar, Literal

import msgspec

_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Task = Literal["A", "B"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every analysis says of itself.

    Attributes:
        sources: path of each file that it was made from, as seen from the workdir -> SHA-256 of
            the file. Where one has changed, the analysis is made again.
        target: task whose test images were used.
        test_images: number of them.
    """

    KIND: ClassVar[str]

    sources: dict[str, str]
    target: _Task
    test_images: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

    @property
    def names(self) -> tuple[str, ...]:
        """Gives what tells it from others of its kind: the names of its networks."""
        raise NotImplementedError


class Interpolation(Record, frozen=True, kw_only=True):
    """The accuracy on the straight line between the weights of two networks.

    Attributes:
        first, second: the networks; one of another workdir has that folder's name before its own.
        shared_units: number of lower units with which both began training from the same values.
        positions: places on the line, 0 at the first network and 1 at the second, ascending.
        top1: fraction of the test images that are right, at each.
        loss: mean cross-entropy in nats, at each; None where it is no number.
        chance: fraction of the test images in the most frequent class.
        tested: top-1 of both networks in their rows.
    """

    KIND: ClassVar[str] = "interpolation"

    first: str
    second: str
    shared_units: _Count
    positions: tuple[_Fraction, ...]
    top1: tuple[_Fraction, ...]
    loss: tuple[float | None, ...]
    chance: _Fraction
    tested: tuple[_Fraction, _Fraction]

    def __post_init__(self):
        lengths = {len(self.positions), len(self.top1), len(self.loss)}
        if len(lengths) > 1 or len(self.positions) < 2:
            raise ValueError("expected as many positions as results, two or more")

    @property
    def names(self) -> tuple[str, ...]:
        return self.first, self.second

    @property
    def depths(self) -> list[float]:
        """Computes by how much top-1 lies below the straight line between the ends, at each
        position."""
        first, last = self.top1[0], self.top1[-1]
        return [
            (1 - t) * first + t * last - top1
            for t, top1 in zip(self.positions, self.top1, strict=True)
        ]

    @property
    def barrier(self) -> float:
        """Computes the largest drop of top-1 below the straight line between the ends."""
        return max(self.depths)

    @property
    def barrier_share(self) -> float | None:
        """Computes the barrier as a part of what lies above chance on the line between the ends.

        Returns:
            None where that line is at chance or below, at the place of the barrier.
        """
        depths = self.depths
        place = depths.index(max(depths))
        above = depths[place] + self.top1[place] - self.chance
        return depths[place] / above if above > 0 else None


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """A network with one unit put back, and all others as they were trained.

    Attributes:
        unit: its name.
        distance: of its weights from where training began, as a part of their norm there; 0: they
            were not trained. None: the norm was 0.
        initial: top-1 with the values that training began with.
        fresh: top-1 with newly drawn values.
    """

    unit: str
    distance: float | None
    initial: _Fraction
    fresh: _Fraction


class Reinitialisation(Record, frozen=True, kw_only=True):
    """The accuracy of a network after each of its units was put back.

    Attributes:
        treatment: the network.
        top1: fraction of the test images that are right, with all units as they were trained.
        chance: fraction of the test images in the most frequent class.
        resets: for each unit, in order.
        tested: top-1 of the network in its row.
    """

    KIND: ClassVar[str] = "reinitialisation"

    treatment: str
    top1: _Fraction
    chance: _Fraction
    resets: tuple[Reset, ...]
    tested: _Fraction

    @property
    def names(self) -> tuple[str, ...]:
        return (self.treatment,)


class ClassDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracies of two networks on the test images of one class.

    Attributes:
        name: of the class.
        images: number of its test images.
        base, top1: fractions of them that the base and the network get right.
        low, high: 95 % interval of their difference.
        p_value: exact test of McNemar (1947), by Holm's method over the classes.
    """

    name: str
    images: _Count
    base: _Fraction
    top1: _Fraction
    low: float
    high: float
    p_value: _Fraction

    @property
    def difference(self) -> float:
        """Computes by how much the network is better than the base."""
        return self.top1 - self.base


class ClassComparison(Record, frozen=True, kw_only=True):
    """A network against the base of its target, class by class.

    Attributes:
        treatment: the network.
        classes: the differences, ascending.
    """

    KIND: ClassVar[str] = "classes"

    treatment: str
    classes: tuple[ClassDifference, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.treatment,)


class Probes(Record, frozen=True, kw_only=True):
    """The linear probes of the tasks on each unit of a network.

    Attributes:
        treatment: the network.
        tasks: task -> unit -> top-1 of a linear classifier of that task on the unit's output; None
            where the output is no number.
        images: task -> number of test images.
    """

    KIND: ClassVar[str] = "probes"

    treatment: str
    tasks: dict[_Task, dict[str, _Fraction | None]]
    images: dict[_Task, _Count]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.treatment,)


KINDS = {kind.KIND: kind for kind in (Interpolation, Reinitialisation, ClassComparison, Probes)}
