"""Draws tables for the screen and for notebooks."""

import html
from collections.abc import Sequence


def as_text(header: Sequence[str], rows: Sequence[Sequence], total: str, right: str = "") -> str:
    """Draws a table of text.

    Args:
        header: the names of the columns.
        rows: a row for each line; the cells are written as `str` writes them.
        total: the last line.
        right: letters of the columns that are aligned to the right, "a" for the first.
    """
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = [">" if chr(ord("a") + place) in right else "<" for place in range(len(widths))]
    lines = [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in [*lines, total])


def as_html(header: Sequence[str], rows: Sequence[Sequence], total: str) -> str:
    """Draws a table as HTML, every cell escaped."""

    def row(cells, kind):
        return "<tr>" + "".join(f"<{kind}>{html.escape(str(x))}</{kind}>" for x in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return (
        f"<table><thead>{row(header, 'th')}</thead><tbody>{body}</tbody>"
        f"<caption>{html.escape(total)}</caption></table>"
    )
