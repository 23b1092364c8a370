"""Colours, markers and lines of the families of treatments, for all figures."""

from typing import NamedTuple

from transfer_keras.results.roles import (
    BASE_TRAINED_ON,
    FROZEN_SELFFER,
    FROZEN_STATISTICS,
    FROZEN_TRANSFER,
    LINEAR_SELFFER,
    LINEAR_TRANSFER,
    RANDOM_UNITS,
    TUNED_SELFFER,
    TUNED_STATISTICS,
    TUNED_TRANSFER,
)


class Style(NamedTuple):
    """The label, colour, marker and line of one family."""

    label: str
    colour: str
    marker: str
    line: str


# Family -> its style. The colours are those of Okabe and Ito (2008), and of Tol's muted scheme for
# what the paper has not, which the colour-blind can distinguish; markers and dashes distinguish the
# families in black and white too.
STYLES = {
    FROZEN_SELFFER: Style("selffer, frozen", "#0072B2", "^", "--"),
    TUNED_SELFFER: Style("selffer, fine-tuned", "#56B4E9", "v", "--"),
    FROZEN_TRANSFER: Style("transfer, frozen", "#D55E00", "o", "-"),
    TUNED_TRANSFER: Style("transfer, fine-tuned", "#CC79A7", "s", "-"),
    LINEAR_SELFFER: Style("selffer, linear classifier", "#009E73", "<", "--"),
    LINEAR_TRANSFER: Style("transfer, linear classifier", "#E69F00", "P", "-"),
    RANDOM_UNITS: Style("random, frozen", "#000000", "x", ":"),
    FROZEN_STATISTICS: Style("donor's statistics, frozen", "#882255", "d", ":"),
    TUNED_STATISTICS: Style("donor's statistics, fine-tuned", "#999933", "h", ":"),
    BASE_TRAINED_ON.family: Style("base, trained on for as long again", "#44AA99", "D", "none"),
}

# Marker and dashes of each kind of split, in turn.
KINDS = (("o", "-"), ("^", "--"), ("s", "-."), ("x", ":"), ("v", (0, (5, 1))), ("D", (0, (1, 3))))
