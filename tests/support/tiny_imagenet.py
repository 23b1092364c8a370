"""A small Tiny ImageNet, made for the tests."""

import io
import zipfile

from PIL import Image

WNIDS = ["n02124075", "n01443537", "n03100240"]


def jpeg(value: int) -> bytes:
    mode = "L" if value == 7 else "RGB"  # The real set has grey pictures among the others.
    buffer = io.BytesIO()
    Image.new(mode, (64, 64), value if mode == "L" else (value, value, value)).save(buffer, "JPEG")
    return buffer.getvalue()


def make_files():
    """Makes all files, name -> bytes."""
    files = {"wnids.txt": "\n".join(WNIDS).encode() + b"\n", "words.txt": b""}
    for index, wnid in enumerate(WNIDS):
        for number in range(4):
            name = f"train/{wnid}/images/{wnid}_{number}.JPEG"
            files[name] = jpeg(10 * index + number + 4)
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b""
        files[f"val/images/val_{index}.JPEG"] = jpeg(100 + index)
    lines = [f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62" for i, wnid in enumerate(WNIDS)]
    files["val/val_annotations.txt"] = "\n".join(lines).encode()
    return files


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
