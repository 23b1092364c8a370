"""Figures as files, and as parts of a page."""

import pathlib
import re
from collections.abc import Callable

from transfer_keras.files import write_whole


def embed(path: pathlib.Path, draw: Callable[..., None], *contents: object, **options) -> str:
    """Draws a figure as SVG and PNG.

    Args:
        path: of the SVG; the PNG lies beside it.
        draw: called with the contents, the list of both files, and the options.
        contents: what is drawn.
        options: of the drawing.

    Returns:
        The SVG for the page, without its prolog and without the comments in which Matplotlib
        repeats every text.
    """
    with write_whole(path) as svg, write_whole(path.with_suffix(".png")) as png:
        draw(*contents, [svg, png], **options)
    text = path.read_text()
    return re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
