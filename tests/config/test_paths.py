"""Where a program is to write: found out before it has anything to write."""

import os
import pathlib

import pytest

from transfer_keras.config import UserError
from transfer_keras.config.paths import check_output


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, is_folder, found in (
        (tmp_path, False, "is a folder"),
        (tmp_path / "pipe", False, "is a device or a pipe"),
        (pathlib.Path("/dev/null"), False, "is a device or a pipe"),
        (tmp_path / "file", True, "is a file"),
        (tmp_path / "file" / "x", False, "file is a file, and no folder"),
        (tmp_path / "file" / "x" / "y", True, "file is a file, and no folder"),
    ):
        with pytest.raises(UserError, match=rf"^--output=.*: .*{found}.*\. (Give|Move) "):
            check_output("output", path, is_folder=is_folder)
    for path, is_folder in ((tmp_path / "file", False), (tmp_path / "a" / "b", True)):
        check_output("output", path, is_folder=is_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "pipe"]
