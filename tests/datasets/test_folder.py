"""Folders of pictures in `split/class/file`, and folders that cannot be used."""

import os
import shutil

import pytest
from PIL import Image
from support.picture_folders import CLASSES, read, write, write_flat

from transfer_keras.config import dataset_names, make_experiment, memory
from transfer_keras.config.errors import UserError
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.datasets import sources, task_pair
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir


@pytest.mark.parametrize("available", [10**12, 0])
def test_pictures_labels_and_tasks(tmp_path, available, monkeypatch):
    monkeypatch.setattr(memory, "process_memory", lambda: available)
    name = write(tmp_path / "set")
    dataset_names.check(name, None)
    pair, train, test = read(name)
    assert [len(task) for task in pair.tasks.values()] == [2, 2]
    for split, blue, count in ((train, 0, 6), (test, 200, 3)):
        for task, examples in split.items():
            names = pair.tasks[task].class_names
            seen = []
            for images, labels in examples.evaluation(batch_size=5):
                for image, label in zip(images.numpy(), labels.numpy(), strict=True):
                    assert (image == image[0, 0]).all()
                    red, green, is_blue = image[0, 0]
                    assert is_blue == blue
                    assert CLASSES[red // 40] == names[label]
                    seen.append((names[label], green // 20))
            assert sorted(seen) == [(name, i) for name in sorted(names) for i in range(count)]


def test_the_first_of_each_class(tmp_path):
    _, train, test = read(write(tmp_path / "set"), examples_per_class=2)
    for examples in train.values():
        ((images, _),) = examples.evaluation(batch_size=9)
        assert (images.numpy()[:, 0, 0, 1] // 20).tolist() == [0, 1, 0, 1]
    assert {len(examples) for examples in test.values()} == {6}


def test_the_identity_is_of_the_files(tmp_path):
    names = [write(tmp_path / place / "set") for place in ("one", "two")]
    one, two = (sources.open_source(name).identity for name in names)
    assert one == two
    extra = tmp_path / "two" / "set" / "val" / "dog" / "more.png"
    Image.new("RGB", (40, 40)).save(extra)
    assert sources.open_source(names[1]).identity != one


def test_other_files_do_not_count(tmp_path):
    name = write(tmp_path / "set")
    for other in ("Thumbs.db", "notes.txt", ".hidden.png"):
        (tmp_path / "set" / "train" / "dog" / other).write_text("no picture")
    (tmp_path / "set" / "train" / ".git").mkdir()
    assert sources.open_source(name).size("train") == 24


def test_what_macs_leave_in_zips_does_not_count(tmp_path):
    name = write_flat(tmp_path / "set")
    before = sources.open_source(name).identity
    for folder in (tmp_path / "set", tmp_path / "set" / "dog"):
        shutil.copytree(tmp_path / "set" / "emu", folder / "__MACOSX" / "emu")
    assert sources.open_source(name).identity == before


@pytest.mark.parametrize("names", [("Train", "VAL"), ("training", "Test"), ("TRAINING", "Valid")])
def test_names_of_splits_in_any_case(tmp_path, names):
    name = write(tmp_path / "set")
    for old, new in zip(("train", "val"), names, strict=True):
        (tmp_path / "set" / old).rename(tmp_path / "set" / new)
    source = sources.open_source(name)
    assert (source.train, source.test) == names
    assert [source.size(split) for split in names] == [24, 12]


def test_what_may_lie_beside_the_splits(tmp_path):
    name = write(tmp_path / "set")
    before = sources.open_source(name).identity
    shutil.copytree(tmp_path / "set" / "val", tmp_path / "set" / "test")
    (tmp_path / "set" / "notes").mkdir()
    (tmp_path / "set" / "notes" / "labels.json").write_text("{}")
    (tmp_path / "set" / "latest").symlink_to(tmp_path / "set" / "train")
    (tmp_path / "set" / "val" / "dog" / "notes").mkdir()
    (tmp_path / "set" / "val" / "dog" / "notes" / "a.txt").write_text("no picture")
    (tmp_path / "set" / "val" / "dog" / "round").symlink_to(tmp_path / "set" / "val" / "dog")
    source = sources.open_source(name)
    assert (source.test, source.identity) == ("val", before)


def spoil_no_val(root):
    (root / "val").rename(root / "other")


def spoil_class_in_val_only(root):
    (root / "val" / "fox").mkdir()


def spoil_class_in_train_only(root):
    (root / "train" / "fox").mkdir()


def spoil_empty_class(root):
    for path in (root / "train" / "dog").iterdir():
        path.rename(path.with_suffix(".txt"))


def spoil_second_validation(root):
    shutil.copytree(root / "val", root / "validation")


def spoil_case_alone(root):
    (root / "Train").mkdir()
    if len(list(root.iterdir())) == 2:
        pytest.skip("here Train is train")


def spoil_class_beside(root):
    shutil.copytree(root / "val" / "dog", root / "yak" / "more")


def spoil_nested_in_split(root):
    (root / "val" / "dog" / "sub").mkdir()
    for path in (root / "val" / "dog").glob("*.png"):
        path.rename(path.parent / "sub" / path.name)


def spoil_class_called_train(root):
    (root / "val").rename(root / "car")


def spoil_one_class_left(root):
    for split in ("train", "val"):
        for name in ("Ärger", "b c", "emu"):
            shutil.rmtree(root / split / name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_no_val, r"no folder val or .* for validation\. Expected PATH/CLASS/picture\.jpg, or "
                       r"PATH/train/CLASS/picture\.jpg and .*; found other, train\."),
        (spoil_class_in_val_only, r"1 classes are in val/ and not in train/: fox\. Each needs"),
        (spoil_class_in_train_only, r"1 classes are in train/ and not in val/: fox\."),
        (spoil_empty_class, r"train/dog has no picture \(a file that ends in \.bmp, \.gif"),
        (spoil_second_validation, r": val/ and validation/ are names of the same split\. Leave"),
        (spoil_case_alone, r": Train/ and train/ are names of the same split\."),
        (spoil_class_beside, r": yak/more/0\.png lies beside train/ and val/, and would not be "
                             r"used\. Move yak away, .* train/ is taken for a split here: if"),
        (spoil_nested_in_split, r"class dog, as val/dog/sub/0\.png, .* used\. Move them up into d"),
        (spoil_class_called_train, r"no folder val .*; found car, train\. train/ is taken for a "
                                   r"split here: if it is a class, rename the folder\.$"),
        (spoil_one_class_left, r"expected two or more folders, a class each, in .*; found dog\."),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path, spoil, message):
    name = write(tmp_path / "set")
    spoil(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        sources.open_source(name)


def spoil_no_folder(root):
    for name in CLASSES:
        (root / name / "0.png").rename(root / f"{name}.png")
        shutil.rmtree(root / name)


def spoil_nothing_left(root):
    spoil_no_folder(root)
    for path in root.iterdir():
        path.unlink()


def spoil_one_class(root):
    for name in ("Ärger", "b c", "emu"):
        shutil.rmtree(root / name)


def spoil_no_picture(root):
    for path in (root / "dog").iterdir():
        path.unlink()


def spoil_single(root):
    for name in ("dog", "emu"):
        for number in (0, 1):
            (root / name / f"{number}.png").unlink()


def spoil_one_too_deep(root):
    (root / "dog").rename(root / "0")
    (root / "dog").mkdir()
    (root / "0").rename(root / "dog" / "0")


def spoil_one_class_too_deep(root):
    (root / "all").mkdir()
    for name in CLASSES:
        (root / name).rename(root / "all" / name)


def spoil_deep_split(root):
    for name in CLASSES:
        shutil.rmtree(root / name)
    write(root / "all", classes=["dog"])


def spoil_nested(root):
    (root / "emu" / "some" / "more").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(root / "emu" / "some" / "more" / "5.png")


def spoil_dangling_class(root):
    (root / "fox").symlink_to(root / "gone")


def spoil_name_is_no_text(root):
    os.mkdir(os.fsencode(root) + b"/f\xfcchse")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_no_folder, r"expected two or more folders, .*; found 4 pictures in no folder\. "
                          r"Pictures belong in PATH/CLASS/picture\.jpg, or PATH/train/CLASS/"),
        (spoil_nothing_left, r"expected two or more folders, .* in .*; found no folder\."),
        (spoil_one_class, r"expected two or more folders, a class each, in .*; found dog\."),
        (spoil_no_picture, r"dog has no picture \(a file that ends in \.bmp, .*\)\. Add some"),
        (spoil_one_too_deep, r"folders within the class dog, as dog/0/0\.png, and would not be "
                             r"used\. If .* in there, give --dataset=folder:.*/set/dog; else move"),
        (spoil_one_class_too_deep, r"class all, as all/b c/0\.png, .*--dataset=folder:.*/set/all;"),
        (spoil_deep_split, r"as all/train/dog/0\.png, .*--dataset=folder:.*/set/all;"),
        (spoil_nested, r"as emu/some/more/5\.png, and would not be used\. Move them up into emu"),
        (spoil_single, r"2 classes have a single picture: dog, emu\. Expected two or more"),
        (spoil_dangling_class, r"set/fox is a broken link\. Mend or remove it"),
        (spoil_name_is_no_text, r"expected in UTF-8 and on one line, found f\\xfcchse\. Rename"),
    ],
)  # fmt: skip
def test_what_is_missing_without_a_split_is_named(tmp_path, spoil, message):
    name = write_flat(tmp_path / "set")
    sources.open_source(name)
    spoil(tmp_path / "set")
    with pytest.raises(UserError, match=rf"^--dataset={name}: .*{message}") as caught:
        sources.open_source(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["", "dog"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, place, monkeypatch):
    name, locked = write_flat(tmp_path / "set"), str(tmp_path / "set" / place).rstrip("/")
    scandir = os.scandir

    def refused(path):
        if str(path) == locked:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)  # Who is root is let in everywhere.
    with pytest.raises(UserError, match=rf"the folder {locked} cannot be read \(Permission denied"):
        sources.open_source(name)


def test_flags(tmp_path):
    for none in ("folder:", "folder:~nobody-of-that-name/set", f"folder:{__file__}"):
        with pytest.raises(UserError, match=rf"{none}: no such folder\. Expected folder:PATH with"):
            dataset_names.check(none, None)
    with pytest.raises(UserError, match="--dataset=folder:/none: no such folder"):
        dataset_names.check("folder:/none", None)
    with pytest.raises(UserError, match=r"--data_dir=here: folder:.* says where it is"):
        dataset_names.check(write(tmp_path / "set"), "here")


@pytest.mark.parametrize("flag", ["validation_split", "validation_seed"])
def test_a_folder_that_is_divided_is_not_divided_again(tmp_path, flag):
    name = write(tmp_path / "set")
    dataset_names.check(write_flat(tmp_path / "flat"), None, [flag])
    with pytest.raises(UserError, match=rf"^--{flag}: {name} is divided already, in train/ and va"):
        dataset_names.check(name, None, [flag])


@pytest.mark.parametrize("fits", [True, False])
def test_a_bad_picture_is_named_or_left_out(tmp_path, fits, monkeypatch):
    monkeypatch.setattr(task_pair, "_fits", lambda *_: fits)
    name = write(tmp_path / "set")
    bad = tmp_path / "set" / "train" / "dog" / "3.png"
    bad.write_bytes(bad.read_bytes()[:40])
    settings = make_experiment(
        tuple(map(parse_treatment, ("baseA", "baseB"))), dataset=name, steps=9, batch_size=4,
        group_memory=1,
    )  # fmt: skip
    with pytest.raises(UserError, match=rf"1 pictures cannot be used: {bad} cannot be decoded"):
        run_experiment(settings, Workdir(tmp_path / "run"), log=lambda _: None)
    pair, train, _ = read(name, bad_images="skip")
    assert sum(map(len, train.values())) == 23
    (line,) = pair.skipped
    assert line.startswith(f"{bad} cannot be decoded")
