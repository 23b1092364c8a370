"""Faults that are planted in a folder of real photographs; each is found, and nothing else."""

import io
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.paths import SHARED

from transfer_keras.config import UserError, make_experiment
from transfer_keras.datasets import Division, check_folder, picture_checks
from transfer_keras.datasets.folder import Folder
from transfer_keras.datasets.picture_facts import HASH_BITS, distances
from transfer_keras.experiments import read_data


def photograph(seed, size=(120, 90)):
    """Makes a smooth picture in colours, as photographs are."""
    small = np.random.default_rng(seed).integers(30, 200, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def clean(tmp_path):
    """Makes a folder with two classes of twelve pictures each, of which four are validated on."""
    for split, count in (("train", 8), ("val", 4)):
        for k, label in enumerate(("cats", "dogs")):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 100 * k + number + 10 * (split == "val")
                photograph(seed).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def findings(folder, **options):
    """Gives name of a check -> the sets of files that it found together."""
    found = {}
    for finding in check_folder(f"folder:{folder}", **options).findings:
        names = {str(pathlib.Path(p.path).relative_to(folder)) for p in finding.pictures}
        found.setdefault(finding.check, []).append(names)
    return found


def test_a_clean_folder_has_nothing(clean):
    assert findings(clean) == {}


def jpeg(picture, quality):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES = {
    "itself": lambda picture: picture,
    "saved again": lambda picture: jpeg(picture, 30),
    "half as large": lambda picture: picture.resize((60, 45)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "grey": lambda picture: picture.convert("L"),
    "its middle": lambda picture: picture.crop((2, 1, 118, 89)),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("source", "copy", "check"),
    [
        ("val/cats/1", "train/cats/copy", picture_checks.LEAK),
        ("train/cats/1", "train/cats/copy", picture_checks.NEAR_COPY),
        ("train/cats/1", "train/dogs/copy", picture_checks.TWO_CLASSES),
    ],
)
def test_a_copy_is_found_wherever_it_lies(clean, change, source, copy, check):
    original = Image.open(clean / f"{source}.png")
    CHANGES[change](original).save(clean / f"{copy}.png")
    found = findings(clean)
    found.pop(picture_checks.GREY, None)
    if change == "itself" and check == picture_checks.NEAR_COPY:
        check = picture_checks.COPY
    assert found == {check: [{f"{source}.png", f"{copy}.png"}]}


def test_a_leak_into_another_class_is_both(clean):
    shutil.copy(clean / "val/cats/1.png", clean / "train/dogs/copy.png")
    pair = [{"val/cats/1.png", "train/dogs/copy.png"}]
    assert findings(clean) == {picture_checks.LEAK: pair, picture_checks.TWO_CLASSES: pair}


def test_pictures_in_test_are_one_more_side(clean):
    shutil.copytree(clean / "val", clean / "test")
    for path in (clean / "test").rglob("*.png"):
        photograph(1000 + int(path.stem) + 10 * (path.parent.name == "dogs")).save(path)
    shutil.copy(clean / "train/cats/1.png", clean / "test/cats/copy.png")
    found = findings(clean)
    assert found[picture_checks.LEAK] == [{"train/cats/1.png", "test/cats/copy.png"}]


ODD = {
    picture_checks.UNREADABLE: lambda p: (p / "x.jpg").write_bytes(b"\xff\xd8\xff no picture"),
    picture_checks.EMPTY: lambda p: Image.new("RGB", (90, 90), (7, 9, 200)).save(p / "x.png"),
    picture_checks.MISNAMED: lambda p: photograph(77).save(p / "x.jpg", "PNG"),
    picture_checks.GREY: lambda p: photograph(77).convert("L").save(p / "x.png"),
    picture_checks.SIZE: lambda p: photograph(77, (1200, 900)).save(p / "x.png"),
    picture_checks.LONG: lambda p: photograph(77, (400, 90)).save(p / "x.png"),
    picture_checks.TURNED: lambda p: photograph(77).save(p / "x.jpg", exif=turned(6)),
}


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("check", ODD, ids=lambda check: check.name)
def test_an_odd_picture_is_found(clean, check):
    ODD[check](clean / "train/cats")
    (names,) = {path.name for path in (clean / "train/cats").glob("x.*")}
    assert findings(clean) == {check: [{f"train/cats/{names}"}]}


def test_truncated_and_not_decoded_ones(clean):
    data = io.BytesIO()
    photograph(5, (300, 300)).save(data, "JPEG")
    (clean / "train/cats/half.jpg").write_bytes(data.getvalue()[:2000])
    photograph(6).save(clean / "train/cats/x.tiff")
    assert findings(clean) == {
        picture_checks.UNREADABLE: [{"train/cats/half.jpg"}, {"train/cats/x.tiff"}]
    }


def test_a_colour_picture_among_grey_ones_and_uneven_classes(clean):
    for path in clean.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    photograph(77).save(clean / "train/cats/x.png")
    for k in range(2, 8):
        (clean / f"train/dogs/{k}.png").unlink()
    assert findings(clean) == {
        picture_checks.COLOURED: [{"train/cats/x.png"}],
        picture_checks.UNEVEN: [{"train/dogs/0.png", "train/dogs/1.png"}],
    }


def test_distances_count_bits():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (3, HASH_BITS)).astype(bool)
    packed = np.packbits(bits, axis=1).view(np.uint64)
    expected = (bits[:, None] != bits[None]).sum(axis=-1)
    assert np.array_equal(distances(packed, packed), expected)


def test_the_list_takes_all_copies_but_one_out(clean, tmp_path):
    """What is tested on stays; of what has two labels nothing does."""
    shutil.copy(clean / "val/cats/1.png", clean / "train/cats/leak.png")
    shutil.copy(clean / "train/cats/2.png", clean / "train/dogs/two.png")
    shutil.copy(clean / "train/dogs/3.png", clean / "train/dogs/#odd.png")
    Image.new("RGB", (90, 90)).save(clean / "val/dogs/black.png")
    (clean / "train/dogs/bad.png").write_bytes(b"nothing")
    found = check_folder(f"folder:{clean}")
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{line}\n" for line in found.list_lines))
    listed = {line for line in found.list_lines if not line.startswith("#")}
    assert listed == {
        "train/cats/leak.png", "train/cats/2.png", "train/dogs/two.png", "train/dogs/3.png",
        "val/dogs/black.png", "train/dogs/bad.png",
    }  # fmt: skip
    assert found.to_leave_out == 6
    assert check_folder(f"folder:{clean}", leave_out=str(path)).findings == []
    with pytest.raises(UserError, match=r"bad\.png cannot be decoded"):
        read(clean)
    data = read(clean, leave_out=str(path))
    assert (len(data.train["A"]), len(data.test["A"])) == (8 + 8 + 3 - 4, 9 - 1)
    assert len([line for line in data.pair.skipped if line.endswith("--leave_out")]) == 6


def read(folder, **settings):
    experiment = make_experiment(["baseA"], dataset=f"folder:{folder}", split="whole",
                                 image_size=32, batch_size=4, steps=1, **settings)  # fmt: skip
    return read_data(experiment)


def test_other_pictures_are_other_data(clean, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# a comment\n\ntrain/cats/0.png\n")
    whole, part = Folder(f"folder:{clean}"), Folder(f"folder:{clean}", leave_out=path)
    assert whole.identity != part.identity
    assert part.size("train") == whole.size("train") - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"train/cats/0.png\ngone/1.png\n", "1 of its lines name no picture of folder:"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(clean, tmp_path, text, message):
    path = tmp_path / "list.txt"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(UserError) as error:
        Folder(f"folder:{clean}", leave_out=path)
    assert str(error.value).startswith(f"--leave_out={path}: ")
    assert message in str(error.value)


def test_copies_in_val_and_test_are_a_leak_and_the_test_keeps_its_own(clean):
    (clean / "test" / "cats").mkdir(parents=True)
    shutil.copy(clean / "val/cats/1.png", clean / "test/cats/copy.png")
    shutil.copy(clean / "val/cats/1.png", clean / "train/cats/too.png")
    found = check_folder(f"folder:{clean}")
    (finding,) = found.findings
    assert finding.check == picture_checks.LEAK
    listed = [line for line in found.list_lines if not line.startswith("#")]
    assert sorted(listed) == ["train/cats/too.png", "val/cats/1.png"]


def test_a_list_grows_and_names_are_normal(clean, tmp_path):
    shutil.copy(clean / "train/cats/2.png", clean / "train/cats/again.png")
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff./train//dogs/1.png\r\n".encode())
    found = check_folder(f"folder:{clean}", leave_out=str(path))
    listed = [line for line in found.list_lines if not line.startswith("#")]
    assert listed == ["train/dogs/1.png", "train/cats/again.png"]


def test_no_class_is_emptied(clean):
    shutil.rmtree(clean / "train" / "dogs")
    shutil.copytree(clean / "train" / "cats", clean / "train" / "dogs")
    lines = check_folder(f"folder:{clean}").list_lines
    assert [line for line in lines if not line.startswith("#")] == []
    assert "# Not listed, as nothing would remain: train/dogs" in lines


def test_what_pillow_cannot_open_but_tensorflow_can_is_sound(clean, monkeypatch):
    """JPEG XL for one."""

    def unknown(*arguments, **options):
        raise Image.UnidentifiedImageError("unknown")

    shutil.copy(clean / "train/cats/2.png", clean / "train/cats/again.png")
    monkeypatch.setattr(Image, "open", unknown)
    assert findings(clean) == {picture_checks.COPY: [{"train/cats/2.png", "train/cats/again.png"}]}


def test_where_there_is_no_time_a_part_is_looked_at(clean):
    assert check_folder(f"folder:{clean}", deadline=0.0).pictures == []


@pytest.mark.skipif(not (SHARED / "pictures").exists(), reason="needs the shared photographs")
@pytest.mark.parametrize(("name", "alarms"), [("ants_bees", 5), ("flowers", 8)])
def test_few_alarms_in_real_photographs(name, alarms):
    """Of 398 and 375: grey ones (they are) and one of 500 x 146 pixels."""
    found = check_folder(f"folder:{SHARED / 'pictures' / name}", Division())
    assert not [finding for finding in found.findings if finding.leave_out]
    assert len(found.findings) <= alarms
