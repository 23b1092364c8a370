import os

import pytest

from transfer_keras.config import UserError
from transfer_keras.deployment.picture_list import find_pictures, labels_of


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gs://bucket/set", "expected a path of this machine. Copy them to one."),
        ("~nosuchuser/set", "there is no such file or folder."),
        ("a\nb", "there is no such file or folder."),
    ],
)
def test_paths_that_are_no_folder_here(given, message):
    with pytest.raises(UserError) as error:
        find_pictures(given)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_lists_that_are_no_text(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with open(tmp_path / "huge.txt", "wb") as file:
        file.truncate(2**36)
    (tmp_path / "zero.txt").write_bytes(b"a\0b\n")
    for name, message in (
        ("pipe", "there is no such file"), ("huge", "has 68,719,476,736 bytes, more than"),
        ("zero", "is no text: it has a zero byte"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            find_pictures(str(tmp_path / f"{name}.txt"))


def test_folders_of_another_normal_form_are_the_classes():
    assert labels_of(["x/cafe\u0301/1.png"], ["caf\u00e9", "b"]) == ([0], None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone", "there is no such file or folder"),
        ("empty", "no file there ends as pictures do"),
        ("empty.txt", "has no line"),
        ("bytes.txt", "is not text in UTF-8"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError) as error:
        find_pictures(str(tmp_path / given))
    assert str(error.value).startswith(f"--pictures={tmp_path / given}: {message}")
