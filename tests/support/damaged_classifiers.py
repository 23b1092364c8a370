"""Classifiers of `advise` that are damaged, each with the beginning of what is said of it."""

import os
import zipfile


def changed(network, path, **changes):
    """Writes the network's archive again with other members."""
    with zipfile.ZipFile(network) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = changes.get(name.split(".")[0], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return path


def packed_bomb(network, path, size):
    """Writes what is known of a network as a member that expands to a size."""
    changed(network, path, transfer_keras=None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("transfer_keras.json", b" " * size)


def facts_with(name, text):
    """Gives what is known of a network, with another value."""
    values = {"version": "1", "classes": '["a"]', "image_size": "24", "resize": "24", name: text}
    return f"{{{', '.join(f'{chr(34)}{k}{chr(34)}: {v}' for k, v in values.items())}}}".encode()


DAMAGES = {
    "gone": (lambda network, path: path, "cannot be read (No such file or directory)"),
    "a pipe": (lambda network, path: os.mkfifo(path), "is no regular file, expected a file"),
    "a folder": (lambda network, path: path.mkdir(), "is a folder, expected a file"),
    "text": (lambda network, path: path.write_text("no network"), "is no Keras network"),
    "older": (lambda n, path: changed(n, path, transfer_keras=None), "has no names of classes"),
    "no JSON": (lambda n, path: changed(n, path, transfer_keras=b"{"), "what is known of it is d"),
    "deep": (
        lambda n, path: changed(n, path, transfer_keras=b'{"version": ' + b"[" * 100_000),
        "what is known of it is damaged",
    ),
    "a bomb": (
        lambda n, path: packed_bomb(n, path, 2**25),
        "is no Keras network, or damaged ('transfer_keras.json' in it has more than 16 MiB",
    ),
    "a temperature of NaN": (
        lambda n, path: changed(n, path, transfer_keras=facts_with("temperature", "NaN")),
        "what is known of it is damaged",
    ),
    "a size of text": (
        lambda n, path: changed(n, path, transfer_keras=facts_with("image_size", '"24"')),
        "what is known of it is damaged (Expected `int`, got `str` - at `$.image_size`)",
    ),
    "a size beyond any": (
        lambda n, path: changed(n, path, transfer_keras=facts_with("image_size", "9" * 400)),
        "what is known of it is damaged",
    ),
    "other version": (
        lambda n, path: changed(n, path, transfer_keras=b'{"version": 9}'),
        "was written by another version of transfer_keras (format 9, expected 1)",
    ),
    "a list": (
        lambda n, path: changed(n, path, transfer_keras=b"[1]"),
        "what is known of it is damaged",
    ),
    "no sizes": (
        lambda n, path: changed(n, path, transfer_keras=b'{"version": 1, "classes": ["a"]}'),
        "what is known of it is damaged",
    ),
    "no config": (lambda n, path: changed(n, path, config=b"{}"), "cannot be used: It is damaged"),
    "no weights": (lambda n, path: changed(n, path, model=b"nothing"), "cannot be used: Unable to"),
    "half": (
        lambda n, path: path.write_bytes(n.read_bytes()[: n.stat().st_size // 2]),
        "is no Keras network, or damaged",
    ),
}
