"""Text for people: lines of errors, lists of names, tables and durations."""

import pytest

from transfer_keras.config import align_columns, duration, first_few, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [("one", "one"), ("  two\n\tlines \r\n", "two lines"), (ValueError("a\nb"), "a b"), ("", "")],
)
def test_one_line(text, line):
    assert one_line(text) == line


def test_one_line_of_at_most_so_many_characters():
    assert one_line("white  space counts", 11) == "white space"
    assert one_line("short", 11) == "short"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "a"), (5, "a, b, c, d, e"), (6, "a, b, c, d, e and 1 more"),
     (8, "a, b, c, d, e and 3 more")],
)  # fmt: skip
def test_first_few(count, text):
    assert first_few(list("abcdefgh")[:count]) == text


def test_first_few_of_a_number_that_is_given():
    assert first_few(["conv1", "conv2", "conv3"], 2) == "conv1, conv2 and 1 more"
    assert first_few(("conv1", "conv2"), 2) == "conv1, conv2"


def test_align_columns():
    rows = [("unit", "n", "top-1"), ("c1", "10", "0.5"), ("conv22", "2", "")]
    assert align_columns(rows).splitlines() == [
        "unit    n   top-1",
        "-----------------",
        "c1      10  0.5",
        "conv22  2",
    ]


def test_rows_of_other_lengths_have_no_columns():
    with pytest.raises(ValueError, match="shorter"):
        align_columns([("unit", "n"), ("conv1",)])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (29, "29 s"), (31, "1 min"), (3600, "1 h"), (3661, "1 h 1 min"),
     (90061, "1 d 1 h 1 min"), (86400 * 3, "3 d")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text
