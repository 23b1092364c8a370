import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from transfer_keras.datasets import sources
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.tiny_imagenet import Tree
from transfer_keras.errors import UserError

WNIDS = ["n02124075", "n01443537", "n03100240"]


def jpeg(value: int) -> bytes:
    mode = "L" if value == 7 else "RGB"  # The real set has grey pictures among the others.
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), value if mode == "L" else (value, value, value)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def files():
    made = {"wnids.txt": "\n".join(WNIDS).encode() + b"\n", "words.txt": b""}
    for index, wnid in enumerate(WNIDS):
        for number in range(4):
            name = f"train/{wnid}/images/{wnid}_{number}.JPEG"
            made[name] = jpeg(10 * index + number + 4)
        made[f"train/{wnid}/{wnid}_boxes.txt"] = b""
        made[f"val/images/val_{index}.JPEG"] = jpeg(100 + index)
    lines = [f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62" for i, wnid in enumerate(WNIDS)]
    made["val/val_annotations.txt"] = "\n".join(lines).encode()
    return made


@pytest.fixture(params=["zip", "folder", "zip at its top"])
def copy(request, files, tmp_path):
    if request.param == "folder":
        for name, content in files.items():
            path = tmp_path / "tiny" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "tiny"
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name if "top" in request.param else f"tiny-imagenet-3/{name}", content)
    return path


@pytest.fixture(autouse=True)
def prepared_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))


def prepared(path):
    source = sources.open_source("tiny_imagenet", str(path))
    source.prepare()
    return source


def test_layouts(copy):
    source = prepared(copy)
    assert source.class_names == tuple(sorted(WNIDS))
    images, labels, _ = sources.read(source, source.train, Preprocessing(64, 64))
    found = {
        source.class_names[k]: sorted(images[labels == k].mean(axis=(1, 2, 3))) for k in range(3)
    }
    for index, wnid in enumerate(WNIDS):
        np.testing.assert_allclose(found[wnid], 10 * index + np.arange(4) + 4, atol=1.5)
    tests, test_labels, _ = sources.read(source, source.test, Preprocessing(64, 64))
    by_wnid = {source.class_names[k]: tests[i].mean() for i, k in enumerate(test_labels)}
    assert [by_wnid[w] for w in WNIDS] == pytest.approx([100, 101, 102], abs=1.5)


def test_another_copy_is_another_config(files, tmp_path):
    names = set()
    for extra in (b"", b"more"):
        folder = tmp_path / f"copy{len(extra)}"
        for name, content in {**files, "words.txt": extra}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        names.add(prepared(folder).builder.builder_config.name)
    assert len(names) == 2


def test_no_wnids(tmp_path):
    with pytest.raises(UserError, match=r"no wnids.txt at its top"):
        Tree(tmp_path)


def test_a_missing_picture_is_named(files, tmp_path):
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if name != "val/images/val_1.JPEG":
                archive.writestr(name, content)
    with pytest.raises(UserError, match=r"val/images/val_1.JPEG is missing"):
        prepared(path)


def test_the_real_one(tiny_imagenet_zip):
    source = prepared(tiny_imagenet_zip)
    assert len(source.class_names) == 40
    assert (source.size(source.train), source.size(source.test)) == (20_000, 2000)
    images, labels, _ = sources.read(source, source.test, Preprocessing(32, 32))
    assert np.bincount(labels).tolist() == [50] * 40
    assert 90 < images.mean() < 140


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_damaged_picture_in_a_zip_is_named(files, tmp_path):
    name = f"train/{WNIDS[1]}/images/{WNIDS[1]}_2.JPEG"
    path = write_zip(tmp_path / "tiny.zip", files)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(name).header_offset + 30 + len(name)
    content = bytearray(path.read_bytes())
    content[start + 20 : start + 60] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        prepared(path)


def test_a_class_without_pictures_is_named(files, tmp_path):
    files = {n: c for n, c in files.items() if not n.startswith(f"train/{WNIDS[0]}")}
    with pytest.raises(
        UserError, match=rf"1 classes of wnids.txt have no train picture: {WNIDS[0]}"
    ):
        prepared(write_zip(tmp_path / "tiny.zip", files))


def test_a_malformed_annotation(files, tmp_path):
    files["val/val_annotations.txt"] = b"val_0.JPEG n02124075\n"
    with pytest.raises(UserError, match=r"has the line 'val_0.JPEG n02124075'"):
        prepared(write_zip(tmp_path / "tiny.zip", files))
