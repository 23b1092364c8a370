"""Tells of every weight of a transplanted network where it comes from."""

import dataclasses

from transfer_keras.surgery.rebuild import Pairs, flat_pairs


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of one weight of the new network.

    Attributes:
        weight: its path, such as "conv1/kernel".
        shape: of the weight.
        origin: "copied" from the donor, "shared" with it, or "fresh".
        trainable: whether training changes it.
    """

    weight: str
    shape: tuple[int, ...]
    origin: str
    trainable: bool


class Report(tuple[Origin, ...]):
    """The `Origin` of every weight, in the order of the layers. Prints as a table."""

    __slots__ = ()

    def __str__(self):
        """Draws the table, a row for each weight."""
        width = max([len(row.weight) for row in self] + [6])
        return "\n".join(
            f"{row.weight:<{width}}  {row.origin:<6}  "
            f"{'trainable' if row.trainable else 'frozen':<9}  {row.shape}"
            for row in self
        )


def make_report(pairs: Pairs, copied: set[int], shared: set[int]) -> Report:
    """Lists the origin of every weight of the new network."""
    rows = []
    for pair in pairs:
        origins = {}
        for old, new in flat_pairs([pair]):
            kind = "copied" if id(old) in copied else "fresh"
            for weight in new.weights:
                origins[id(weight)] = "shared" if id(pair[0]) in shared else kind
        for weight in pair[1].weights:
            path = weight.path if weight.path.startswith(pair[1].name) else weight.name
            rows.append(
                Origin(
                    weight=path if "/" in path else f"{pair[1].name}/{path}",
                    shape=tuple(weight.shape),
                    origin=origins[id(weight)],
                    trainable=any(weight is w for w in pair[1].trainable_weights),
                )
            )
    return Report(rows)
