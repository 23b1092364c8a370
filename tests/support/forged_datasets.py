"""Datasets and picture folders that are wrong, damaged or odd, by kind, each from a fixed seed.

Each makes its files in an empty folder, and gives the settings by which they are opened. All must
be read or be refused by a `UserError`.
"""

import io
import json
import pathlib
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator

import tensorflow as tf

from support import tiny_imagenet
from support.forged_pictures import Forgery, claims, encode, forged_pictures, whole_png

CONFIG = "4x12x8"  # Of `formula_images`, prepared once in the folder that `forgeries` is given.


def forgeries(prepared: pathlib.Path) -> Iterator[Forgery]:
    """Gives all of them.

    Args:
        prepared: a folder of TFDS in which `formula_images/4x12x8` is prepared.
    """
    yield from forged_pictures()
    yield from _tiny_imagenets()
    yield from _prepared_facts(prepared)
    yield from _prepared_records(prepared)
    yield from _amounts()


# Tiny ImageNet.


def _tiny_imagenets() -> Iterator[Forgery]:
    kind, (first, second, *_) = "Tiny ImageNet", tiny_imagenet.WNIDS
    picture = f"train/{first}/images/{first}_0.JPEG"
    notes, wnids = "val/val_annotations.txt", "wnids.txt"
    edits: dict[str, dict[str, bytes | None]] = {
        "no annotations": {notes: None}, "empty annotations": {notes: b""},
        "annotations without tab": {notes: b"val_0.JPEG n01443537\n"},
        "annotations of nothing": {notes: b"nothing.JPEG\tn01443537\n"},
        "annotations that climb": {notes: f"../../../etc/passwd\t{first}\n".encode()},
        "annotations of no class": {notes: b"val_0.JPEG\tx\n"},
        "binary annotations": {notes: random.Random(2).randbytes(900)},
        "annotations with BOM": {notes: b"\xef\xbb\xbf" + tiny_imagenet.make_files()[notes]},
        "empty wnids": {wnids: b""}, "binary wnids": {wnids: random.Random(3).randbytes(90)},
        "a wnid twice": {wnids: f"{first}\n{first}\n{second}\n".encode()},
        "one wnid": {wnids: f"{first}\n".encode()}, "no wnids": {wnids: None},
        "wnids with BOM": {wnids: b"\xef\xbb\xbf" + tiny_imagenet.make_files()[wnids]},
        "many wnids": {wnids: b"".join(b"n%08d\n" % k for k in range(200_000))},
        "wnid that climbs": {wnids: f"{first}\n{second}\n../../x\n".encode()},
        "large picture": {picture: claims("JPEG", 65_500, 65_500)},
        "bomb of a picture": {picture: bytes(2**28)}, "bomb of wnids": {wnids: b"\n" * 2**28},
        "bomb of annotations": {notes: b"\n" * 2**28}, "no picture": {picture: b"no picture"},
        "empty picture": {picture: b""}, "small picture": {picture: encode("JPEG", (8, 8))},
    }  # fmt: skip
    for name, edit in edits.items():
        for form in ("zip", "folder"):

            def make(folder, edit=edit, form=form):
                files = {**tiny_imagenet.make_files(), **edit}
                files = {name: data for name, data in files.items() if data is not None}
                if form == "zip":
                    path = tiny_imagenet.write_zip(folder / "tiny.zip", files)
                else:
                    path = folder / "tiny"
                    for name, data in files.items():
                        (path / name).parent.mkdir(parents=True, exist_ok=True)
                        (path / name).write_bytes(data)
                return {"dataset": "tiny_imagenet", "data_dir": str(path), "split": "whole"}

            if form == "zip" or name in ("no annotations", "bomb of wnids", "large picture"):
                yield Forgery(kind, f"{name} {form}", make)
    rng = random.Random(4)
    for number in range(12):
        at, byte = rng.random(), rng.randrange(256)

        def damaged(folder, number=number, place=at, value=byte):
            path = tiny_imagenet.write_zip(folder / "tiny.zip", tiny_imagenet.make_files())
            data = bytearray(path.read_bytes())
            if number % 4 == 0:
                data = data[: int(place * len(data))]
            elif number % 4 == 1:  # In the table of files.
                begin = data.rindex(b"PK\x05\x06") - int(place * 2000)
                data[begin : begin + 4] = bytes([value] * 4)
            else:
                data[int(place * len(data))] = value
            path.write_bytes(data)
            return {"dataset": "tiny_imagenet", "data_dir": str(path), "split": "whole"}

        yield Forgery(kind, f"damaged zip {number}", damaged)

    def encrypted(folder):
        path = tiny_imagenet.write_zip(folder / "tiny.zip", tiny_imagenet.make_files())
        data = bytearray(path.read_bytes())
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            place = data.index(mark)
            data[place + offset] |= 1
        path.write_bytes(data)
        return {"dataset": "tiny_imagenet", "data_dir": str(path), "split": "whole"}

    def many(folder):
        with zipfile.ZipFile(folder / "tiny.zip", "w") as archive:
            archive.writestr("../../wnids.txt", b"n01443537\n")
        return {"dataset": "tiny_imagenet", "data_dir": str(folder / "tiny.zip")}

    yield Forgery(kind, "encrypted", encrypted)
    yield Forgery(kind, "climbing", many)


# What TFDS has prepared.


def _edited(prepared: pathlib.Path, edit: Callable[[pathlib.Path], object], fits: bool = True):
    def make(folder):
        shutil.copytree(prepared / "formula_images", folder / "tfds" / "formula_images")
        edit(folder / "tfds" / "formula_images" / CONFIG / "2.0.0")
        name = f"formula_images/{CONFIG}"
        return {"dataset": name, "data_dir": str(folder / "tfds"), "fits": fits}

    return make


def _put(name: str, data: bytes | None):
    def edit(folder):
        (folder / name).unlink(missing_ok=True)
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)

    return edit


def _change(name: str, change: Callable[[dict], object]):
    def edit(folder):
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return edit


def _prepared_facts(prepared: pathlib.Path) -> Iterator[Forgery]:
    def split(key, value):
        return lambda info: info["splits"][0].__setitem__(key, value)

    def set_to(key, value):
        return lambda info: info.__setitem__(key, value)

    changes = {
        **{f"lengths {v!r}"[:40]: split("shardLengths", v) for v in (
            ["39"], ["41"], ["0"], ["-1"], ["1e3"], [], ["40", "40"], ["x"], [None], "40", None,
            ["9" * 30], [40], [[40]], {"a": 1},
        )},
        **{f"bytes {v!r}": split("numBytes", v) for v in ("-1", "x", None, "9" * 30, 1.5)},
        **{f"template {v!r}"[:40]: split("filepathTemplate", v) for v in (
            "../../{DATASET}", "/etc/passwd", "", "{X}", None, 3, "{DATASET}",
        )},
        **{f"split {v!r}": split("name", v) for v in ("", "../x", None, "test", "a[b]")},
        **{f"{k} {v!r}"[:40]: set_to(k, v) for k, v in (
            ("splits", []), ("splits", None), ("splits", [None]), ("splits", {}), ("splits", "x"),
            ("version", "9.9.9"), ("version", None), ("version", "x"), ("version", 1),
            ("name", "other"), ("name", None), ("fileFormat", "parquet"), ("fileFormat", "x"),
            ("fileFormat", None), ("configName", "x"), ("moduleName", "antigravity"),
            ("supervisedKeys", None), ("supervisedKeys", {"tuple": {}}), ("unknown", 1),
        )},
    }  # fmt: skip
    for name, change in changes.items():
        make = _edited(prepared, _change("dataset_info.json", change))
        yield Forgery("dataset_info.json", name, make)
    features = {
        "a module": set_to("pythonClassName", "antigravity.X"),
        "no class": set_to("pythonClassName", None),
        "not a name": set_to("pythonClassName", "x"),
        "many classes": lambda f: f["featuresDict"]["features"]["label"]["classLabel"].update(
            numClasses="100000000"
        ),
        "empty": lambda f: f.clear(),
    }
    for name, change in features.items():
        make = _edited(prepared, _change("features.json", change))
        yield Forgery("features.json", name, make)

        def own(folder, change=change):
            target = folder / "tfds" / "my_own" / "2.0.0"
            source = prepared / "formula_images" / CONFIG / "2.0.0"
            shutil.copytree(source, target)
            for file in target.iterdir():
                file.rename(target / file.name.replace("formula_images", "my_own"))
            for info, edit in (
                ("dataset_info.json", set_to("name", "my_own")), ("features.json", change),
            ):  # fmt: skip
                _change(info, edit)(target)
            return {"dataset": "my_own", "data_dir": str(folder / "tfds")}

        yield Forgery("features.json", f"{name}, own dataset", own)
    whole = {
        name: (prepared / "formula_images" / CONFIG / "2.0.0" / name).read_bytes()
        for name in ("dataset_info.json", "features.json", "label.labels.txt")
    }
    for name, data in whole.items():
        texts = {
            "empty": b"", "cut": data[: len(data) // 2], "null": b"null", "a list": b"[]",
            "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000, "binary": random.Random(5).randbytes(500),
            "NaN": b'{"splits": NaN}', "twice": data + data, "a folder": None, "long": data * 3000,
        }  # fmt: skip
        for text, content in texts.items():
            yield Forgery(name, text, _edited(prepared, _put(name, content)))


def _records(labels, picture: bytes | None = None) -> Callable[[pathlib.Path], None]:
    """Writes other records in place of those to train on."""

    def edit(folder):
        (path,) = folder.glob("*-train.tfrecord*")
        picture_of = picture or encode("PNG", (8, 8))
        with tf.io.TFRecordWriter(str(path)) as writer:
            for label in labels:
                example = tf.train.Example()
                example.features.feature["image"].bytes_list.value.append(picture_of)
                example.features.feature["label"].int64_list.value.append(label)
                writer.write(example.SerializeToString())

    return edit


def _prepared_records(prepared: pathlib.Path) -> Iterator[Forgery]:
    rng = random.Random(6)
    edits: dict[str, Callable] = {}
    for number in range(8):
        at, byte = rng.random(), rng.randrange(256)

        def damage(folder, number=number, place=at, value=byte):
            (path,) = folder.glob("*-train.tfrecord*")
            data = bytearray(path.read_bytes())
            if number % 2:
                data = data[: int(place * len(data))]
            else:
                data[int(place * len(data))] = value
            path.write_bytes(data)

        edits[f"damaged {number}"] = damage

    def replace(how):
        def edit(folder):
            (path,) = folder.glob("*-train.tfrecord*")
            path.unlink()
            how(path)

        return edit

    even = [k % 4 for k in range(40)]
    edits |= {
        "missing": replace(lambda path: None), "a folder": replace(lambda path: path.mkdir()),
        "empty": replace(lambda path: path.write_bytes(b"")),
        "a loop": replace(lambda path: path.symlink_to(path)),
        "label beyond": _records([*even[:-1], 4]), "fewer": _records(even[:30]),
        "label of billions": _records([2**40, *even[1:]]), "more": _records([*even, *even]),
        "negative label": _records([*even[:-1], -7]),
        "large picture": _records(even, claims("PNG", 90_000, 90_000)),
        "other picture": _records(even, encode("PNG", (9, 7))), "no picture": _records(even, b"x"),
        "whole PNG": _records(even, whole_png(14_000)),
    }  # fmt: skip
    for name, edit in edits.items():
        for fits in (True, False):
            if fits or not name.startswith("damaged"):
                make = _edited(prepared, edit, fits)
                yield Forgery("records of TFDS", f"{name} {fits}", make)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (2, 25000000000000), }\n"
        for name in ("sizes", "ends", "records"):
            data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
            file.writestr(f"{name}.npy", data)
    claim = json.dumps({"records": {"dtype": "I64", "shape": [2, 10**13], "data_offsets": [0, 8]}})
    indices = {
        "npz of 364 TiB": ("index-train.npz", archive.getvalue()),
        "npz cut": ("index-train.npz", archive.getvalue()[:200]),
        "npz a folder": ("index-train.npz", None),
        "claims much": (
            "index-train.safetensors", struct.pack("<Q", len(claim)) + claim.encode() + bytes(8),
        ),
        "long header": ("index-train.safetensors", struct.pack("<Q", 2**62) + b"{}"),
        "empty": ("index-train.safetensors", b""), "a folder": ("index-train.safetensors", None),
        "random": ("index-train.safetensors", random.Random(7).randbytes(2000)),
    }  # fmt: skip
    for name, (file, data) in indices.items():
        yield Forgery("index files", name, _edited(prepared, _put(file, data), fits=False))


def _amounts() -> Iterator[Forgery]:
    for text in (
        "100000000x6x8", "4x6x1000000", "4x1000000000x8", "0x0x0", "-4x12x8", "4x12", "4x12x8x1",
        "\uff14x12x8", "4" * 5000 + "x12x8", "4x12x8/..", "", "../x", "4x12x8\n", "4 x12x8",
    ):  # fmt: skip

        def make(folder, text=text):
            return {"dataset": f"formula_images/{text}", "data_dir": str(folder)} if text else {
                "dataset": "formula_images/", "data_dir": str(folder / "none"),
            }  # fmt: skip

        yield Forgery("amounts of formula_images", repr(text[:20]), make)
