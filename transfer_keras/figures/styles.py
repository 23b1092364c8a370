"""How the kinds of treatments are drawn, everywhere alike."""

from typing import NamedTuple


class Style(NamedTuple):
    """Words, colour, marker and line."""

    label: str
    colour: str
    marker: str
    line: str


# By `Treatment.role`. Colours of Okabe and Ito (2008), told apart by the colour-blind; markers and
# dashes tell them apart in black and white too.
STYLES = {
    "BnB": Style("selffer, frozen", "#0072B2", "^", "--"),
    "BnB+": Style("selffer, fine-tuned", "#56B4E9", "v", "--"),
    "AnB": Style("transfer, frozen", "#D55E00", "o", "-"),
    "AnB+": Style("transfer, fine-tuned", "#CC79A7", "s", "-"),
    "RnB": Style("random, frozen", "#000000", "x", ":"),
}

# For other lines, in turn: colour, marker and dashes.
CYCLE = (
    ("#D55E00", "o", "-"),
    ("#0072B2", "^", "--"),
    ("#009E73", "s", "-."),
    ("#000000", "x", ":"),
    ("#CC79A7", "v", "--"),
    ("#56B4E9", "D", "-"),
    ("#E69F00", "P", ":"),
)
