"""Folders of pictures, lists and paths that are wrong, damaged or odd; see `forged_datasets`."""

import dataclasses
import io
import os
import pathlib
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

_ODD_NAMES = [
    "c#", "#c", "a b", " a", "a ", "a\tb", "a\nb", "a\rb", "a\x1b[31mb", "\ufeffcat", "\u202ecat",
    "cafe\u0301", "größe", "%20", "a?b", "a*b", "[a]", "{a}", "$(id)", "`id`", "-rf", "--flag=1",
    "<img src=x>", "a'b", 'a"b', "a&b", "a;b", "a|b", "a\\b", "con", "..a", "a.", "n" * 240, "日本",
    "\u2028x", "\x7f", b"f\xfcchse",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Forgery:
    """A dataset that is wrong.

    Attributes:
        kind: of what is wrong with it.
        name: of just this one.
        make: called with an empty folder; gives the arguments of `TaskPair` and, as "fits", whether
            the pictures are held in memory.
    """

    kind: str
    name: str
    make: Callable[[pathlib.Path], dict[str, object]]


def forged_pictures() -> Iterator[Forgery]:
    """Gives all of them."""
    yield from _headers()
    yield from _broken_pictures()
    yield from _names()
    yield from _links()
    yield from _lists()
    yield from _paths()


# Pictures.


def encode(kind: str, size=(40, 40), value=9) -> bytes:
    """Gives the file of a small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claims(kind: str, width: int, height: int) -> bytes:
    """Gives the file of a picture whose header claims a size."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + data
    data = bytearray(encode(kind, (8, 8)))
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", min(height, 65500), min(width, 65500))
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "GIF":
        size = struct.pack("<HH", min(width, 65535), min(abs(height), 65535))
        place = data.index(b"\x2c") + 5
        data[6:10] = data[place : place + 4] = size
    return bytes(data)


def whole_png(side: int) -> bytes:
    """Gives a PNG of so many pixels a side, in a file a thousand times smaller."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packed, row = zlib.compressobj(1), bytes(3 * side + 1)
    data = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def animation(frames: int, side: int) -> bytes:
    """Gives a GIF of so many frames, each the same."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 200).save(buffer, "GIF")
    data = buffer.getvalue()
    begin = 13 + (3 << (data[10] & 7) + 1)  # After the header and the colours.
    return data[:begin] + data[begin:-1] * frames + data[-1:]


def folder_of(root, classes=("ant", "bee", "cat", "dog")) -> pathlib.Path:
    """Writes six pictures of each class."""
    for label, name in enumerate(classes):
        folder = pathlib.Path(os.fsdecode(os.path.join(os.fsencode(root), os.fsencode(name))))
        folder.mkdir(parents=True)
        for number in range(6):
            (folder / f"{number}.png").write_bytes(encode("PNG", value=40 * label + number))
    return root


def _with(name: str | bytes, data: bytes, **more):
    """Makes a folder of pictures with one file more."""

    def make(folder):
        root = folder_of(folder / "set")
        path = os.path.join(os.fsencode(root), b"bee", os.fsencode(name))
        with open(path, "wb") as file:
            file.write(data)
        return {"dataset": f"folder:{root}", **more}

    return make


def _headers() -> Iterator[Forgery]:
    kind = "headers of pictures"
    for form, size in (
        ("PNG", 100_000), ("PNG", 2**31 - 1), ("JPEG", 65_500), ("BMP", 100_000), ("BMP", 46_000),
        ("GIF", 65_535), ("GIF", 20_000),
    ):  # fmt: skip
        data = claims(form, size, size)
        for number, more in enumerate(({"fits": True}, {"fits": False}, {"bad_images": "skip"})):
            if number < 2 or form == "PNG":
                make = _with(f"big.{form.lower()}", data, **more)
                yield Forgery(kind, f"{form} {size} {more}", make)
    yield Forgery(kind, "BMP upside down", _with("big.bmp", claims("BMP", 100_000, -100_000)))
    yield Forgery(kind, "GIF of 4,000 frames", _with("big.gif", animation(4000, 300)))
    yield Forgery(kind, "whole PNG", _with("big.png", whole_png(16_000)))


def _broken_pictures() -> Iterator[Forgery]:
    rng = random.Random(0)
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        whole = encode(form)
        for number in range(2):
            cut = whole[: rng.randrange(len(whole))]
            yield Forgery("cut pictures", f"{form} {number}", _with(f"x.{form.lower()}", cut))
            edited = bytearray(whole)
            for _ in range(4):
                edited[rng.randrange(len(whole))] = rng.randrange(256)
            name = f"x.{form.lower()}"
            yield Forgery("edited pictures", f"{form} {number}", _with(name, bytes(edited)))


def _names() -> Iterator[Forgery]:
    for number, name in enumerate(_ODD_NAMES):

        def classes(folder, name=name):
            return {"dataset": f"folder:{folder_of(folder / 'set', ('ant', 'bee', name))}"}

        yield Forgery("names of classes", f"{number}", classes)
        file = os.fsencode(name)[:200] + b".png"
        yield Forgery("names of bad files", f"{number}", _with(file, b"no picture"))

    def files(folder):
        root = folder_of(folder / "set")
        for name in _ODD_NAMES:
            path = os.path.join(os.fsencode(root), b"bee", os.fsencode(name)[:200] + b".png")
            with open(path, "wb") as file:
                file.write(encode("PNG"))
        return {"dataset": f"folder:{root}"}

    def twins(folder):
        root = folder_of(folder / "set", ("caf\u00e9", "cafe\u0301", "cat", "dog"))
        return {"dataset": f"folder:{root}"}

    yield Forgery("names of files", "all", files)
    yield Forgery("names of classes", "NFC beside NFD", twins)


def _links() -> Iterator[Forgery]:
    def linked(target: str, at: str):
        def make(folder):
            root = folder_of(folder / "set")
            (root / at).symlink_to(target)
            return {"dataset": f"folder:{root}"}

        return make

    for target, at in (
        ("self", "self"), ("..", "up"), (".", "here"), ("nowhere", "broken"), ("ant", "fly"),
        ("loop", "bee/loop"), ("..", "bee/up"), (".", "bee/here"), ("nowhere", "bee/broken"),
        ("loop.png", "bee/loop.png"), ("nowhere", "bee/x.png"), ("..", "bee/x.png"),
        ("/dev/zero", "bee/x.png"), ("/", "bee/x"),
    ):  # fmt: skip
        if target != "/":
            yield Forgery("links", f"{at} to {target}", linked(target, at))

    def pipe(folder):
        root = folder_of(folder / "set")
        os.mkfifo(root / "bee" / "x.png")
        return {"dataset": f"folder:{root}"}

    def nested(folder):
        root = folder_of(folder / "set")
        (root / "bee" / "x.png").mkdir()
        return {"dataset": f"folder:{root}"}

    def sparse(folder):
        root = folder_of(folder / "set")
        with open(root / "bee" / "x.png", "wb") as file:
            file.truncate(2**40)
        return {"dataset": f"folder:{root}"}

    yield Forgery("links", "pipe", pipe)
    yield Forgery("links", "folder in place of a picture", nested)
    yield Forgery("links", "file of a tebibyte", sparse)


# Lists and paths.


def _lists() -> Iterator[Forgery]:
    texts = {
        "empty": b"", "lines": b"\n\n\n", "zero bytes": b"ant\0bee\n", "latin 1": b"f\xfcchse\n",
        "BOM": b"\xef\xbb\xbfant\nbee\n", "UTF-16": "ant\nbee\n".encode("utf-16"),
        "random": random.Random(1).randbytes(3000), "CRLF": b"ant\r\nbee\r\n", "one": b"ant\n",
        "all": b"ant\nbee\ncat\ndog\n", "unknown": b"ant\nbee\nwolf\n", "twice": b"ant\nant\nbee\n",
        "long line": b"x" * 10**6, "escape": b"ant\n\x1b[31mbee\n", "comment": b"ant # a\nbee #b\n",
    }  # fmt: skip
    for name, text in texts.items():
        for flag in ("split", "leave_out"):

            def make(folder, text=text, flag=flag):
                (folder / "list.txt").write_bytes(text)
                return {
                    "dataset": f"folder:{folder_of(folder / 'set')}",
                    flag: str(folder / "list.txt"),
                }

            yield Forgery("lists", f"{flag} {name}", make)
    for flag in ("split", "leave_out"):
        for name in ("folder", "pipe", "loop", "huge", "missing", "user"):

            def make(folder, flag=flag, name=name):
                path = folder / "list.txt"
                if name == "folder":
                    path.mkdir()
                elif name == "pipe":
                    os.mkfifo(path)
                elif name == "loop":
                    path.symlink_to(path)
                elif name == "huge":
                    with open(path, "wb") as file:
                        file.truncate(2**36)
                elif name == "user":
                    path = "~nosuchuser/list.txt"
                return {"dataset": f"folder:{folder_of(folder / 'set')}", flag: str(path)}

            yield Forgery("lists", f"{flag} {name}", make)

    def composed(folder):
        (folder / "list.txt").write_text("caf\u00e9\nant\nc#\n", encoding="utf-8")
        root = folder_of(folder / "set", ("cafe\u0301", "ant", "bee", "c#", "dog"))
        return {"dataset": f"folder:{root}", "split": str(folder / "list.txt")}

    yield Forgery("lists", "split NFC of NFD", composed)


def _paths() -> Iterator[Forgery]:
    for path in (
        "", "/", "s3://bucket/set", "gs://bucket", "hdfs://a/b", "~nosuchuser/set", "nowhere",
        "a\nb", "a\0b", "x" * 5000, "/dev/null", "\x1b[31m", "\udcff", "//", "https://a.b/c",
    ):  # fmt: skip
        yield Forgery(
            "paths", f"folder:{path[:20]!r}", lambda _, p=path: {"dataset": f"folder:{p}"}
        )
        for name in ("formula_images/4x12x8", "tiny_imagenet", "my_own"):

            def make(_, path=path, name=name):
                return {"dataset": name, "data_dir": path or None}

            if path not in ("", "/", "//"):
                yield Forgery("paths", f"{name} {path[:20]!r}", make)
