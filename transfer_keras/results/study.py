"""A study on disk: the experiments below a folder, and their rows."""

import hashlib
import json
import pathlib
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from transfer_keras.config import UserError, is_treatment_name, parse_treatment
from transfer_keras.results.comparison import Half, Role, Run, Runs
from transfer_keras.results.rows import Row
from transfer_keras.results.workdir import (
    check_workdir,
    done,
    read_answers,
    read_experiment,
    read_row,
)

# What may differ between the experiments of one study.
_VARIED = {"split", "seed", "examples_per_class"}
_BEST = 10 / 450  # The part of the tests that the paper's figures are the mean of.
RANDOM = "random"  # What all random halves are a sample of.


class Kind(NamedTuple):
    """What is compared with nothing outside it: "random" halves, "natural", "whole" or a list of
    classes, trained on so many examples of each class (None: all)."""

    split: str
    examples_per_class: int | None = None

    def __str__(self):
        amount = f", {self.examples_per_class} a class" if self.examples_per_class else ""
        return f"{self.split}{amount}"


class Network(NamedTuple):
    """One trained network of a study."""

    folder: pathlib.Path
    split: str
    examples_per_class: int | None
    seed: int
    row: Row

    @property
    def kind(self) -> Kind:
        """All random halves are of one kind."""
        return Kind(RANDOM if self.split.isdecimal() else self.split, self.examples_per_class)

    @property
    def half(self) -> Half:
        """The task that it was trained on."""
        return Half(self.split, self.row.target)

    @property
    def role(self) -> Role:
        """What it is to its target."""
        return Role(parse_treatment(self.row.treatment).role, self.row.n)


class Study(NamedTuple):
    """What was found on disk.

    Attributes:
        settings: those that all experiments share.
        versions: of packages, of the first experiment.
        networks: all that are done, by folder and treatment.
        runs: of each kind, what `analysis` takes.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    networks: list[Network]
    runs: Mapping[Kind, Runs]


def read_study(folder: pathlib.Path) -> Study:
    """Reads a workdir, or a folder of workdirs; also while they are still trained.

    Raises:
        UserError: if there is none, none of their networks is done, they differ in more than
            split, seed and number of examples or do not differ in these, or networks of one target
            were tested on other images.
    """
    folder = folder.resolve()
    workdirs = _workdirs(folder)
    if not workdirs:
        raise UserError(
            f"--workdir={folder}: no experiment.json here or one folder below. Give the workdir of "
            "an experiment, or the folder of a study."
        )
    facts = [read_experiment(workdir) for workdir in workdirs]
    settings = _shared(
        folder, {w.name: f["settings"] for w, f in zip(workdirs, facts, strict=True)}
    )
    networks: list[Network] = []
    folders: dict[tuple, pathlib.Path] = {}
    labels: dict[Half, np.ndarray] = {}
    runs: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for workdir, fact in zip(workdirs, facts, strict=True):
        variant = _variant(fact["settings"])
        if variant in folders:
            raise UserError(
                f"--workdir={folder}: {folders[variant].name} and {workdir.name} are of the same "
                "split, seed and number of examples. Move one of them elsewhere."
            )
        folders[variant] = workdir
        for name in filter(is_treatment_name, done(workdir)):
            try:
                row = read_row(workdir, name)
                label, predicted = read_answers(workdir, name)
            except FileNotFoundError:  # Removed while we read.
                continue
            network = Network(workdir, *variant, row)
            networks.append(network)
            if not np.array_equal(labels.setdefault(network.half, label), label):
                raise UserError(
                    f"{workdir / name} was tested on other images than other networks of split "
                    f"{network.split} and target {row.target}. Remove what was made with other "
                    "data."
                )
            if row.outcome == "trained":  # Else it is a failure, and no result.
                roles = runs[network.kind][network.half][network.seed]
                roles[network.role] = Run(row.top1, label == predicted, best_tests(row))
    if not networks:
        raise UserError(f"--workdir={folder}: no network is done yet. Come back later.")
    return Study(settings, facts[0]["versions"], networks, runs)


def check_study(folder: pathlib.Path, wanted: Mapping[str, Mapping]) -> None:
    """Refuses a folder that cannot hold these experiments as one study; writes nothing.

    Args:
        folder: of a study, or none yet.
        wanted: name of each workdir in it -> `settings.Experiment.identity`.

    Raises:
        UserError: naming what differs, or is there twice.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir={folder}: is a file. Give a folder.")
    if (folder / "experiment.json").exists():
        raise UserError(
            f"--workdir={folder}: is the workdir of one experiment. Give a new folder, or that of "
            "a study."
        )
    there = {w.name: read_experiment(w)["settings"] for w in _workdirs(folder)}
    asked = json.loads(json.dumps(next(iter(wanted.values()))))
    _shared(folder, {**there, "what is asked for": asked})
    names = {_variant(settings): name for name, settings in there.items()}
    for name, identity in wanted.items():
        other = names.setdefault(_variant(identity), name)
        if other != name:
            raise UserError(
                f"--workdir={folder}: {other} and {name} are the same classes, seed and number of "
                "examples. Ask for one of them, or move it elsewhere."
            )
        check_workdir(folder / name, identity)


def _workdirs(folder: pathlib.Path) -> list[pathlib.Path]:
    found = [*folder.glob("experiment.json"), *folder.glob("*/experiment.json")]
    return sorted(path.parent for path in found)


def _variant(settings: Mapping) -> tuple[str, int | None, int]:
    """(split, examples a class, seed)."""
    return _named(settings["split"]), settings.get("examples_per_class"), settings["seed"]


def best_tests(row: Row) -> float:
    """Mean top-1 of the best tests, 10 of each 450 as in the paper, at least one: optimistic."""
    top1 = sorted((test[-1] for test in row.validation), reverse=True)
    return float(np.mean(top1[: max(1, round(_BEST * len(top1)))]))


def _named(split: str | list[str]) -> str:
    """A short name also for a split that is a list of A's classes."""
    if isinstance(split, str):
        return split
    return f"list-{hashlib.sha256(json.dumps(split).encode()).hexdigest()[:6]}"


def _shared(folder: pathlib.Path, settings: Mapping[str, Mapping]) -> dict:
    """What all experiments, by name, have in common; UserError if more than may be differs."""
    (one, first), *others = settings.items()
    for name, found in others:
        differing = [
            f"{key} is {first.get(key)!r} in {one} and {found.get(key)!r} in {name}"
            for key in sorted({*first, *found} - _VARIED)
            if first.get(key) != found.get(key)
        ]
        if differing:
            raise UserError(
                f"--workdir={folder}: holds experiments that are no one study: "
                f"{'; '.join(differing[:3])}. Give a folder whose experiments differ in split, "
                "seed and number of examples alone."
            )
    return {key: value for key, value in first.items() if key not in _VARIED}
