"""Writes names and other foreign text so that a format shows them and does nothing else: one
function a format. HTML is escaped by its templates, and words of a shell by `text.command`."""

import re
import unicodedata

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "~": "&#126;"}
_MARKS = re.compile(r"[\\`*\[\]]|(?<![^\W_])_|_(?![^\W_])")  # Within a word _ is a letter.
_END = re.compile(r"#+(?=\s*$)")  # What a heading may end with.
# What begins a heading, a list, a line under a heading, or a rule.
_BEGIN = re.compile(r"^(\s*)([-+=#]|\d+(?=[.)](?:\s|$)))")
# What some pages make a link of without being told.
_LINK = re.compile(r"(?i)(?<=http):(?=//)|(?<=https):(?=//)|(?<=ftp):(?=//)|(?<=\bwww)\.|@(?=\w)")
# What a spreadsheet takes for a formula by its beginning; wide letters count as narrow ones.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def visible(text: str) -> str:
    """Writes characters that steer a screen, or are no text, as their numbers."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def markdown(value: object) -> str:
    """Writes text for a line of a Markdown page, a cell of a table too; nothing in it is markup.

    It holds for CommonMark with GitHub's tables and links, and for TensorBoard's Markdown.
    """
    text = visible(re.sub(r"\s+", " ", str(value)))
    text = "".join(_ENTITIES.get(letter, letter) for letter in text)
    text = _MARKS.sub(r"\\\g<0>", text)
    text = _LINK.sub(lambda found: f"&#{ord(found[0])};", text)
    text = _END.sub(lambda found: "&#35;" * len(found[0]), text)
    return _BEGIN.sub(_as_text, text)


def _as_text(found: re.Match) -> str:
    """Writes a digit or sign at the beginning of a line such that it begins nothing."""
    space, mark = found.groups()
    return f"{space}&#{ord(mark[0])};{mark[1:]}"


def cell(value: object) -> object:
    """Writes an apostrophe before text that a spreadsheet would compute; numbers stay."""
    if not isinstance(value, str):
        return value
    begin = unicodedata.normalize("NFKC", value[:1])
    return f"'{value}" if begin.startswith(_FORMULA) else value
