"""A study on disk: the experiments below a folder, and their rows."""

import hashlib
import json
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from transfer_keras.config import (
    SEEDS_KEY,
    Experiment,
    UserError,
    choices,
    defaults,
    is_treatment_name,
    printable,
)
from transfer_keras.results.comparison import NetworkResult, Runs, TargetTask
from transfer_keras.results.measure import TOP1, image_scores
from transfer_keras.results.roles import Role
from transfer_keras.results.rows import Row
from transfer_keras.results.workdir import EXPERIMENT_FILE, Workdir

# The name of all random splits together: their targets are one sample.
RANDOM = "random"

# Settings in which the experiments of one study may differ.
_VARIED = {"split", "seed", "examples_per_class"}
# Settings with a donor that version 0.1.0 did not have, or had another default of, with theirs.
_NEW_FOR_DONORS = {
    "batch_norm": choices.FROZEN,
    "frozen_dropout": False,
    "transferred_learning_rate": defaults.DONORS["transferred_learning_rate"],
}
# The fraction of the tests that the paper's figures are the mean of.
_BEST = 10 / 450


class Kind(NamedTuple):
    """A kind of split: only experiments of one kind are compared with each other.

    Attributes:
        split: "random", "natural", "whole", "donor", or the short name of a list of classes.
        examples_per_class: number of training examples of each class; None: all.
    """

    split: str
    examples_per_class: int | None = None

    def __str__(self):
        amount = f", {self.examples_per_class} a class" if self.examples_per_class else ""
        return f"{self.split}{amount}"


class Variant(NamedTuple):
    """The settings that tell the experiments of one study apart."""

    split: str
    examples_per_class: int | None
    seed: int


class Network(NamedTuple):
    """One network of a study that is done, whether it learned or not."""

    workdir: Workdir
    split: str
    examples_per_class: int | None
    seed: int
    row: Row

    @property
    def folder(self) -> str:
        """Gives the name of its workdir, without the folders above it."""
        return self.workdir.path.name

    @property
    def kind(self) -> Kind:
        """Gives its kind of split; all random splits are of one kind."""
        return Kind(RANDOM if self.split.isdecimal() else self.split, self.examples_per_class)

    @property
    def target(self) -> TargetTask:
        """Gives the task that it was trained on."""
        return TargetTask(self.split, self.row.target)

    @property
    def role(self) -> Role:
        """Gives its family and n, as its target sees them."""
        return self.row.role

    @property
    def trained(self) -> bool:
        """Tells whether it learned."""
        return self.row.outcome == choices.TRAINED


class Study(NamedTuple):
    """The experiments that were found on disk.

    Attributes:
        settings: those that all experiments share.
        versions: name of each package -> its version, of the first experiment.
        networks: all that are done, by workdir and treatment.
        runs: kind of split -> the results of its networks that learned.
        all_runs: the same with those that did not, as they were tested.
        incomplete: files that someone removed from networks that were done and are left out.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    networks: list[Network]
    runs: Mapping[Kind, Runs]
    all_runs: Mapping[Kind, Runs]
    incomplete: Sequence[pathlib.Path] = ()

    def runs_of(self, kind: Kind) -> Runs:
        """Gives the results of one kind of split; empty where none of its networks learned."""
        return self.runs.get(kind, Runs())

    def failed(self, kind: Kind) -> list[Network]:
        """Lists the networks of one kind of split that did not learn."""
        return [
            network for network in self.networks if network.kind == kind and not network.trained
        ]


def read_study(folder: pathlib.Path, *, measure: str = TOP1) -> Study:
    """Reads a workdir, or a folder of workdirs, which may still be in training.

    Args:
        folder: the workdir of one experiment, or the folder above several.
        measure: by which networks are compared; see `measure.image_scores`.

    Raises:
        UserError: if there is no workdir, none of their networks is done, they differ in more than
            split, seed and number of examples or do not differ in these, or networks of one target
            were tested on other images.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from transfer_keras.results import Row, Workdir, read_study
        >>> folder = tempfile.TemporaryDirectory()
        >>> workdir = Workdir(folder.name)
        >>> settings = {"dataset": "formula_images", "network": "alexnet", "split": "0", "seed": 0}
        >>> workdir.write_facts(settings, data={}, versions={})
        >>> row = Row(
        ...     treatment="A3B", donor="A", n=3, target="B", mode="frozen", top1=0.75, loss=0.5,
        ...     outcome="trained", training_loss=0.4, test_images=4, classes=2, steps=10, group=1,
        ...     seconds=83.4, parameters=100, trainable_parameters=40,
        ...     validation=((10, 0.5, 0.75),),
        ... )
        >>> answers = {"label": np.array([0, 0, 1, 1]), "predicted": np.array([0, 1, 1, 1])}
        >>> workdir.write_predictions("A3B", answers)
        >>> workdir.write_row(row)
        >>> workdir.network_path("A3B").touch()
        >>> study = read_study(pathlib.Path(folder.name))
        >>> study.settings
        {'dataset': 'formula_images', 'network': 'alexnet'}
        >>> for kind, runs in study.runs.items():
        ...     for target, seed, role, result in runs.networks():
        ...         print(kind, target, seed, role, result.top1)
        random TargetTask(split='0', target='B') 0 Role(family='AnB', n=3) 0.75
        >>> folder.cleanup()
    """
    given, folder = folder, folder.resolve()
    workdirs = _workdirs(folder)
    if not workdirs:
        raise UserError(
            f"--workdir={given}: no {EXPERIMENT_FILE} here or one folder below. Give the workdir "
            "of an experiment, or the folder of a study."
        )

    # The facts of the experiments. They must make one study: equal in all but split, seed and
    # number of examples, and different in at least one of these.
    facts = [workdir.read_facts(complete=True) for workdir in workdirs]
    names = [workdir.path.name for workdir in workdirs]
    settings = _shared_settings(
        folder, {name: fact["settings"] for name, fact in zip(names, facts, strict=True)}
    )
    variants = [_variant(fact["settings"]) for fact in facts]
    _check_variants(folder, names, variants)

    # The networks. Their answers are compared image by image, so all networks of a target must have
    # been tested on the same images. What did not learn is listed as a failure and is no result.
    # The networks of all folds make one result, on all images.
    answers: list[_Answers] = []
    labels: dict[tuple[TargetTask, int], np.ndarray] = {}
    folds = settings.get("folds") or 1
    for workdir, variant in zip(workdirs, variants, strict=True):
        for network, label, predicted in _read_networks(workdir, variant):
            expected = labels.setdefault((network.target, network.seed % folds), label)
            _check_images(network, expected, label)
            answers.append(_Answers(network, label, predicted))
    networks = [each.network for each in answers]
    incomplete = _removed_files(workdirs)
    if not networks and incomplete:
        raise UserError(
            f"--workdir={given}: no network has all its files; {printable(incomplete[0])} is "
            "missing. Repeat the training, which makes again what is missing."
        )
    if not networks:
        raise UserError(f"--workdir={given}: no network is done yet. Come back later.")
    if len({network.seed for network in networks}) == 1:  # One fold by itself.
        folds = 1
    trained = [each for each in answers if each.network.trained]
    by_kind, all_by_kind = (_make_runs(each, folds, measure) for each in (trained, answers))
    return Study(settings, facts[0]["versions"], networks, by_kind, all_by_kind, incomplete)


def _removed_files(workdirs: Sequence[Workdir]) -> list[pathlib.Path]:
    """Lists what is missing of networks that were done, since their rows are there."""
    pairs = [(w, name) for w in workdirs for name in w.with_row if is_treatment_name(name)]
    return [path for workdir, name in pairs for path in workdir.missing_files(name)]


class _Answers(NamedTuple):
    network: Network
    label: np.ndarray
    predicted: np.ndarray


def _make_runs(answers: Sequence[_Answers], folds: int, measure: str) -> dict[Kind, Runs]:
    """Gives kind of split -> results; where there are folds, of what was trained in all of them."""
    together: dict[tuple, list[_Answers]] = {}
    for each in answers:
        network = each.network
        key = network.kind, network.target, network.seed // folds, network.role
        together.setdefault(key, []).append(each)
    by_kind: dict[Kind, dict[TargetTask, dict[int, dict[Role, NetworkResult]]]] = {}
    for (kind, target, seed, role), parts in together.items():
        if len(parts) < folds:
            continue
        parts.sort(key=lambda each: each.network.seed)
        label, predicted = (np.concatenate([each[k] for each in parts]) for k in (1, 2))
        scores = image_scores(label, predicted, measure)
        row = parts[0].network.row
        top1 = row.top1 if measure == TOP1 and folds == 1 else float(scores.mean())
        best = float(np.mean([best_tests(each.network.row) for each in parts]))
        by_seed = by_kind.setdefault(kind, {}).setdefault(target, {})
        by_seed.setdefault(seed, {})[role] = NetworkResult(top1, scores, best, row.fitted)
    return {kind: Runs(by_target, measure) for kind, by_target in by_kind.items()}


def _check_variants(
    folder: pathlib.Path, names: Sequence[str], variants: Sequence[Variant]
) -> None:
    """Refuses two experiments of the same split, seed and number of examples."""
    first_of: dict[Variant, str] = {}
    for name, variant in zip(names, variants, strict=True):
        if variant in first_of:
            raise UserError(
                f"--workdir={folder}: {first_of[variant]} and {name} are of the same "
                "split, seed and number of examples. Move one of them elsewhere."
            )
        first_of[variant] = name


def _read_networks(
    workdir: Workdir, variant: Variant
) -> Iterator[tuple[Network, np.ndarray, np.ndarray]]:
    """Reads (network, label, predicted) of every treatment that is done."""
    for name in filter(is_treatment_name, workdir.done):
        try:
            row = workdir.row(name)
            label, predicted = workdir.predictions(name, row)
        except FileNotFoundError:
            # Someone removed the network after it was listed.
            continue
        yield Network(workdir, *variant, row), label, predicted


def _check_images(network: Network, expected: np.ndarray, label: np.ndarray) -> None:
    if not np.array_equal(expected, label):
        raise UserError(
            f"{network.workdir / network.row.treatment} was tested on other images than other "
            f"networks of split {network.split} and target {network.row.target}. Remove what was "
            "made with other data."
        )


def check_study(folder: pathlib.Path, identities: Mapping[str, Mapping]) -> None:
    """Refuses a folder that cannot hold these experiments as one study; writes nothing.

    Args:
        folder: of a study; it need not exist yet.
        identities: name of each workdir in it -> what makes its experiment what it is; see
            `config.Experiment.identity`.

    Raises:
        UserError: naming what differs, or the two that are the same.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir={folder}: is a file. Give a folder.")
    if Workdir(folder).has_facts:
        raise UserError(
            f"--workdir={folder}: is the workdir of one experiment. Give a new folder, or that of "
            "a study."
        )
    existing = {w.path.name: w.read_facts(complete=True)["settings"] for w in _workdirs(folder)}
    first = json.loads(json.dumps(next(iter(identities.values()))))
    _shared_settings(folder, {**existing, "what is asked for": first})
    names = {_variant(settings): name for name, settings in existing.items()}
    for name, identity in identities.items():
        other = names.setdefault(_variant(identity), name)
        if other != name:
            raise UserError(
                f"--workdir={folder}: {other} and {name} are the same classes, seed and number of "
                "examples. Ask for one of them, or move it elsewhere."
            )
        Workdir(folder / name).check(identity)


def as_begun(experiments: Sequence[Experiment], folder: pathlib.Path) -> list[Experiment]:
    """Gives experiments as their folder was begun: one of version 0.1.0 goes on as by that version.

    Args:
        experiments: of one study.
        folder: the workdir of one experiment, or that of a study; it need not exist yet.

    Raises:
        UserError: if a file in it is damaged.
    """
    begun = [workdir.read_facts()["settings"] for workdir in _workdirs(folder)]
    if not begun:
        return list(experiments)
    older = {n for n in _NEW_FOR_DONORS if any(settings.get(n) is None for settings in begun)}
    without = {} if all(SEEDS_KEY in settings for settings in begun) else {"seeds_by_split": False}
    if not all(settings.get("exif") for settings in begun):
        experiments = [
            each.replace(exif=choices.IGNORE) if each.data.turns_pictures else each
            for each in experiments
        ]
    return [
        each.replace(**(_as_older(each, older) if each.donor else without)) for each in experiments
    ]


def _as_older(experiment: Experiment, names: Collection[str]) -> dict[str, None]:
    """Gives the settings that have their default, and that an older version did not have."""
    return {name: None for name in names if experiment.identity[name] == _NEW_FOR_DONORS[name]}


def _workdirs(folder: pathlib.Path) -> list[Workdir]:
    """Finds the workdirs at a folder and one folder below it, sorted by path."""
    paths = [*folder.glob(EXPERIMENT_FILE), *folder.glob(f"*/{EXPERIMENT_FILE}")]
    return [Workdir(parent) for parent in sorted(path.parent for path in paths)]


def _variant(settings: Mapping) -> Variant:
    split = _short_name(settings["split"])
    return Variant(split, settings.get("examples_per_class"), settings["seed"])


def best_tests(row: Row) -> float:
    """Averages the top-1 of a network's best tests, which is optimistic.

    Of each 450 tests the best 10 count, as in the paper, and at least one.
    """
    top1 = sorted((test[-1] for test in row.validation), reverse=True)
    return float(np.mean(top1[: max(1, round(_BEST * len(top1)))]))


def _short_name(split: str | list[str]) -> str:
    """Gives a split's name, and a short one of a split that is a list of A's classes."""
    if isinstance(split, str):
        return split
    return f"list-{hashlib.sha256(json.dumps(split).encode()).hexdigest()[:6]}"


def _shared_settings(folder: pathlib.Path, settings: Mapping[str, Mapping]) -> dict:
    """Gives the settings that all experiments of a study share.

    Args:
        folder: of the study.
        settings: name of each experiment -> its settings.

    Raises:
        UserError: if experiments differ in more than split, seed and number of examples.
    """
    (first_name, first), *rest = settings.items()
    for name, compared in rest:
        differing = [
            f"{key} is {first.get(key)!r} in {first_name} and {compared.get(key)!r} in {name}"
            for key in sorted({*first, *compared} - _VARIED)
            if first.get(key) != compared.get(key)
        ]
        if differing:
            raise UserError(
                f"--workdir={folder}: holds experiments that are no one study: "
                f"{'; '.join(differing[:3])}. Give a folder whose experiments differ in split, "
                "seed and number of examples alone."
            )
    return {key: value for key, value in first.items() if key not in _VARIED}
