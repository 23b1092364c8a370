"""Names of folders and files that a person may have, and those that cannot be used."""

import pytest
from support.forged_pictures import folder_of
from support.picture_folders import read

from transfer_keras.config import UserError, dataset_names, image_folders, printable
from transfer_keras.datasets.task_pair import TaskPair


def test_classes_with_odd_names_are_read(tmp_path):
    names = ("c#", "a b", "%20", "a?b", "[a]", "*", "größe", "cafe\u0301", "-rf", "\ufeffcat")
    root = folder_of(tmp_path / "set#1", names)
    pair, train, _ = read(f"folder:{root}")
    classes = [*pair.tasks["A"].class_names, *pair.tasks["B"].class_names]
    assert sorted(classes) == sorted(names)
    assert sum(map(len, train.values())) == 50


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("ant", "a\nb"), r"in UTF-8 and on one line, found a\\nb\. Rename these folders\."),
        (("ant", "\x1b[31m"), r"on one line, found \\x1b\[31m\."),
        (
            ("ant", "caf\u00e9", "cafe\u0301"),
            r"two classes look the same, .* Put their",
        ),
    ],
)
def test_classes_whose_names_cannot_be_used(tmp_path, names, message):
    root = folder_of(tmp_path / "set", names)
    with pytest.raises(UserError, match=message) as error:
        TaskPair(f"folder:{root}", None, "whole")
    assert len(str(error.value).splitlines()) == 1


def test_too_many_classes():
    with pytest.raises(UserError, match=r"^--x: has 100,001 classes. Expected at most 100,000"):
        image_folders.check_classes("--x", [str(number) for number in range(100_001)])


def test_a_bad_file_with_a_line_break_in_its_name_is_one_line(tmp_path):
    root = folder_of(tmp_path / "set")
    (root / "bee" / "a\nb\x1b[31m.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"/bee/a\\nb\\x1b\[31m\.png cannot be decoded") as error:
        read(f"folder:{root}")
    assert len(str(error.value).splitlines()) == 1


def test_loops_of_links_are_gone_around(tmp_path):
    root = folder_of(tmp_path / "set")
    for name, target in (("loop", "loop"), ("up", ".."), ("here", ".")):
        (root / "bee" / name).symlink_to(target)
    read(f"folder:{root}")
    (root / "bee" / "loop.png").symlink_to("loop.png")
    with pytest.raises(UserError, match=r"loop\.png is a broken link \(Too many levels"):
        read(f"folder:{root}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/set", "expected a folder of this machine"),
        ("gs://bucket", "expected a folder of this machine"),
        ("~nosuchuser/set", "no such folder"),
        ("x" * 5000, "no such folder"),
        ("a\nb", r"/?a\\nb: expected a path in UTF-8, without line breaks"),
        ("a\0b", "expected a path in UTF-8, without line breaks"),
    ],
)
def test_paths_that_are_no_folder_here(path, message):
    with pytest.raises(UserError, match=message) as error:
        dataset_names.check(f"folder:{path}", None)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(UserError) as error:
        dataset_names.check("formula_images", path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("100000000x6x8", "at most 100,000 classes"),
        ("4x6x1000000", "at most 67,108,864 pixels in all pictures of a class"),
        ("4x1000000000x8", "expected CLASSESxIMAGESxSIZE"),
        ("4" * 5000 + "x6x8", "expected CLASSESxIMAGESxSIZE"),
        ("\uff14x12x8", "expected CLASSESxIMAGESxSIZE"),
    ],
)
def test_amounts_that_no_memory_holds(text, message):
    with pytest.raises(UserError, match=message):
        dataset_names.check(f"formula_images/{text}", None)


def test_printable():
    assert printable("größe 日本\u00a0x") == "größe 日本\u00a0x"
    assert printable("a\tb\x1b\u2028\x7f\x85") == r"a\tb\x1b\u2028\x7f\x85"
    assert printable("\udcfc") == r"\xfc"
