"""Files are whole or not there, and nothing that lies in the way is followed or overwritten."""

import concurrent.futures
import os
import re
import time

import pytest

from transfer_keras.files import (
    DamagedFile,
    is_partial,
    open_regular,
    open_to_append,
    read_bytes,
    read_text,
    remove_files,
    remove_folder,
    write_json,
    write_text,
    write_whole,
)


def test_a_stop_in_the_middle_leaves_what_was(tmp_path):
    path = tmp_path / "x" / "file.txt"
    write_text(path, "old")

    def stopped_in_the_middle():
        with write_whole(path) as partial:
            assert is_partial(partial)
            assert partial.suffix == path.suffix
            partial.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_in_the_middle()
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path):
    precious, path = tmp_path / "precious", tmp_path / "file.txt"
    precious.write_text("mine")
    path.symlink_to(precious)
    write_text(path, "new")
    assert (precious.read_text(), path.read_text()) == ("mine", "new")
    assert not path.is_symlink()


def test_a_link_in_place_of_the_partial_file_is_not_followed(tmp_path, monkeypatch):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".partial-{'0' * 16}.txt").symlink_to(precious)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "file.txt", "new")
    assert precious.read_text() == "mine"


def test_many_writers_of_one_file(tmp_path):
    """Each writes under a name of its own; the last one's text is whole."""
    texts = [str(number) * 10_000 for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "file.txt", text), texts * 20))
    assert (tmp_path / "file.txt").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_full_disk_names_the_file(tmp_path):
    def full():
        with write_whole(tmp_path / "file.txt"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*file\.txt"):
        full()
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DamagedFile, match="is a folder, and a file is to be written there"):
        write_text(tmp_path / "report.html", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(tmp_path / "new")
    for name, found in (("folder", "is a folder"), ("pipe", "no regular file")):
        with pytest.raises(DamagedFile, match=rf"{name}: is .*, expected a file\. Do this\."):
            open_regular(tmp_path / name, "Do this.")
        with pytest.raises(DamagedFile, match=f"{found}|is not a regular file"):
            open_to_append(tmp_path / name)
    with pytest.raises(DamagedFile, match="loop: cannot be read"):
        read_bytes(tmp_path / "loop")
    with pytest.raises(DamagedFile, match="is a link"):
        open_to_append(tmp_path / "link")
    assert not (tmp_path / "new").exists()
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "gone")


def test_text(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeffüber".encode())
    assert read_text(path) == "über"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DamagedFile, match="is no text in UTF-8"):
        read_text(path)
    with pytest.raises(DamagedFile, match="has 2 bytes, expected at most 1"):
        read_bytes(path, most=1)


def test_only_own_files_are_removed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "row.json").write_text("mine")
    folder = tmp_path / "A3B"
    (folder / "row.json.d").mkdir(parents=True)
    (folder / "own.json").mkdir()
    (folder / "row.json").symlink_to(outside / "row.json")
    for name in ("notes.txt", ".partial-mine", f".partial-{'a' * 16}.png", ".partial-row.json"):
        (folder / name).write_text("x")
    hour = time.time() - 4000
    for name in (".partial-mine", ".partial-row.json"):
        os.utime(folder / name, (hour, hour))
    remove_folder(folder, re.compile(r"(row|own)\.json"))
    assert sorted(path.name for path in folder.iterdir()) == [
        f".partial-{'a' * 16}.png", ".partial-mine", "notes.txt", "own.json", "row.json.d",
    ]  # fmt: skip
    assert (outside / "row.json").read_text() == "mine"

    (tmp_path / "link").symlink_to(outside)
    remove_folder(tmp_path / "link", re.compile(".*"))
    remove_files(tmp_path / "gone", re.compile(".*"))
    assert (outside / "row.json").read_text() == "mine"
    remove_folder(outside, re.compile(r"row\.json"))
    assert not outside.exists()
