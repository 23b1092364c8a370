"""Pictures of odd formats, names and places in folders: right, or named."""

import base64
import io
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image
from support.picture_folders import read, write, write_flat

from transfer_keras.config import dataset_names, memory
from transfer_keras.config.errors import UserError
from transfer_keras.datasets import sources
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair


def saved(picture, kind, **more):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def palette():
    picture = Image.new("P", (40, 36), 2)
    picture.putpalette([0, 0, 0, 255, 255, 255, 10, 120, 200])
    return picture


BLUE, GREY = (10, 120, 200), (77, 77, 77)


def of_blue(**more):
    return Image.new("RGB", (40, 36), BLUE, **more)


def dangling(path):
    path.symlink_to(path.parent / "gone.png")


def endless(path):
    path.symlink_to(path)


UNUSABLE = {
    "a.tif": (lambda path: path.write_bytes(b"II*"), r"is \.tif, .*: convert it to JPEG or PNG"),
    "B.HEIC": (lambda path: path.write_bytes(b""), r"is \.heic, .*: convert it to JPEG or PNG"),
    "c.png": (dangling, r"is a broken link \(No such file"),
    "d.JPG": (endless, r"is a broken link \(Too many levels"),
    "e.gif": (lambda path: path.mkdir(), r"is no file"),
    "f.jpeg": (os.mkfifo, r"is no file"),
    "g.bmp": (
        lambda path: palette().save(path),
        r"has a palette, which TensorFlow does not heed in a BMP: convert it to PNG",
    ),
}


@pytest.mark.parametrize("layout", ["train/dog", "dog"])
@pytest.mark.parametrize("file", UNUSABLE)
def test_files_that_cannot_be_used_are_named_or_left_out(tmp_path, layout, file):
    make, message = UNUSABLE[file]
    name = (write if "/" in layout else write_flat)(tmp_path / "set")
    before = sources.open_source(name)
    bad = tmp_path / "set" / layout / file
    make(bad)
    with pytest.raises(
        UserError, match=rf"^--dataset={name}: 1 pictures cannot be used: {bad} {message}.*\. Mend"
    ):
        sources.open_source(name)
    source = sources.open_source(name, bad_images="skip")
    assert source.identity == before.identity
    (line,) = source.skipped
    assert re.match(rf"{bad} {message}", line)
    pair, *_ = read(name, bad_images="skip")
    assert pair.skipped == [line]


def test_a_class_of_which_nothing_can_be_used(tmp_path):
    name = write_flat(tmp_path / "set")
    for path in (tmp_path / "set" / "dog").iterdir():
        path.rename(path.with_suffix(".avif"))
    with pytest.raises(UserError, match=r"3 pictures cannot be used: .*/dog/0\.avif is \.avif"):
        sources.open_source(name)
    with pytest.raises(UserError, match=r": dog has no picture"):
        sources.open_source(name, bad_images="skip")


def pictures_of_dog(root, kind):
    """Reads the pictures of train/dog as a network sees them."""
    pair = TaskPair(f"folder:{root}", None, "0")
    train, _ = pair.read(Preprocessing(32, 32, augment=False, kind=kind), batch_size=1)
    (task,) = (name for name in train if "dog" in pair.tasks[name].class_names)
    label = pair.tasks[task].class_names.index("dog")
    return [
        image
        for images, labels in train[task].evaluation(batch_size=4)
        for image in images.numpy()[labels.numpy() == label]
    ]


# A JPEG XL of one colour: Pillow alone writes none.
JXL = base64.b64decode("/woYAU6ASAgAAQBgAEsYixUA1Igxxo8x7gEcQImBg5Z/cn9IPg==")


RIGHT = {
    "grey.png": (saved(Image.new("L", (40, 36), 77), "PNG"), GREY),
    "grey.jpg": (saved(Image.new("L", (40, 36), 77), "JPEG"), GREY),
    "grey.bmp": (saved(Image.new("L", (40, 36), 77), "BMP"), GREY),
    "one bit.png": (saved(Image.new("1", (40, 36), 1), "PNG"), (255, 255, 255)),
    "palette.png": (saved(palette(), "PNG"), BLUE),
    "palette.gif": (saved(palette(), "GIF"), BLUE),
    "palette with alpha.png": (saved(palette(), "PNG", transparency=2), BLUE),
    "alpha.png": (saved(Image.new("RGBA", (40, 36), (*BLUE, 99)), "PNG"), BLUE),
    "grey with alpha.png": (saved(Image.new("LA", (40, 36), (77, 99)), "PNG"), GREY),
    "alpha.bmp": (saved(Image.new("RGBA", (40, 36), (*BLUE, 99)), "BMP"), BLUE),
    "16 bits.png": (saved(Image.new("I;16", (40, 36), 77 * 256 + 250), "PNG"), GREY),
    "CMYK.jpg": (saved(Image.new("CMYK", (40, 36), (245, 135, 55, 0)), "JPEG"), BLUE),
    "black CMYK.jpg": (saved(Image.new("CMYK", (40, 36), (0, 0, 0, 178)), "JPEG"), GREY),
    "progressive.jpeg": (saved(of_blue(), "JPEG", progressive=True, quality=95), BLUE),
    "UPPER.PNG": (saved(of_blue(), "PNG"), BLUE),
    "UPPER.JPG": (saved(of_blue(), "JPEG", quality=95), BLUE),
    "a JPEG.jfif": (saved(of_blue(), "JPEG", quality=95), BLUE),
    "a JPEG.png": (saved(of_blue(), "JPEG", quality=95), BLUE),
    "a.webp": (saved(of_blue(), "WEBP", lossless=True), BLUE),
    "a.jxl": (JXL, BLUE),
}


@pytest.mark.parametrize("kind", ["paper", "modern"])
@pytest.mark.parametrize("file", RIGHT)
def test_colours_of_odd_formats(tmp_path, file, kind):
    data, colour = RIGHT[file]
    write(tmp_path / "set", train=1, val=1)
    (tmp_path / "set" / "train" / "dog" / "0.png").unlink()
    (tmp_path / "set" / "train" / "dog" / file).write_bytes(data)
    (image,) = pictures_of_dog(tmp_path / "set", kind)
    assert image.dtype == np.uint8
    worst = 2 if bytes(data[:2]) == b"\xff\xd8" else 0  # A JPEG rounds.
    assert np.abs(image.astype(int) - colour).max() <= worst


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("alpha.webp", saved(Image.new("RGBA", (40, 36), (*BLUE, 99)), "WEBP")),
        ("a TIFF.png", saved(of_blue(), "TIFF")),
        ("one bit.bmp", saved(Image.new("1", (40, 36), 1), "BMP")),
    ],
)
def test_what_cannot_be_decoded_is_named(tmp_path, file, data, monkeypatch):
    name = write(tmp_path / "set")
    bad = tmp_path / "set" / "train" / "dog" / file
    bad.write_bytes(data)
    pair, train, _ = read(name, bad_images="skip")
    assert sum(map(len, train.values())) == 24
    assert len(pair.skipped) == 1
    named = rf"1 pictures cannot be used: {re.escape(str(bad))} "
    with pytest.raises(UserError, match=named):  # Where they are kept in memory.
        read(name)
    monkeypatch.setattr(memory, "process_memory", lambda: 0)
    pair, train, _ = read(name)
    with pytest.raises(UserError, match=named):
        pair.refuse_faults(train)


ODD = [
    "a  b",
    " a",
    "Ωμέγα 日本",
    "a#b",
    "100%",
    "%20",
    "a*?[b]",
    "'\"`$x",
    "a\\b",
    "-a",
    "a:b,c;d",
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_names(tmp_path, odd):
    path = tmp_path / odd / "dog" / f"{odd}.png"
    write_flat(tmp_path / odd)
    of_blue().save(path)
    (tmp_path / odd / "emu").rename(tmp_path / odd / f"emu {odd}")
    source = sources.open_source(f"folder:{tmp_path / odd}")
    assert f"emu {odd}" in source.class_names
    seen = {}
    for split in ("train", "validation"):
        records = source.records(split)
        for place in range(len(records)):
            data = records.encoded(records.fetch([place])[0]).numpy()
            seen[records.name(place)] = data
    assert seen == {str(file): file.read_bytes() for file in (tmp_path / odd).glob("*/*.png")}


def test_a_file_name_need_not_be_text(tmp_path):
    name = write(tmp_path / "set")
    odd = os.fsencode(tmp_path) + b"/set/train/dog/\xff\xe4.png"
    with open(odd, "wb") as file:
        file.write(saved(of_blue(), "PNG"))
    assert (pictures_of_dog(tmp_path / "set", "paper")[-1] == BLUE).all()
    with open(odd, "wb") as file:
        file.write(b"no picture")
    pair, *_ = read(name, bad_images="skip")
    assert pair.skipped[0].startswith(f"{tmp_path}/set/train/dog/\\xff\\xe4.png cannot be decoded")


def test_a_path_must_be_text_but_may_lead_to_any(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/s\xe4t")
    name = write(pathlib.Path(odd))
    with pytest.raises(
        UserError, match=r"/s\\xe4t: expected a path in UTF-8, .* Rename it, or make"
    ):
        dataset_names.check(name, None)
    (tmp_path / "link").symlink_to(odd)
    dataset_names.check(f"folder:{tmp_path}/link", None)
    pair, train, _ = read(f"folder:{tmp_path}/link")
    assert pair.identity.startswith("folder:s\\xe4t/")
    assert sum(map(len, train.values())) == 24


@pytest.mark.parametrize("make", [write, write_flat])
def test_links_to_all_files_are_as_the_files(tmp_path, make):
    name = make(tmp_path / "set")
    before = sources.open_source(name).identity
    (tmp_path / "far").mkdir()
    for number, path in enumerate(sorted((tmp_path / "set").rglob("*.png"))):
        path.rename(tmp_path / "far" / str(number))
        path.symlink_to(tmp_path / "far" / str(number))
    assert sources.open_source(name).identity == before


def test_links_are_followed(tmp_path):
    name = write(tmp_path / "set", train=1)
    (tmp_path / "far").mkdir()
    of_blue().save(tmp_path / "far" / "some.png")
    (tmp_path / "set" / "train" / "dog" / "link.png").symlink_to(tmp_path / "far" / "some.png")
    assert (pictures_of_dog(tmp_path / "set", "paper")[1] == BLUE).all()
    for split in ("train", "val"):
        (tmp_path / "set" / split / "fox").symlink_to(tmp_path / "far")
    source = sources.open_source(name)
    assert source.class_names == ("b c", "dog", "emu", "fox", "Ärger")
    assert [source.size(split) for split in ("train", "val")] == [6, 13]


@pytest.mark.parametrize("make", [write, write_flat])
def test_a_picture_in_the_folder_of_no_class_is_refused(tmp_path, make):
    name = make(tmp_path / "set")
    before = sources.open_source(name).identity
    loose = tmp_path / "set" / ("train" if make is write else "") / "cover.png"
    of_blue().save(loose)
    source = sources.open_source(name)
    assert source.identity == before
    assert source.skipped == [f"{loose} is in the folder of no class"]
