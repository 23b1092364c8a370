"""The ways in which surgery can fail, each with its own name, and the text of their messages.

Every message says what was found, what was expected and what to do.
"""

from collections.abc import Sequence


def one_line(error: Exception | None) -> str:
    """Folds the message of an error into one line."""
    return " ".join(str(error).split())


def first_few(names: Sequence[str], most: int = 8) -> str:
    """Lists the first names, and says how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


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


class UnmatchedLayer(SurgeryError):
    """A weighted layer belongs to no block, or a block is not in one piece."""


class FrozenWeightChanged(SurgeryError):
    """A weight that was frozen has moved."""


class StaleFlags(SurgeryError):
    """A `trainable` flag was set after the training step had been built."""


class UnreadableFile(SurgeryError):
    """A file holds no network that can be made without running code from it."""
