import zipfile

import numpy as np
import pytest
from support.tiny_imagenet import WNIDS, write_zip

from transfer_keras.config.errors import UserError
from transfer_keras.datasets import sources
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.tiny_imagenet import Tree

pytestmark = pytest.mark.usefixtures("prepared_elsewhere")


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


def prepared(path):
    source = sources.open_source("tiny_imagenet", str(path))
    source.prepare()
    return source


def test_layouts(copy):
    source = prepared(copy)
    assert source.class_names == tuple(sorted(WNIDS))
    images, labels, _ = sources.read(source, source.train, Preprocessing(64, 64))
    means = {
        source.class_names[k]: sorted(images[labels == k].mean(axis=(1, 2, 3))) for k in range(3)
    }
    for index, wnid in enumerate(WNIDS):
        np.testing.assert_allclose(means[wnid], 10 * index + np.arange(4) + 4, atol=1.5)
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


@pytest.mark.slow
def test_the_real_one(tiny_imagenet_zip):
    source = prepared(tiny_imagenet_zip)
    assert len(source.class_names) == 40
    assert (source.size(source.train), source.size(source.test)) == (20_000, 2000)
    images, labels, _ = sources.read(source, source.test, Preprocessing(32, 32))
    assert np.bincount(labels).tolist() == [50] * 40
    assert 90 < images.mean() < 140


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
