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

# Of kinds of splits, in turn: marker and dashes.
KINDS = (("o", "-"), ("^", "--"), ("s", "-."), ("x", ":"), ("v", (0, (5, 1))), ("D", (0, (1, 3))))
