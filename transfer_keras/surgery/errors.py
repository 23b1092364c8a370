"""The ways in which surgery can fail, each with its own name, and the text of their messages.

Every message says what was found, what was expected and what to do.
"""

import difflib
import re
from collections.abc import Sequence

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# How Keras names the object whose weights could not be set, and the layer that could not be called.
_STATE = re.compile(
    r"Example error message for object <\w+ name=(.*?), built=\w+>:\s*(.*?)\s*"
    r"List of objects that could not be loaded",
    re.DOTALL,
)
_CALL = re.compile(
    r"Exception encountered when calling (.+?)\(\)\.\s*(.*?)\s*(?:Arguments received by|$)",
    re.DOTALL,
)
_BACKEND = re.compile(r"\{\{function_node \S+\}\} |\[Op:\w+\] name:")  # TensorFlow's own places.
_LONG = re.compile(r"\S{60,}")


def one_line(error: object) -> str:
    """Folds a message into one line, without the codes by which Keras colours it."""
    return " ".join(_COLOURS.sub("", str(error)).split())


def reason(error: BaseException, most: int = 300) -> str:
    """Says in one line why Keras or a backend could not do something.

    Keras quotes whole configs and all arguments around it; long values in it are cut too.

    Args:
        error: what was raised.
        most: characters.
    """
    text = _COLOURS.sub("", str(error)).rpartition("Exception encountered: ")[2]
    calling = ""
    if found := _STATE.search(text):
        calling, text = f"Layer '{found[1]}': ", found[2]
    elif found := _CALL.search(text):
        calling, text = f"{found[1]}: ", found[2]
    text = one_line(calling + _BACKEND.sub("", text)) or type(error).__name__
    text = _LONG.sub(lambda found: f"{found[0][:40]}…", text)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def digits(number: int) -> str:
    """Writes a count, a large one by its power of ten."""
    return f"{number:,}" if number < 10**12 else f"10^{len(str(number)) - 1}"


def size(number: int) -> str:
    """Writes a number of bytes."""
    for power, unit in ((0, "bytes"), (10, "KiB"), (20, "MiB"), (30, "GiB")):
        if number < 2 ** (power + 10):
            return f"{number / 2**power:.4g} {unit}"
    return f"{digits(number // 2**40)} TiB"


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


class TooLarge(UnreadableFile):
    """What a file holds, or says that it holds, would take more memory than it may.

    Args:
        what: of the file, as the subject of a sentence.
        found, most: in bytes.

    Attributes:
        finding: what it would take, as a sentence without its end.
        most: in bytes.
    """

    def __init__(self, what: str, found: int, most: int):
        self.finding, self.most = f"{what} would take {size(found)}", most
        super().__init__(
            f"{self.finding}. Expected at most {size(most)}; if it is right, give "
            f"`surgery.load(path, most_bytes=…)`."
        )
