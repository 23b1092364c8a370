"""Names that do nothing where they are shown: one function a format."""

import html
import io
import re
import sys

import pytest
from markdown_it import MarkdownIt
from tensorboard.plugin_util import markdown_to_safe_html

from transfer_keras.config import cell, markdown, screen, visible
from transfer_keras.config.text import render_template

MARKUP = [
    "<img src=http://x/y onerror=alert(1)>", "<script>alert(1)</script>", "<b", "&lt;b&gt; &amp;",
    "[a](javascript:alert(1))", "![a](http://x)", "<javascript:alert(1)>", "[x]: http://y", "[[x]]",
    "# h", "## h", "a\n# h", "a\n===", "a\r\n---", "---", "***", "- x", "+ x", "1. x", "2) x",
    "* x", "> q", "`a` ``b", "```\nx", "~~~\nx", "a|b", "|", "*b* **c** _d_ __e__ a_b_c", "~~d~~",
    "    code", "http://x.y https://x.y www.a.b", "\\*a\\*", "\\", "c#", "a  \nb", "+", "=",
    "a{.b}", "\x1b[31mred", "a\u2028b", "größe 層", "0.95", "-0.5", "fine_tune", "",
]  # fmt: skip
FORMS = {  # What may stand around a value, and the tags that this makes.
    "{}\n": {"p"},
    "- {}\n": {"ul", "li", "p"},
    "# {}\n": {"h1"},
    "a <code>{}</code> b\n": {"p", "code"},
    "| a | b |\n|---|---|\n| {} | z |\n": {"table", "thead", "tbody", "tr", "th", "td"},
}


def rendered_by_commonmark(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return parser.render(text)


@pytest.mark.parametrize("render", [markdown_to_safe_html, rendered_by_commonmark])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MARKUP)
def test_markdown_shows_text_as_it_is(render, form, name):
    page = render(form.format(markdown(name)))
    tags = re.findall(r"<(\w+)", page)
    assert set(tags) <= FORMS[form]
    assert all(tags.count(tag) <= 1 for tag in ("p", "li", "h1", "code", "table"))
    assert tags.count("td") in (0, 2)
    text = " ".join(html.unescape(re.sub(r"</?\w+( [^>]*)?>", "", page)).split())
    assert " ".join(visible(re.sub(r"\s+", " ", name)).split()) in text


def test_what_is_no_markup_stays_readable():
    for text in (
        "0.95",
        "fine_tune",
        "5 of 7 (95 % 0.1 to 0.2)",
        "keras.applications.VGG16",
        "a-b",
    ):
        assert markdown(text) == text


def test_links_are_not_made_of_text():
    for text in ("http://x.y", "HTTPS://x.y", "www.x.y", "@name"):
        assert markdown(text) != text
        assert html.unescape(markdown(text)) == text


@pytest.mark.parametrize("text", [
    "=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\N{FULLWIDTH EQUALS SIGN}1",
    "\N{FULLWIDTH COMMERCIAL AT}x", "\N{SMALL HYPHEN-MINUS}1",
])  # fmt: skip
def test_a_cell_is_no_formula(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["cat", "a=b", "", 1, -0.5, None, "0.5"])
def test_other_cells_stay(value):
    assert cell(value) == value


def test_what_steers_a_screen_is_written_as_numbers():
    assert visible("\x1b[31mred\x07\r\u202ex\ud800 größe\n") == (
        "\\x1b[31mred\\x07\\r\\u202ex\\ud800 größe\n"
    )


@pytest.mark.parametrize(("written", "shown"), [
    ("\x1b[31mred\n", "\\x1b[31mred\n"), ("a\rb", "a\\rb"), ("größe █\n", "größe █\n"),
    ("\r 5%|█ |", "\r 5%|█ |"), ("\n\x1b[A", "\n\x1b[A"), ("\x1b[A\x1b[2J", "\x1b[A\\x1b[2J"),
])  # fmt: skip
def test_the_screen(monkeypatch, written, shown):
    """Whatever prints: our lines, errors, logs. A progress bar may go back in its line."""
    target = io.BytesIO()
    stream = screen._Text(target, encoding="utf-8", newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    print(written, end="")
    stream.flush()
    assert target.getvalue().decode() == shown


def test_templates_have_a_known_ending():
    with pytest.raises(KeyError, match="txt"):
        render_template("results", "report.txt")
