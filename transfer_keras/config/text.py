"""Text for people: one line of an error, the first of many names, tables, durations, templates."""

import pathlib
import shlex
from collections.abc import Sequence

import jinja2

from transfer_keras.config.escaping import markdown, visible


def one_line(text: object, most: int | None = None) -> str:
    """Folds white space, line breaks too, into single spaces.

    Args:
        text: a message or an exception.
        most: the longest that it may be, in characters; None: any length.
    """
    return " ".join(str(text).split())[:most]


def first_few(names: Sequence[str], most: int = 5) -> str:
    """Lists the first names, and says how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def align_columns(lines: Sequence[Sequence[str]]) -> str:
    """Draws a table of text.

    Args:
        lines: its rows, of as many cells each; the first is the heading.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(row.rstrip() for row in [rows[0], "-" * len(rows[0]), *rows[1:]])


def duration(seconds: float) -> str:
    """Says a time to the minute, or to the second where it is less."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def render_template(package: str, name: str, **values: object) -> str:
    """Fills in a Jinja template of one of our packages; what a page or a script gets is escaped.

    In a script each value is one word of the shell, whatever is in it; where it is to stand in a
    comment, it goes through the filter `comment`. In Markdown each value is text without markup;
    what is to stand in code as it is, and is none of a
    person's own words, goes through the filter `code`.

    Args:
        package: as "results"; the template lies in its folder `templates`.
        name: of the template's file; those that end in .html are pages, in .sh scripts, in .md
            Markdown; there are no others.
        values: by their names in the template; all that it names must be there.

    Raises:
        jinja2.UndefinedError: if the template names a value that is not given.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(f"transfer_keras.{package}"),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_ESCAPERS[pathlib.PurePath(name).suffix],
    )
    environment.filters |= {"comment": _Comment, "code": _Code}
    return environment.get_template(name).render(**values)


class _Comment(str):
    """Text that stands in a comment of a script: a line, whatever ends lines in it."""

    def __new__(cls, value):
        return super().__new__(cls, visible(one_line(value)))


def _shell_word(value: object) -> str:
    return value if isinstance(value, _Comment) else shlex.quote(str(value))


class _Code(str):
    """Text that stands in code, where nothing but the mark of its end is markup."""

    def __new__(cls, value):
        if "`" in value:
            raise ValueError(f"Expected text without `. Received: {value!r}")
        return super().__new__(cls, value)


def _markdown(value: object) -> str:
    return value if isinstance(value, _Code) else markdown(value)


# Ending of a template's name -> what becomes of each value; pages are escaped by Jinja itself.
_ESCAPERS = {".html": None, ".sh": _shell_word, ".md": _markdown}


def command(*words: object) -> str:
    """Writes a command as a person can paste it into a shell, whatever is in its words."""
    return shlex.join(map(str, words))
