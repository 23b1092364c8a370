"""Builds `tiny_imagenet` with TFDS, from the distributed zip or the folder made of it."""

import dataclasses
import hashlib
import io
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import ClassVar

import tensorflow_datasets as tfds

from transfer_keras.config import UserError
from transfer_keras.datasets.bad_images import find_fault, refuse_bad_images


@dataclasses.dataclass
class TinyImagenetConfig(tfds.core.BuilderConfig):
    """The copy that is read; its name has a digest of the file list, so no two copies share one.

    Attributes:
        source: path of the zip or folder.
        bad_images: "error" or "skip", the policy of `bad_images.refuse_bad_images`.
    """

    source: str = ""
    bad_images: str = "error"

    @classmethod
    def of(cls, source: str | pathlib.Path, bad_images: str = "error") -> "TinyImagenetConfig":
        """Makes the config for a zip or a folder.

        Args:
            source: its path.
            bad_images: "error" or "skip", the policy of `bad_images.refuse_bad_images`. With
                "skip" the config has another name, since other pictures are prepared.

        Raises:
            UserError: if it is neither, is damaged, or lacks a file of the layout.
        """
        path = pathlib.Path(source).expanduser().resolve()
        tree = Tree(path)
        digest = hashlib.sha256(repr(sorted(tree.sizes.items())).encode()).hexdigest()[:12]
        name = f"{len(tree.lines('wnids.txt'))}-classes-{digest}"
        suffix = "" if bad_images == "error" else f"-{bad_images}"
        return cls(name=name + suffix, source=str(path), bad_images=bad_images)


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
    """Tiny ImageNet: 64x64 pictures labelled by wnid, of the classes that the copy has.

    Layout: `wnids.txt`, `words.txt`, `train/<wnid>/images/*.JPEG`, `val/images/*.JPEG` and
    `val/val_annotations.txt` (file name and wnid, separated by tabs), in a folder or zip, at
    its top or in one folder below it.
    """

    VERSION = tfds.core.Version("1.1.0")
    BUILDER_CONFIGS: ClassVar = []

    def _info(self) -> tfds.core.DatasetInfo:
        wnids = sorted(Tree(pathlib.Path(self.builder_config.source)).lines("wnids.txt"))
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(64, 64, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=wnids),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="http://cs231n.stanford.edu/",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        tree = Tree(pathlib.Path(self.builder_config.source))
        return {
            "train": self._generate_examples(tree, _train),
            "validation": self._generate_examples(tree, _validation),
        }

    def _generate_examples(self, tree, files):
        shape = self.info.features["image"].shape
        wnids = set(self.info.features["label"].names)
        policy, where = self.builder_config.bad_images, f"--data_dir={self.builder_config.source}"
        seen, faults = set(), []
        for name, wnid in files(tree):
            if wnid not in wnids:
                continue
            try:
                data = tree.read(name)
                fault = find_fault(data, shape)
            except Damaged as error:
                fault = f"is damaged ({error.__cause__})"
            if fault:
                faults.append((name, fault))
                continue
            seen.add(wnid)
            yield name, {"image": io.BytesIO(data), "label": wnid}
        refuse_bad_images(faults, policy, where=where)
        split = files.__name__.strip("_")
        self.info.metadata[split] = [f"{name} {fault}" for name, fault in faults]
        if missing := sorted(wnids - seen):
            raise UserError(
                f"{where}: {len(missing)} classes of wnids.txt have no {split} picture: "
                f"{', '.join(missing[:5])}."
            )


class Damaged(UserError):
    """A file in a zip that does not have its checksum."""


class Tree:
    """The files of a zip or folder, by their names below the folder that holds `wnids.txt`.

    Attributes:
        sizes: name -> size in bytes.

    Raises:
        UserError: if there is no `wnids.txt`, or the zip cannot be read.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        try:
            self._zip = None if path.is_dir() else zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(
                f"--data_dir={path}: not a readable zip or folder ({error}). Fetch it again."
            ) from error
        if self._zip:
            sizes = {i.filename: i.file_size for i in self._zip.infolist() if not i.is_dir()}
        else:
            files = (file for file in path.rglob("*") if file.is_file())
            sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
        tops = [n for n in sizes if n.count("/") <= 1 and n.split("/")[-1] == "wnids.txt"]
        if not tops:
            raise UserError(
                f"--data_dir={path}: no wnids.txt at its top or one folder below. Expected the "
                "layout of tiny-imagenet-200.zip."
            )
        self._root = min(tops, key=len).removesuffix("wnids.txt")
        self.sizes = {
            name.removeprefix(self._root): size
            for name, size in sizes.items()
            if name.startswith(self._root)
        }

    def read(self, name: str) -> bytes:
        """Reads a file.

        Raises:
            Damaged: if a file of the zip does not have its checksum.
            UserError: if there is no such file.
        """
        if name not in self.sizes:
            raise UserError(f"--data_dir={self._path}: {self._root}{name} is missing.")
        if self._zip:
            try:
                return self._zip.read(self._root + name)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
                raise Damaged(
                    f"--data_dir={self._path}: {self._root}{name} is damaged ({error}). Fetch the "
                    "zip again."
                ) from error
        return (self._path / (self._root + name)).read_bytes()

    def lines(self, name: str) -> list[str]:
        """Reads the lines of a text file, without empty ones and space around them.

        Raises:
            UserError: if there is no such file, or it is no text.
        """
        try:
            lines = self.read(name).decode().splitlines()
        except UnicodeDecodeError as error:
            raise UserError(
                f"--data_dir={self._path}: {self._root}{name} is no text ({error}). Fetch it again."
            ) from error
        return [line.strip() for line in lines if line.strip()]


def _train(tree: Tree) -> Iterator[tuple[str, str]]:
    """Gives (file, wnid) of each training picture."""
    for name in sorted(tree.sizes):
        match name.split("/"):
            case "train", wnid, "images", _:
                yield name, wnid


def _validation(tree: Tree) -> Iterator[tuple[str, str]]:
    """Gives (file, wnid) of each validation picture."""
    for line in tree.lines("val/val_annotations.txt"):
        name, *fields = line.split("\t")
        if not fields:
            raise UserError(
                f"--data_dir: val/val_annotations.txt has the line {line!r}. Expected a file and "
                "a wnid, separated by a tab."
            )
        wnid = fields[0]
        yield f"val/images/{name}", wnid
