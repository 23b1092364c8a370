"""Tasks A and B of a dataset, and their pictures: in memory where they fit, else on disk."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from transfer_keras.config import UserError, memory, tasks
from transfer_keras.datasets import sources
from transfer_keras.datasets.bad_images import refuse_bad_images
from transfer_keras.datasets.contents import Contents
from transfer_keras.datasets.division import USUAL, Division
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.folder import Folder
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.streamed import StreamedExamples

AnyExamples = Examples | StreamedExamples


class TaskPair:
    """The classes of a dataset as two tasks; no picture is read before `read`.

    Args:
        dataset: its name; see `sources.open_source` for this and for `data_dir`, `bad_images`,
            `division` and `leave_out`.
        split: how the classes are divided; see `config.tasks.split_classes`.
        examples_per_class: trains on at most so many examples of each class, the first ones;
            None: on all.
        prepare: whether a dataset whose classes have names only once it is prepared is prepared
            at once.

    Attributes:
        tasks: "A" and "B" -> `config.tasks.Task`; the split "whole" has no B.
        identity: the name of just these data.
        skipped: a line for each picture that was left out, once the pictures are read.

    Raises:
        UserError: if there is no such dataset, or the split does not fit it.
    """

    def __init__(
        self,
        dataset: str,
        data_dir: str | None,
        split: str,
        *,
        bad_images: str = "error",
        division: Division = USUAL,
        leave_out: str | None = None,
        examples_per_class: int | None = None,
        prepare: bool = True,
    ):
        self._source = sources.open_source(
            dataset, data_dir, bad_images, division=division, leave_out=leave_out
        )
        self._copies = division.folds or 1  # Of all pictures, which one process may hold.
        self._bad_images = bad_images
        self._examples_per_class = examples_per_class
        if not self._source.names_known:
            if prepare:
                self._source.prepare()
            elif not self._source.at_hand and not tasks.is_by_number(split):
                raise UserError(
                    f"--split={split}: the names of its classes come with the data, which are not "
                    "here yet. Leave out --dry_run, or give a split by number."
                )
        divided = tasks.split_classes(self._source.class_names, split)
        self.tasks = {task.name: task for task in divided}
        self.identity = self._source.identity
        self.skipped: list[str] = []
        self._contents: Contents | None = None

    def contents(self, kept: pathlib.Path) -> Contents:
        """Gives a digest of what the files of the dataset hold; they are read once.

        Args:
            kept: see `contents.read_contents`.

        Raises:
            UserError: if a file cannot be read.
        """
        if self._contents is None:
            self._contents = self._source.contents(kept)
        return self._contents

    @property
    def at_hand(self) -> bool:
        """Tells whether nothing has to be downloaded first."""
        return self._source.at_hand

    def read(
        self, preprocessing: Preprocessing, *, batch_size: int, in_memory: bool | None = None
    ) -> tuple[dict[str, AnyExamples], dict[str, AnyExamples]]:
        """Prepares the dataset if it is not on disk, and reads its pictures if they fit in memory.

        Args:
            preprocessing: of the pictures of both tasks.
            batch_size: of training.
            in_memory: whether the pictures are held in memory, which changes no number; None: if
                they fit.

        Returns:
            (train, test), each name of a task -> its examples; those of tests are in a fixed
            random order.

        Raises:
            UserError: if the data cannot be had, a class has no example, no class has
                `examples_per_class` examples, or a task has fewer than a batch.
        """
        source = self._source
        source.prepare()
        self.skipped = [*source.skipped]
        self._square = preprocessing.kind == "paper" or source.square
        if in_memory is None:
            side = preprocessing.resize if self._square else preprocessing.large
            in_memory = _fits(source, side, self._copies)
        train = self._read(
            source.train, preprocessing, in_memory=in_memory, first=self._examples_per_class
        )
        test = self._read(source.test, preprocessing, in_memory=in_memory)
        for split, kind in ((train, "training"), (test, "test")):
            for name, examples in split.items():
                self._check_classes(name, examples, kind)
        self._check_examples_per_class(train)
        for task, examples in train.items():
            if len(examples) < batch_size:
                raise UserError(
                    f"--batch_size={batch_size}: task {task} of {source.name} has "
                    f"{len(examples)} training images. Give a smaller batch."
                )
        return train, {name: examples.shuffled() for name, examples in test.items()}

    def held_out(self, task: str, preprocessing: Preprocessing) -> StreamedExamples | None:
        """Gives the pictures of a task that no split has; see `folder.Folder.held_out`.

        Args:
            task: its name.
            preprocessing: of the pictures.

        Returns:
            None where there are none. Only `StreamedExamples.without_faults` has decoded them.

        Raises:
            UserError: if there are some that cannot be used.
        """
        if not isinstance(self._source, Folder) or not (records := self._source.held_out()):
            return None
        square = preprocessing.kind == "paper"
        labels = self.tasks[task].labels
        return StreamedExamples.of_classes(records, labels, preprocessing, square=square)

    def _read(
        self, split: str, preprocessing: Preprocessing, *, in_memory: bool, first: int | None = None
    ) -> dict[str, AnyExamples]:
        """Reads the examples of each task from a split."""
        source = self._source
        # Squares of one size are decoded in one pass over the files.
        if in_memory and self._square and isinstance(source, sources.Source):
            images, labels, skipped = sources.read(
                source, split, preprocessing, bad_images=self._bad_images
            )
            self.skipped += skipped
            return {
                name: Examples.of_classes(images, labels, task.labels, preprocessing, first=first)
                for name, task in self.tasks.items()
            }
        # All other pictures are read one by one.
        records = source.records(split)
        if self._bad_images == "skip":
            faults = records.find_faults(range(len(records)), f"checking {split}")
            self.skipped += [f"{records.name(place)} {fault}" for place, fault in faults.items()]
            records = records.without(faults)
        examples = {
            name: StreamedExamples.of_classes(
                records, task.labels, preprocessing, first=first, square=self._square
            )
            for name, task in self.tasks.items()
        }
        if not in_memory:
            return examples
        try:
            if self._square:
                return {n: e.in_memory(f"reading {split}, {n}") for n, e in examples.items()}
            places = np.concatenate([e.numbers for e in examples.values()])
            records = records.in_memory(
                places, preprocessing.decode, preprocessing.shrunk, f"reading {split}"
            )
            return {n: dataclasses.replace(e, records=records) for n, e in examples.items()}
        except tf.errors.OpError:
            # The error does not say which picture it is about.
            self.refuse_faults(examples)
            raise

    def refuse_faults(self, examples: Mapping[str, AnyExamples]) -> None:
        """Refuses pictures that cannot be decoded, of the examples that are read from disk.

        Args:
            examples: name of a task -> its examples, as `read` gives them.

        Raises:
            UserError: if there are any; it names them.
        """
        for name, of_task in examples.items():
            if isinstance(of_task, StreamedExamples):
                records = of_task.records
                faults = records.find_faults(
                    of_task.numbers.tolist(), f"looking for faults in {name}"
                )
                named = [(records.name(place), fault) for place, fault in faults.items()]
                refuse_bad_images(named, "error", where=f"--dataset={self._source.name}")

    def _check_classes(self, name: str, examples: AnyExamples, kind: str) -> None:
        names = self.tasks[name].class_names
        counts = np.bincount(examples.labels, minlength=len(names))
        if empty := [names[place] for place in np.flatnonzero(counts == 0)]:
            more = ", …" if len(empty) > 5 else ""
            raise UserError(
                f"--dataset={self._source.name}: {len(empty)} of {len(names)} classes of task "
                f"{name} have no {kind} image: {', '.join(empty[:5])}{more}."
            )

    def _check_examples_per_class(self, train: dict[str, AnyExamples]) -> None:
        count = self._examples_per_class
        largest = max(np.bincount(examples.labels).max() for examples in train.values())
        if count and largest < count:
            raise UserError(
                f"--examples_per_class={count}: no class of {self._source.name} has so many; the "
                f"largest has {largest}. Give fewer, or 'all'."
            )


def _fits(source: sources.Source | Folder, side: int, copies: int) -> bool:
    """Tells whether half of the memory can hold all pictures three times, and that so many times.

    Each picture is held in its split as it is read, in its task, and in a constant of TensorFlow.
    """
    images = source.size(source.train) + source.size(source.test)
    return copies * 3 * images * side**2 * 3 <= memory.process_memory() / 2
