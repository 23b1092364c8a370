"""The ways in which surgery can fail, each with its own name, and the text of their messages.

Every message says what was found, what was expected and what to do.
"""

import difflib
from collections.abc import Sequence


def one_line(error: Exception | None) -> str:
    """Folds the message of an error into one line."""
    return " ".join(str(error).split())


def first_few(names: Sequence[str], most: int = 8) -> str:
    """Lists the first names, and says how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def nearest(name: str, names: Sequence[str], most: int = 5) -> str:
    """Lists a few of the names that there are, those of a similar spelling first."""
    names = list(dict.fromkeys(names))
    similar = difflib.get_close_matches(name, names, most)
    return first_few([*similar, *(other for other in names if other not in similar)], most)


class SurgeryError(ValueError):
    """Base class of the errors that this package raises on purpose."""


class NotACutPoint(SurgeryError):
    """`n` does not name a place at which the network can be cut in two."""


class SharedAcrossCut(SurgeryError):
    """A layer or weight is used on both sides of the cut, so it is neither lower nor upper."""


class ShapeMismatch(SurgeryError):
    """Weights or inputs that should correspond differ in shape or number."""


class NotRebuildable(SurgeryError):
    """A layer or model cannot be made again from its config."""


class NotFresh(SurgeryError):
    """A re-initialised weight came out equal to the donor's."""


class UnknownLayer(SurgeryError):
    """A name is not that of a layer of the network."""


class UnmatchedLayer(SurgeryError):
    """A pattern matches no layer with weights, such a layer no block, or a block is in pieces."""


class FrozenWeightChanged(SurgeryError):
    """A weight that was frozen has moved."""


class StaleFlags(SurgeryError):
    """A `trainable` flag was set after the training step had been built."""


class UnreadableFile(SurgeryError):
    """A file holds no network that can be made without running code from it."""
