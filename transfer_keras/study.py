"""A study on disk: the experiments below a folder, and their rows."""

import hashlib
import json
import pathlib
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from transfer_keras import results
from transfer_keras.analysis import Half, Role, Run
from transfer_keras.errors import UserError
from transfer_keras.treatments import is_name, parse

# What may differ between the experiments of one study.
_VARIED = {"split", "seed"}
RANDOM = "random"  # The kind of all random halves.


class Network(NamedTuple):
    """One trained network of a study."""

    folder: pathlib.Path
    split: str
    seed: int
    row: results.Row


class Study(NamedTuple):
    """What was found on disk.

    Attributes:
        settings: those that all experiments share.
        versions: of packages, of the first experiment.
        networks: all that are done, by folder and treatment.
        runs: kind of split ("random", "natural", ...) -> what `analysis` takes.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    networks: list[Network]
    runs: Mapping[str, Mapping[Half, Mapping[int, Mapping[Role, Run]]]]


def read(folder: pathlib.Path) -> Study:
    """Reads a workdir, or a folder of workdirs; also while they are still trained.

    Raises:
        UserError: if there is none, none of their networks is done, they differ in more than split
            and seed or do not differ in these, or networks of one target were tested on other
            images.
    """
    folder = folder.resolve()
    found = [*folder.glob("experiment.json"), *folder.glob("*/experiment.json")]
    workdirs = sorted(path.parent for path in found)
    if not workdirs:
        raise UserError(
            f"--workdir={folder}: no experiment.json here or one folder below. Give the workdir of "
            "an experiment, or the folder of a study."
        )
    facts = [results.read_experiment(workdir) for workdir in workdirs]
    settings = _shared(folder, workdirs, facts)
    networks: list[Network] = []
    folders: dict[tuple[str, int], pathlib.Path] = {}
    labels: dict[tuple[str, str], np.ndarray] = {}
    runs: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for workdir, fact in zip(workdirs, facts, strict=True):
        split, seed = _named(fact["settings"]["split"]), fact["settings"]["seed"]
        if (split, seed) in folders:
            raise UserError(
                f"--workdir={folder}: {folders[split, seed].name} and {workdir.name} are of the "
                "same split and seed. Move one of them elsewhere."
            )
        folders[split, seed] = workdir
        for name in filter(is_name, results.done(workdir)):
            treatment = parse(name)
            try:
                row = results.read_row(workdir, name)
                label, predicted = results.read_answers(workdir, name)
            except FileNotFoundError:  # Removed while we read.
                continue
            networks.append(Network(workdir, split, seed, row))
            same = labels.setdefault((split, treatment.target), label)
            if not np.array_equal(same, label):
                raise UserError(
                    f"{workdir / name} was tested on other images than other networks of split "
                    f"{split} and target {treatment.target}. Remove what was made with other data."
                )
            if row.outcome == "trained":  # Else it is a failure, and no result.
                half = runs[kind(split)][Half(split, treatment.target)]
                right = label == predicted
                half[seed][Role(treatment.role, treatment.n)] = Run(row.top1, right)
    if not networks:
        raise UserError(f"--workdir={folder}: no network is done yet. Come back later.")
    return Study(settings, facts[0]["versions"], networks, runs)


def _named(split: str | list[str]) -> str:
    """A short name also for a split that is a list of A's classes."""
    if isinstance(split, str):
        return split
    return f"list-{hashlib.sha256(json.dumps(split).encode()).hexdigest()[:6]}"


def kind(split: str) -> str:
    """What a split is a sample of: all random halves are of one kind."""
    return RANDOM if split.isdecimal() else split


def half(network: Network) -> Half:
    """The task that it was trained on."""
    return Half(network.split, network.row.target)


def role(network: Network) -> Role:
    """What a network is to its target."""
    return Role(parse(network.row.treatment).role, network.row.n)


def _shared(folder, workdirs, facts) -> dict:
    first = facts[0]["settings"]
    for workdir, fact in zip(workdirs, facts, strict=True):
        differing = [
            f"{key} is {first.get(key)!r} in {workdirs[0].name} and {fact['settings'].get(key)!r} "
            f"in {workdir.name}"
            for key in sorted({*first, *fact["settings"]} - _VARIED)
            if first.get(key) != fact["settings"].get(key)
        ]
        if differing:
            raise UserError(
                f"--workdir={folder}: holds experiments that are no one study: "
                f"{'; '.join(differing[:3])}. Give a folder whose experiments differ in split and "
                "seed alone."
            )
    return {key: value for key, value in first.items() if key not in _VARIED}
