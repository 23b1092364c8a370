import os

import pytest

from transfer_keras.config import UserError, read_lines, tasks


def put(path, kind):
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a loop":
        path.symlink_to(path)
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(2**36)
    elif isinstance(kind, bytes):
        path.write_bytes(kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("a folder", r"cannot be read \(Is a directory\)"),
        ("a pipe", "is no file"),
        ("a loop", r"cannot be read \(Too many levels of symbolic links\)"),
        ("huge", "has 68,719,476,736 bytes, more than 134,217,728"),
        ("nothing", r"cannot be read \(No such file or directory\)"),
        (b"f\xfcchse\n", r"is not text in UTF-8 \(invalid start byte\)"),
        (b"a\0b\n", "is no text: it has a zero byte"),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path, kind, message):
    path = tmp_path / "list.txt"
    put(path, kind)
    expected = (
        rf"^--split=x: {message}\. Expected a text file in UTF-8, with a name in each line\.$"
    )
    with pytest.raises(UserError, match=expected):
        read_lines("--split=x", path, "a name")


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_line(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfant\r\n\r\nb e\n")
    assert read_lines("--split=x", path, "a name") == ["ant", "", "b e", ""]


def test_a_user_who_does_not_exist():
    with pytest.raises(UserError, match="cannot be read"):
        read_lines("--split=x", "~nosuchuser/list.txt", "a name")
    assert not tasks.is_file("~nosuchuser/list.txt")


NAMES = ("ant", "c#", "cafe\u0301", "dog", "#x y")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ant\nc#\n", ("ant", "c#")),
        ("ant # the first\nc# # a language\n# dog\n", ("ant", "c#")),
        ("caf\u00e9\nant", ("ant", "cafe\u0301")),
        ("\ufeffant\r\ndog\r\n", ("ant", "dog")),
    ],
)
def test_lists_of_classes(tmp_path, text, expected):
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    a, b = tasks.split_classes(NAMES, str(tmp_path / "a.txt"))
    assert a.class_names == expected
    assert {*a.class_names, *b.class_names} == {*NAMES}
