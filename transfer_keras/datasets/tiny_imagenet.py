"""Builds `tiny_imagenet` with TFDS, from the distributed zip or the folder made of it."""

import dataclasses
import hashlib
import io
import lzma
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import ClassVar

import tensorflow_datasets as tfds

from transfer_keras.config import UserError, image_folders, printable
from transfer_keras.datasets.bad_images import find_fault, refuse_bad_images
from transfer_keras.datasets.contents import KEPT, Contents, read_contents

# Bytes of a file of the layout, unpacked: the largest, of annotations, has half a million.
_MOST_BYTES = 2**26
_ZIP_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(lzma.LZMAError, OSError, ValueError, OverflowError),
)


@dataclasses.dataclass
class TinyImagenetConfig(tfds.core.BuilderConfig):
    """The copy that is read; its name has a digest of the files, so no two copies share one.

    Attributes:
        source: path of the zip or folder.
        bad_images: "error" or "skip", the policy of `bad_images.refuse_bad_images`.
        identity: the name that version 0.1.0 gave the config, by the names and sizes of the files.
        contents: what the files hold.
    """

    source: str = ""
    bad_images: str = "error"
    identity: str = ""
    contents: Contents | None = None

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
        path = pathlib.Path(os.path.expanduser(source)).resolve()
        tree = Tree(path)
        sizes = hashlib.sha256(repr(sorted(tree.sizes.items())).encode()).hexdigest()[:12]
        contents = tree.contents(_kept(path))
        image_folders.check_classes(f"--data_dir={path}", wnids := tree.lines("wnids.txt"))
        suffix = "" if bad_images == "error" else f"-{bad_images}"
        name = f"{len(wnids)}-classes-{sizes}"
        return cls(
            name=f"{name}-{contents.digest[:12]}{suffix}",
            source=str(path),
            bad_images=bad_images,
            identity=f"{name}{suffix}",
            contents=contents,
        )

    def keep_contents(self) -> None:
        """Writes what the files of a folder hold, so that the next run need not read them."""
        if self.contents.arrays and os.access((kept := _kept(self.source)).parent, os.W_OK):
            self.contents.keep(kept)


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
    """Tiny ImageNet: 64x64 pictures labelled by wnid, of the classes that the copy has.

    Layout: `wnids.txt`, `words.txt`, `train/<wnid>/images/*.JPEG`, `val/images/*.JPEG` and
    `val/val_annotations.txt` (file name and wnid, separated by tabs), in a folder or zip, at
    its top or in one folder below it.
    """

    VERSION = tfds.core.Version("1.1.0")
    BUILDER_CONFIGS: ClassVar = []

    def __init__(self, *, config: TinyImagenetConfig, **kwargs):
        self._config = config
        super().__init__(config=config, **kwargs)

    def get_builder_config(self, name, version=None) -> TinyImagenetConfig:
        """Gives the config that was asked for, so that TFDS does not warn that it is not listed."""
        return self._config

    def keep_contents(self) -> None:
        """Keeps what the copy holds; see `TinyImagenetConfig.keep_contents`."""
        self._config.keep_contents()

    @property
    def identity(self) -> str:
        """Gives the name by which the workdirs of version 0.1.0 know these data."""
        return f"{self.name}/{self._config.identity}/{self.version}"

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
        except _ZIP_DAMAGE as error:
            raise UserError(
                f"--data_dir={path}: not a readable zip or folder ({error}). Fetch it again."
            ) from error
        if self._zip:
            members = [member for member in self._zip.infolist() if not member.is_dir()]
            sizes = {member.filename: member.file_size for member in members}
            checksums = {member.filename: member.CRC for member in members}
        else:
            files = {file.relative_to(path).as_posix(): file for file in _files_below(path)}
            sizes = {name: file.stat().st_size for name, file in files.items()}
            checksums = {}
        tops = [n for n in sizes if n.count("/") <= 1 and n.split("/")[-1] == "wnids.txt"]
        if not tops:
            raise UserError(
                f"--data_dir={path}: no wnids.txt at its top or one folder below. Expected the "
                "layout of tiny-imagenet-200.zip."
            )
        self._root = min(tops, key=len).removesuffix("wnids.txt")
        self.sizes, self._checksums = (
            {
                name.removeprefix(self._root): value
                for name, value in of_all.items()
                if name.startswith(self._root)
            }
            for of_all in (sizes, checksums)
        )

    def contents(self, kept: pathlib.Path) -> Contents:
        """Gives a digest of what the files hold.

        A zip has the checksums of its files, which are compared when these are read. The files of a
        folder are read, but for those that did not change since `kept` was written.
        """
        if self._zip:
            facts = repr(sorted(self._checksums.items()))
            return Contents(hashlib.sha256(facts.encode()).hexdigest(), {}, 0)
        files = {name: self._path / (self._root + name) for name in sorted(self.sizes)}
        named = {os.fsencode(name): path for name, path in files.items()}
        return read_contents(named, kept, where=f"--data_dir={self._path}")

    def read(self, name: str) -> bytes:
        """Reads a file.

        Raises:
            Damaged: if a file of the zip does not have its checksum.
            UserError: if there is no such file, or it is too large.
        """
        if name not in self.sizes:
            raise UserError(f"--data_dir={self._path}: {printable(self._root + name)} is missing.")
        if (size := self.sizes[name]) > _MOST_BYTES:
            raise UserError(
                f"--data_dir={self._path}: {printable(self._root + name)} has {size:,} bytes, "
                f"expected at most {_MOST_BYTES:,}. Fetch it again."
            )
        if self._zip:
            try:
                return self._zip.read(self._root + name)
            except _ZIP_DAMAGE as error:
                raise Damaged(
                    f"--data_dir={self._path}: {self._root}{name} is damaged ({error}). Fetch the "
                    "zip again."
                ) from error
        try:
            return (self._path / (self._root + name)).read_bytes()
        except OSError as error:
            raise UserError(
                f"--data_dir={self._path}: {printable(self._root + name)} cannot be read "
                f"({error.strerror})."
            ) from error

    def lines(self, name: str) -> list[str]:
        """Reads the lines of a text file, without empty ones and space around them.

        Raises:
            UserError: if there is no such file, or it is no text.
        """
        try:
            lines = self.read(name).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(
                f"--data_dir={self._path}: {self._root}{name} is no text ({error}). Fetch it again."
            ) from error
        return [line.strip() for line in lines if line.strip()]


def _kept(source: str | pathlib.Path) -> pathlib.Path:
    """Gives the path at which the digests of a folder's files are kept."""
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:12]
    return pathlib.Path(tfds.core.constants.DATA_DIR, "tiny_imagenet", f".{digest}-{KEPT}")


def _files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Lists all files in a folder and in those below it; links to folders are not followed."""
    for root, _, names in os.walk(folder):
        for name in names:
            if (path := pathlib.Path(root, name)).is_file():
                yield path


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
