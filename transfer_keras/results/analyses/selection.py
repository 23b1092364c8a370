"""Which networks of a study are analysed, where nothing or only names are said: a few of them."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from transfer_keras.config import Treatment, UserError, parse_treatment
from transfer_keras.results.roles import (
    FROZEN_SELFFER,
    FROZEN_TRANSFER,
    TUNED_SELFFER,
    TUNED_TRANSFER,
)
from transfer_keras.results.study import Kind, Network, Study
from transfer_keras.results.workdir import Workdir

# At most so many networks and pairs of a workdir are analysed.
MOST_NETWORKS = 10
MOST_PAIRS = 12
MOST_PROBED = 4  # A probe takes minutes.
_PROBED = (FROZEN_TRANSFER, TUNED_TRANSFER)
_FAMILIES = (FROZEN_TRANSFER, FROZEN_SELFFER, TUNED_TRANSFER, TUNED_SELFFER)


class Pair(NamedTuple):
    """Two networks of one target, of which the second may be that of another seed.

    Attributes:
        first, second: treatments.
        folder: the second's workdir, as seen from the first's; "": the same one.
        given_donor: whether base A is a network that was given, the same one for every seed.
    """

    first: Treatment
    second: Treatment
    folder: str = ""
    given_donor: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """Gives the names of both, the second's with its workdir if that is another."""
        folder = f"{self.folder.removeprefix('../')}/" if self.folder else ""
        return self.first.name, f"{folder}{self.second.name}"

    @property
    def shared_units(self) -> int:
        """Counts the lower units with which both began from the same values.

        A base counts as what its own selffers began from: they went on from where it ended. Upper
        units are drawn anew for each network, so no more than these are shared.
        """
        first, second = (_origin(treatment) for treatment in self[:2])
        of_given = self.given_donor and first[0] == "A"
        if first[0] != second[0] or (self.folder and not of_given):
            return 0
        return min(first[1], second[1])


class Selection(NamedTuple):
    """What is analysed of one workdir.

    Attributes:
        workdir: where the networks are.
        networks: their treatments, bases first.
        pairs: those between which weights are interpolated.
        probed: those of which linear probes are trained.
        done: how many networks the workdir has to choose from.
    """

    workdir: Workdir
    networks: tuple[Treatment, ...]
    pairs: tuple[Pair, ...]
    probed: tuple[Treatment, ...]
    done: int

    @property
    def description(self) -> str:
        """Says in a line which networks are analysed, of how many."""
        names = ", ".join(treatment.name for treatment in self.networks) or "none that learned"
        return (
            f"Analysed of {self.workdir.path.name}: {names}, of {self.done} networks; "
            f"{len(self.pairs)} pairs of them; probes of {len(self.probed)}. Others: "
            "--analyses_networks."
        )


def select_workdirs(study: Study) -> dict[Kind, Workdir]:
    """Selects the first workdir of each kind of split: that of the lowest seed and split."""
    chosen: dict[Kind, Workdir] = {}
    networks = sorted(study.networks, key=lambda n: (n.seed, len(n.split), n.split))
    for network in networks:
        chosen.setdefault(network.kind, network.workdir)
    return chosen


def select_networks(
    study: Study, workdir: Workdir, names: Sequence[Treatment] | None = None
) -> Selection:
    """Selects networks of a workdir, and pairs of them.

    Without names only those that learned are taken. These are both bases and, towards one target
    (B, if there are any), of each family of frozen and fine-tuned networks those at the middle and
    the largest n. The pairs are those of two fine-tuned networks of one family at neighbouring n of
    the lowest, middle and largest; the base with each family at the middle n; both families at the
    middle n; and the base with that of another seed. Where a donor is given, of which every seed
    has the same, also its fine-tuned network with that of another seed. Probed are the bases, and
    the frozen and the fine-tuned transfer at the middle n.

    Args:
        study: that the workdir belongs to.
        workdir: one of its workdirs.
        names: the networks to take, and all pairs of them; None: as above.

    Raises:
        UserError: if the workdir has none of the named networks, or names are too many.
    """
    here = [network for network in study.networks if network.workdir == workdir]
    done = sorted(
        (parse_treatment(network.row.treatment) for network in here if network.trained or names),
        key=lambda treatment: (treatment.donor is not None, treatment.target != "B", treatment.n),
    )
    given_donor = bool(study.settings.get("donor"))
    if names is not None:
        networks = _named(done, names, workdir)
        pairs = [
            Pair(one, other, given_donor=given_donor)
            for place, one in enumerate(networks)
            for other in networks[place + 1 :]
            if one.target == other.target and not (one.linear or other.linear)
        ]
        networks = tuple(networks)
        return Selection(workdir, networks, tuple(pairs[:MOST_PAIRS]), networks, len(done))
    if not done:
        return Selection(workdir, (), (), (), 0)
    target = next((t.target for t in done if t.donor), done[0].target)
    others = [t for t in done if t.target == target]
    n = _three({t.n for t in others if t.role in _FAMILIES})
    by_role = {(t.role, t.n): t for t in others}
    networks = [t for t in done if not t.donor]
    networks += [
        by_role[family, k] for family in _FAMILIES for k in n[-2:] if (family, k) in by_role
    ]
    pairs = _usual_pairs(by_role, n, given_donor)
    if sibling := _sibling(study, here[0]):
        theirs = {n.row.treatment for n in study.networks if n.workdir == sibling}
        again = [t for t in others if not t.donor or (given_donor and t.role == TUNED_TRANSFER)]
        again = [t for t in again if t.name in theirs]
        again = [*again[:1], *again[1:][-1:]]  # The base, and the largest n.
        folder = f"../{sibling.path.name}"
        pairs += [Pair(t, t, folder, given_donor) for t in again]
    networks, pairs = tuple(networks[:MOST_NETWORKS]), tuple(pairs[:MOST_PAIRS])
    middle = n[len(n) // 2] if n else 0
    probed = [t for t in networks if not t.donor or (t.n == middle and t.role in _PROBED)]
    return Selection(workdir, networks, pairs, tuple(probed[:MOST_PROBED]), len(done))


def _usual_pairs(
    by_role: dict[tuple[str, int], Treatment], n: Sequence[int], given_donor: bool
) -> list[Pair]:
    """Lists the pairs within a workdir that there are."""
    wanted = []
    for family in (TUNED_SELFFER, TUNED_TRANSFER):
        wanted += [((family, low), (family, high)) for low, high in itertools.pairwise(n)]
    if n:
        middle = n[len(n) // 2]
        wanted += [(("base", 0), (family, middle)) for family in (TUNED_SELFFER, TUNED_TRANSFER)]
        wanted.append(((TUNED_SELFFER, middle), (TUNED_TRANSFER, middle)))
    return [
        Pair(by_role[one], by_role[other], given_donor=given_donor)
        for one, other in wanted
        if one in by_role and other in by_role
    ]


def _named(done: Sequence[Treatment], names: Sequence[Treatment], workdir: Workdir) -> list:
    """Lists the named networks, in the order of `done`."""
    if missing := [t.name for t in names if t not in done]:
        there = ", ".join(t.name for t in done)
        raise UserError(
            f"--analyses_networks={','.join(t.name for t in names)}: {workdir} has no network "
            f"{missing[0]} that is done. It has {there}."
        )
    if len(names) > MOST_NETWORKS:
        raise UserError(
            f"--analyses_networks={','.join(t.name for t in names)}: are {len(names)}. Give at "
            f"most {MOST_NETWORKS} at a time; what was analysed before is kept."
        )
    return [treatment for treatment in done if treatment in names]


def _three(n: set[int]) -> list[int]:
    """Gives the lowest, the middle and the largest, each once."""
    ordered = sorted(n)
    return sorted({ordered[0], ordered[len(ordered) // 2], ordered[-1]}) if ordered else []


def _origin(treatment: Treatment) -> tuple[str, int]:
    """Says whose values the lower units of a network began from, and of how many units."""
    if treatment.donor is None:
        return treatment.target, 10**6
    return treatment.donor, treatment.n


def _sibling(study: Study, network: Network) -> Workdir | None:
    """Finds the workdir of the next seed with the same split, tested on the same images."""
    if study.settings.get("folds"):
        return None
    same = [
        n for n in study.networks
        if (n.split, n.examples_per_class) == (network.split, network.examples_per_class)
        and n.seed != network.seed and n.workdir.path.parent == network.workdir.path.parent
    ]  # fmt: skip
    return min(same, key=lambda n: n.seed).workdir if same else None
