"""What an experiment is: treatments, four sections of settings, and a network's architecture.

Imports neither Keras nor TensorFlow, so that every error in a flag comes at once.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Callable, Sequence

from transfer_keras.config import choices, defaults, tasks
from transfer_keras.config.architectures import ARCHITECTURES, Architecture, PretrainedArchitecture
from transfer_keras.config.donor_settings import (
    NO_DONOR,
    DonorSettings,
    NetworkSettings,
    make_donor,
    make_network,
)
from transfer_keras.config.errors import UserError
from transfer_keras.config.paths import short_name
from transfer_keras.config.plan import with_bases
from transfer_keras.config.sections import (
    DataSettings,
    ExecutionSettings,
    TrainingSettings,
    flags_of,
)
from transfer_keras.config.treatment_checks import check_units, continues_base
from transfer_keras.config.treatments import Treatment, parse_treatment, suits_split

DEFAULT_NETWORK = "alexnet_mini"
SEEDS_KEY = "fresh_weights_by"  # In the identity of an experiment.
_NO_CHANGE = 1e-30  # A learning rate at which no weight changes.
_LONGEST = 100  # Bytes of each part of a workdir's name, of which file systems take 255.
_UNIT_METRICS = 10  # Measurements in a training, where nothing is said: at every second test.


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for, as far as it can be known before a donor is opened.

    Attributes:
        treatments: without the bases that they need, which are trained anyway.
        data, training, execution: settings in their sections.
        donor: a trained network in the place of base A; None: A is a part of the dataset.
        given_network: what is trained in place of a table's network; None: that.
        seeds_by_split: whether fresh weights depend on the split. If they did not, those of one
            seed would be one draw in all splits, as by version 0.1.0, whose folders go on so.

    Raises:
        UserError: if the tasks of the split do not suffice for all treatments.
    """

    treatments: tuple[Treatment, ...]
    data: DataSettings
    training: TrainingSettings
    execution: ExecutionSettings
    donor: DonorSettings | None
    given_network: NetworkSettings | None = dataclasses.field(default=None, kw_only=True)
    seeds_by_split: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self):
        if not self.treatments:
            raise UserError("--treatments: none given. Expected names such as A3B or baseB.")
        keep_features = self.execution.keep_features
        if keep_features == choices.ALWAYS and self.data.augment and not self.data.views:
            raise UserError(
                f"--keep_features={keep_features}: with --augment each epoch has new crops of the "
                "pictures. Give --views=8, --noaugment, or leave it out."
            )
        if not self.donor and not self.execution.scratch:
            raise UserError(
                "--noscratch: is for a --donor; without one, the bases that are trained from "
                "scratch are what is compared. Leave it out."
            )
        split = self.data.split
        if missing := [t.name for t in self.treatments if not suits_split(t, split)]:
            raise UserError(
                f"--split={split}: there is no task B, which {missing[0]} needs. Expected "
                "baseA and treatments such as A3A, A3A+ and R3A (--target=A --source=self)."
                if split == tasks.WHOLE_SPLIT
                else f"--treatments={missing[0]}: with --donor, A is what the donor was trained "
                "on, and nothing is trained on it here. Expected --target=B."
            )

    def complete(self, describe_donor: "DescribeDonor | None" = None) -> "Experiment":
        """Makes the experiment, with the architecture of its network.

        Args:
            describe_donor: gives the architecture of `opened`; it has to open it.

        Raises:
            UserError: see `Experiment`; or if the donor cannot be used.
        """
        known = ARCHITECTURES.get(self.training.network)
        architecture = describe_donor(self) if self.opened else known
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(Request)}
        return Experiment(**fields, architecture=architecture)

    @property
    def opened(self) -> DonorSettings | None:
        """Gives what its networks are made of, where no table says it: it has to be opened."""
        return self.donor or self.given_network

    @property
    def given_bases(self) -> tuple[str, ...]:
        """Names the bases that are not trained here."""
        return ("baseA",) if self.donor else ()

    @property
    def title(self) -> str:
        """Says what it is, for people."""
        return f"{self.training.network} on {self.data.dataset}, {self.variant}"

    @property
    def variant(self) -> str:
        """Says what sets it apart from others of its study, for people."""
        amount = f"{self.data.examples_per_class} a class" if self.data.examples_per_class else ""
        split = "" if self.donor else f"split {self.data.split}"
        return ", ".join(filter(None, (split, amount, f"seed {self.training.seed}")))

    @property
    def subject(self) -> str:
        """Joins dataset and network, as part of a folder's name."""
        network = self.opened.name if self.opened else self.training.network
        network = "" if network == DEFAULT_NETWORK else f"-{network}"
        dataset = re.sub(r"^folder:(.*/)?", "folder-", self.data.dataset.rstrip("/"))
        return short_name(f"{dataset.replace('/', '-')}{network}", _LONGEST)

    @property
    def variant_name(self) -> str:
        """Writes `variant` as part of a folder's name."""
        split, amount = self.data.split, self.data.examples_per_class
        split = pathlib.Path(split).stem if tasks.is_file(split) else split
        split = short_name(split, _LONGEST)
        return f"split{split}{f'-{amount}perclass' if amount else ''}-seed{self.training.seed}"

    @property
    def default_workdir(self) -> pathlib.Path:
        """Gives the folder of its results, where none is given."""
        return pathlib.Path("runs") / f"{self.subject}-{self.variant_name}"


DescribeDonor = Callable[[Request], PretrainedArchitecture]


@dataclasses.dataclass(frozen=True)
class Experiment(Request):
    """One split, one seed, and the treatments to train; see `make_experiment`.

    Attributes:
        architecture: that of its network.

    Raises:
        UserError: if the network cannot have as many units transferred, or images of this size.
    """

    architecture: Architecture | PretrainedArchitecture

    def __post_init__(self):
        super().__post_init__()
        network, smallest = self.training.network, self.architecture.smallest_image
        if self.image_size < smallest:
            raise UserError(
                f"--image_size={self.image_size}: {network} needs at least {smallest} pixels."
            )
        kind = self.opened.units if self.opened else "unit"
        for treatment in self.treatments:
            check_units(treatment, self.architecture, network, kind, self.begins_with(treatment))
            if treatment.fine_tune and not self.continues_base(treatment):
                self.training.check_lowest_rate(treatment.n)

    @property
    def all_treatments(self) -> tuple[Treatment, ...]:
        """Lists all that it trains: its treatments, and the bases that they need."""
        return with_bases(
            self.treatments,
            self.given_bases,
            compare=self.execution.scratch,
            begun_with=tuple(filter(None, map(self.begins_with, self.treatments))),
        )

    def continues_base(self, treatment: Treatment) -> bool:
        """Tells whether a treatment is the base of its target, trained on for as long again."""
        return continues_base(treatment, len(self.architecture.units))

    def begins_with(self, treatment: Treatment) -> Treatment | None:
        """Gives the frozen network with whose upper units another begins, by `head_first`."""
        begins = self.training.head_first and treatment.fine_tune
        return treatment.frozen if begins and not self.continues_base(treatment) else None

    def replace(self, **changes) -> "Experiment":
        """Makes the same experiment with other treatments or settings, by their flags' names.

        Raises:
            TypeError: if there is no such setting.
            UserError: as for a new one.
        """
        own = ("treatments", "seeds_by_split")
        fields = {name: changes.pop(name) for name in own if name in changes}
        for name in ("data", "training", "execution", "donor"):
            section = getattr(self, name)
            flags = flags_of(type(section)) if section else {}
            new = {flags[flag]: changes.pop(flag) for flag in flags.keys() & changes.keys()}
            fields[name] = dataclasses.replace(section, **new) if new else section
        if changes:
            raise TypeError(f"Expected settings of {self.title}. Received: {list(changes)}")
        if (network := fields["training"].network) != self.training.network:
            fields["architecture"] = ARCHITECTURES[network]
        return dataclasses.replace(self, **fields)

    @property
    def image_size(self) -> int:
        """Gives the side of the network's input in pixels."""
        return self.training.image_size or self.architecture.image_size

    def units_transferred(self, treatment: Treatment) -> int:
        """Counts how many of the network's units a treatment takes from its donor."""
        return self.architecture.cuts[treatment.n - 1] if treatment.n else 0

    @property
    def resize(self) -> int:
        """Gives the side to which pictures are brought before `image_size` is cut out."""
        made_for = self.architecture.image_size
        return round(self.image_size * (self.architecture.resize or made_for) / made_for)

    def trains_head_alone(self, treatment: Treatment) -> bool:
        """Tells whether all but the last unit is frozen, and that is no block of several."""
        *_, below, last = self.architecture.cuts
        top = len(self.architecture.units) - 1
        return treatment.linear or (treatment.frozen_units == top and below == last - 1)

    def fits_head(self, treatment: Treatment) -> bool:
        """Tells whether its head is fitted, and nothing is trained: the seed changes nothing."""
        return self.training.fit_head and self.trains_head_alone(treatment)

    def units_at_transferred_rate(self, treatment: Treatment) -> int:
        """Counts the units of a network that are trained with the rate of transferred ones.

        A head that was fitted before is one of them, if it is all that is new. A base that is
        trained on has none.
        """
        if self.continues_base(treatment):
            return 0
        if (begun := self.begins_with(treatment)) and self.fits_head(begun):
            return self.units_transferred(treatment) + 1
        return self.units_transferred(treatment)

    def for_group(self, treatments: Sequence[Treatment]) -> "Experiment":
        """Gives itself with the settings of networks that are trained together.

        Heads that are fitted have one step, which changes no weight: it leads to their test.
        """
        unchanged = {"learning_rate": _NO_CHANGE, "weight_decay": 0.0}
        unchanged |= {"warm_up_head": 0, "learning_rate_warm_up": 0}
        fits = all(map(self.fits_head, treatments))
        return self.replace(steps=1, **unchanged) if fits else self

    def pixels_of(self, treatment: Treatment) -> str:
        """Names the task whose pictures' mean its network takes off."""
        donor = treatment.needs if self.data.mean == "source" else None
        return donor.target if donor else treatment.target

    @property
    def identity(self) -> dict:
        """Gives the settings that make its numbers, as `experiment.json` has them; another value of
        any is another experiment."""
        fields = dataclasses.asdict(self.data) | dataclasses.asdict(self.training)
        del fields["data_dir"], fields["leave_out"]  # The data's own identity has what is used.
        fields |= {"image_size": self.image_size, "exif": self.data.turns_pictures}
        if not self.training.early_stopping:  # Else a network is taken as it was at a test.
            fields.pop("validations")
        # Version 0.1.0 does not know them.
        new = ("head_first", "fit_head", "scratch_learning_rate", "early_stopping_split", "exif")
        for name in (*new, "folds", "group_by", "learning_rate_warm_up"):
            if not fields[name]:
                fields.pop(name)
        if tasks.is_file(self.data.split):
            fields["split"] = tasks.read_class_list(self.data.split)
        if self._has_seeds_by_split:
            fields[SEEDS_KEY] = "seed and split"
        fields |= self.donor.identity if self.donor else NO_DONOR
        fields.pop("custom_objects", None)
        if not self.donor:
            fields.pop("frozen_dropout")
            fields["batch_norm"] = None
        if self.given_network:
            fields |= self.given_network.identity
        return fields

    @property
    def fresh_weights(self) -> tuple[object, ...]:
        """Gives what `Treatment.seed` of its treatments depends on."""
        seed, split = self.training.seed, self.data.split
        if not self._has_seeds_by_split:
            return (seed,)
        return seed, tasks.read_class_list(split) if tasks.is_file(split) else split

    @property
    def _has_seeds_by_split(self) -> bool:
        return self.seeds_by_split and not self.donor  # With a donor, there is one split.


_SECTIONS = {
    flag: section
    for section in (DataSettings, TrainingSettings, ExecutionSettings)
    for flag in flags_of(section)
}


def default_setting(flag: str):
    """Gives the default of a setting, by its flag's name; None where it depends on others."""
    if flag in NO_DONOR:
        return NO_DONOR[flag]
    default = _SECTIONS[flag].__dataclass_fields__[flag].default
    return None if default is dataclasses.MISSING else default


def make_request(treatments: Sequence[Treatment | str], **settings) -> Request:
    """Makes a request of treatments and settings; what is None or missing gets its default.

    Args:
        treatments: or their names, as "A3B+".
        settings: by their flags' names, as `steps` or `donor_weights`.

    Raises:
        TypeError: if there is no such setting.
        UserError: if one is out of range, or two do not go together.
    """
    given = {flag: value for flag, value in settings.items() if value is not None}
    if unknown := given.keys() - _SECTIONS.keys() - NO_DONOR.keys():
        raise TypeError(f"Expected names of settings. Received: {sorted(unknown)}")

    # What depends on other settings: of the network, of the dataset, of the steps.
    donor, given_network = make_donor(given), make_network(given)
    network = donor.name if donor else given.get("network", DEFAULT_NETWORK)
    if donor:
        usual = defaults.DONORS | {"split": tasks.DONOR_SPLIT}
    elif given_network:
        usual = defaults.GIVEN_NETWORKS
    elif network in ARCHITECTURES:
        usual = defaults.NETWORKS[network]
    else:
        raise UserError(
            f"--network={network}: expected one of {', '.join(ARCHITECTURES)}, or "
            f"{choices.APPLICATIONS}NAME or {choices.HUB}NAME."
        )
    dataset = given.get("dataset", default_setting("dataset"))
    usual = usual | {"augment": dataset.partition("/")[0] != "formula_images"}
    chosen = usual | given | {"network": network}
    warm_up = math.floor(usual.get("warm_up_share", 0) * max(chosen["steps"], 0))
    chosen.setdefault("learning_rate_warm_up", warm_up)
    every = 2 * math.ceil(max(chosen["steps"], 1) / (2 * _UNIT_METRICS))
    chosen.setdefault("metrics_every", every)

    # Every setting into its section, which checks it.
    data, training, execution = (
        section(**{flag: chosen[flag] for flag in flags_of(section).keys() & chosen.keys()})
        for section in (DataSettings, TrainingSettings, ExecutionSettings)
    )
    named = tuple(parse_treatment(t) if isinstance(t, str) else t for t in treatments)
    return Request(named, data, training, execution, donor, given_network=given_network)


def make_experiment(
    treatments: Sequence[Treatment | str],
    *,
    describe_donor: DescribeDonor | None = None,
    **settings,
) -> Experiment:
    """Makes an experiment of its treatments and settings.

    Args:
        treatments: or their names, as "A3B+".
        describe_donor: see `Request.complete`; called last.
        settings: see `make_request`.

    Example:
        >>> experiment = make_experiment(["A3B", "A3B+"], dataset="cifar10", steps=1000)
        >>> [treatment.name for treatment in experiment.all_treatments]
        ['baseA', 'baseB', 'A3B', 'A3B+']
        >>> experiment.title
        'alexnet_mini on cifar10, split 0, seed 0'

    Raises:
        UserError: if a setting is out of range, two do not go together, or the donor cannot be
            used.
    """
    return make_request(treatments, **settings).complete(describe_donor)
